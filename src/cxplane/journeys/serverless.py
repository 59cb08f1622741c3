"""A journey as a CNCF Serverless Workflow 1.0 document, for whoever reads or runs that standard.

What the standard has a task for becomes that task. What it has none for (`ask`, `say`, `hand_over`, `undo`, `goal`,
`checkpoint`, waiting until a time) becomes a call of a function named `cxplane.…` with its whole meaning in `with`.
Expressions are CEL inside `${ … }`: the standard's own default is jq, so `document.metadata.expressions` says so.
Source: the schema of DSL 1.0.0, as its SDK carries it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from cxplane.domain.journey import (
    CHECKPOINT,
    CHILD,
    EXPIRED,
    EXPRESSION,
    FAILED,
    REFUSED,
    REJECTED,
    RUNAWAY,
    TIMEOUT,
    UNAVAILABLE,
    AskPerson,
    Assign,
    Call,
    Checkpoint,
    Do,
    Emit,
    Expected,
    For,
    Fork,
    Goal,
    HandOver,
    Journey,
    Listen,
    Raise,
    Retry,
    RunJourney,
    Say,
    Step,
    Switch,
    Try,
    Undo,
    Wait,
)

DSL = "1.0.0"
NAMESPACE = "cxplane"
FUNCTIONS: Mapping[str, str] = {
    "cxplane.act": "Ask for a catalog action at the gate, wait for its outcome; it is judged like anybody's request.",
    "cxplane.say": "Tell the customer something, by the journey's action for that.",
    "cxplane.ask": "A person or team approves, chooses or fills in; the answer is the result.",
    "cxplane.hand_over": "Give the work to a team, with what is done and what is not.",
    "cxplane.undo": "Take back what steps did, in reverse order, by the actions that undo them.",
    "cxplane.goal": "Say whether the outcome was reached, with evidence.",
    "cxplane.checkpoint": "Stop here for a person unless the check holds; the named actions need it to have been passed.",
    "cxplane.wait_until": "Wait until a time.",
}
_STATUS: Mapping[str, int] = {  # the nearest HTTP status, which the standard asks of every error
    REFUSED: 403,
    REJECTED: 403,
    EXPIRED: 408,
    FAILED: 422,
    UNAVAILABLE: 503,
    TIMEOUT: 408,
    EXPRESSION: 400,
    CHECKPOINT: 403,
    CHILD: 424,
    RUNAWAY: 508,
}
_Tasks = list[dict[str, Any]]


def export(journey: Journey) -> dict[str, Any]:
    """The document, as plain JSON: {document, input, use, schedule?, do}."""
    told = _lean(
        {
            "document": {
                "dsl": DSL,
                "namespace": NAMESPACE,
                "name": _name(journey.id),
                "version": f"{journey.version}.0.0",
                "title": journey.id.replace("_", " ").capitalize(),
                "summary": journey.summary,
                "metadata": _about(journey),
            },
            "input": {"schema": {"format": "json", "document": dict(journey.input)}} if journey.input else None,
            "use": _use(journey),
            "schedule": _schedule(journey),
        }
    )
    told["do"] = _list(journey, journey.steps)
    return told


def _use(journey: Journey) -> dict[str, Any] | None:
    functions: dict[str, Any] = {
        action: {"call": "cxplane.act", "with": {"action": action}} for action in sorted(journey.actions)
    }
    return {"functions": functions} if functions else None


def _about(journey: Journey) -> dict[str, Any]:
    charter = journey.charter
    return _lean(
        {
            "expressions": {"language": "CEL", "form": "${ … }"},
            "functions": dict(FUNCTIONS),
            "journey": journey.id,
            "owner": journey.owner,
            "customer": "required" if journey.needs_customer else "none",
            "key": list(journey.key),
            "mode": journey.mode.value,
            "say": journey.say,
            "patience": _duration(journey.patience),
            "on_failure": journey.on_failure,
            "start": [
                _lean({"signal": s.signal, "when": _cel(s.when), "with": _cels(s.with_), "customer": _cel(s.customer)})
                for s in journey.start
            ],
            "charter": {
                "owner": charter.owner,
                "summary": charter.summary,
                "actions": sorted(charter.actions),
                "data": sorted(charter.data),
                "roles": sorted(charter.roles),
                "approvals": dict(charter.approvals),
                "exceptions": charter.exceptions,
                "success": [{"measure": a.measure, "target": a.target} for a in charter.success],
                "counter": [{"measure": a.measure, "target": a.target} for a in charter.counter],
            },
        }
    )


def _schedule(journey: Journey) -> dict[str, Any] | None:
    events = [{"with": _lean({"type": s.signal, "data": _cel(s.when)})} for s in journey.start]
    if not events:
        return None
    return {"on": {"one": events[0]} if len(events) == 1 else {"any": events}}


# lists of steps ---------------------------------------------------------------------------------------


def _list(journey: Journey, steps: Sequence[Step]) -> _Tasks:
    tasks: _Tasks = []
    for n, step in enumerate(steps):
        following = steps[n + 1].name if n + 1 < len(steps) else "exit"
        if isinstance(step, Switch):
            tasks += _switch(journey, step, step.then or following)
        else:
            tasks.append({step.name: _task(journey, step)})
    return tasks


def _switch(journey: Journey, step: Switch, after: str) -> _Tasks:
    """The standard's cases only say where to go on: what is to be done in a case follows as a task of its own.

    `after` is where every case goes on that does not say otherwise. A false `if` is a case like the others, as a switch
    that is passed by would fall into the first of these tasks.
    """
    cases: _Tasks = []
    bodies: _Tasks = []
    if step.when is not None:
        cases.append({"passed-by": {"when": _cel(f"!({step.when})"), "then": after}})
    for case in step.cases:
        target = case.then or after
        if case.steps:
            body = f"{step.name}-{case.name}"
            bodies.append({body: {"do": _list(journey, case.steps), "then": target}})
            target = body
        cases.append({case.name: _lean({"when": _cel(case.when), "then": target})})
    if all(case.when is not None for case in step.cases):
        cases.append({"otherwise": {"then": after}})
    return [{step.name: _lean({"switch": cases, "metadata": _meta(step)})}, *bodies]


def _task(journey: Journey, step: Step) -> dict[str, Any]:
    task = _TASKS[type(step)](journey, step)
    own = task.pop("metadata", {})
    return {**_lean({"if": _cel(step.when)}), **task, **_lean({"then": step.then, "metadata": {**_meta(step), **own}})}


def _meta(step: Step) -> dict[str, Any]:
    return _lean({"summary": step.summary})


# tasks ------------------------------------------------------------------------------------------------


def _do(journey: Journey, step: Do) -> dict[str, Any]:
    return {"do": _list(journey, step.steps)}


def _call(journey: Journey, step: Call) -> dict[str, Any]:
    how = {
        "recorded": _cels(step.recorded),
        "reason": _cel(step.reason),
        "mode": step.mode.value if step.mode else None,
        "team": step.team,
        "patience": _duration(step.patience),
    }
    return {"call": step.action, "with": _cels(step.with_), "metadata": _lean(how)}


def _say(journey: Journey, step: Say) -> dict[str, Any]:
    return _ours("say", {"action": step.action or journey.say, "input": _cels(step.with_)})


def _set(journey: Journey, step: Assign) -> dict[str, Any]:
    return {"set": _cels(step.values)} if step.values else {"do": []}


def _fork(journey: Journey, step: Fork) -> dict[str, Any]:
    branches = [{b.name: {"do": _list(journey, b.steps)}} for b in step.branches]
    return {"fork": {"branches": branches, "compete": step.until == "any"}}


def _for(journey: Journey, step: For) -> dict[str, Any]:
    told = {"for": {"each": step.each, "in": _cel(step.in_)}, "while": _cel(step.while_)}
    return {**_lean(told), "do": _list(journey, step.steps)}


def _wait(journey: Journey, step: Wait) -> dict[str, Any]:
    if step.until is not None:
        return _ours("wait_until", {"until": _cel(step.until)})
    return {"wait": _duration(step.for_ or timedelta())}


def _listen(journey: Journey, step: Listen) -> dict[str, Any]:
    events = [_event(signal) for signal in step.signals]
    to = {"one": events[0]} if len(events) == 1 else {step.until: events}
    return _lean(
        {
            "listen": {"to": to, "read": "envelope"},
            "timeout": {"after": _duration(step.within)} if step.within is not None else None,
        }
    )


def _event(signal: Expected) -> dict[str, Any]:
    return {
        "with": _lean({"type": signal.signal, "data": _cel(signal.where)}),
        "correlate": {"key": {"from": _cel("signal.key"), "expect": _cel(signal.key or "run.id")}},
    }


def _try(journey: Journey, step: Try) -> dict[str, Any]:
    """Several error names become part of `when`: the standard's filter takes one."""
    one = step.errors[0] if len(step.errors) == 1 else None
    conditions = [step.catch_when] if step.catch_when else []
    if len(step.errors) > 1:
        names = ", ".join(f"'{name}'" for name in step.errors)
        conditions.insert(0, f"error.name in [{names}]")
    text = " && ".join(f"({c})" for c in conditions) if len(conditions) > 1 else "".join(conditions)
    undo: _Tasks = []
    if step.compensate:
        undo = [{f"{step.name}-undo": _ours("undo", {"inside": step.name})}]
    catch = _lean(
        {
            "errors": {"with": {"type": _error(one)}} if one else None,
            "as": "error",
            "when": _cel(text or None),
            "retry": _retry(step.retry) if step.retry else None,
            "do": undo + _list(journey, step.catch),
        }
    )
    return {"try": _list(journey, step.steps), "catch": catch}


def _retry(retry: Retry) -> dict[str, Any]:
    grows: dict[str, Any] = {"exponential": {"factor": retry.backoff, "longest": _duration(retry.longest)}}
    return {
        "delay": _duration(retry.delay),
        "backoff": {"constant": {}} if retry.backoff == 1 else grows,
        "limit": {"attempt": {"count": retry.times}},
    }


def _emit(journey: Journey, step: Emit) -> dict[str, Any]:
    event = {
        "source": f"cxplane://journeys/{journey.id}",
        "type": step.signal,
        "subject": _cel(step.key),
        "data": _cels(step.data),
    }
    return {"emit": {"event": {"with": _lean(event)}}}


def _raise(journey: Journey, step: Raise) -> dict[str, Any]:
    error = {
        "type": _error(step.error),
        "status": _STATUS.get(step.error, 500),
        "title": step.error,
        "detail": _cel(step.text),
    }
    return {"raise": {"error": _lean(error)}}


def _ask(journey: Journey, step: AskPerson) -> dict[str, Any]:
    with_ = {
        "team": step.team,
        "person": step.person,
        "what": step.what,
        "text": _cel(step.text),
        "choices": list(step.choices),
        "form": dict(step.form),
        "show": _cels(step.show),
        "due": _duration(step.due),
        "remind": _duration(step.remind),
        "escalate": {"after": _duration(step.escalate.after), "to": step.escalate.team} if step.escalate else None,
    }
    told = _lean(with_)
    if step.has_default:
        told["default"] = step.default
    return _ours("ask", told)


def _hand_over(journey: Journey, step: HandOver) -> dict[str, Any]:
    return _ours("hand_over", {"team": step.team, "text": _cel(step.text), "wait": step.wait})


def _undo(journey: Journey, step: Undo) -> dict[str, Any]:
    return _ours("undo", {"steps": list(step.steps) or "all"})


def _goal(journey: Journey, step: Goal) -> dict[str, Any]:
    return _ours("goal", {"name": step.goal, "achieved": _cel(step.achieved), "evidence": _cels(step.evidence)})


def _checkpoint(journey: Journey, step: Checkpoint) -> dict[str, Any]:
    before = list(step.before) or "every write"
    return _ours("checkpoint", {"check": _cel(step.check), "text": step.text, "before": before})


def _run(journey: Journey, step: RunJourney) -> dict[str, Any]:
    target = {"namespace": NAMESPACE, "name": _name(step.journey), "version": "latest", "input": _cels(step.with_)}
    return {"run": {"workflow": target, "await": step.wait}}


_TASKS: Mapping[type[Step], Callable[[Journey, Any], dict[str, Any]]] = {
    Do: _do,
    Call: _call,
    Say: _say,
    Assign: _set,
    Fork: _fork,
    For: _for,
    Wait: _wait,
    Listen: _listen,
    Try: _try,
    Emit: _emit,
    Raise: _raise,
    AskPerson: _ask,
    HandOver: _hand_over,
    Undo: _undo,
    Goal: _goal,
    Checkpoint: _checkpoint,
    RunJourney: _run,
}


# words of the standard --------------------------------------------------------------------------------


def _ours(name: str, with_: Mapping[str, Any]) -> dict[str, Any]:
    return {"call": f"cxplane.{name}", "with": _lean(with_)}


def _name(journey: str) -> str:
    """Letters, digits and hyphens, at most 63 (RFC 1123); a longer one is cut and told apart by its hash."""
    name = journey.replace("_", "-").strip("-")
    if len(name) > 63:
        name = f"{name[:54].rstrip('-')}-{hashlib.sha256(journey.encode()).hexdigest()[:8]}"
    return name


def _error(name: str) -> str:
    return f"cxplane://errors/{name}"


def _cel(text: str | None) -> str | None:
    return None if text is None else "${ " + text.strip() + " }"


def _cels(values: Mapping[str, str]) -> dict[str, str]:
    return {name: _cel(text) or "" for name, text in values.items()}


def _duration(span: timedelta | None) -> dict[str, int] | None:
    """{days, hours, minutes, seconds, milliseconds}, those that are not zero."""
    if span is None:
        return None
    left = round(span.total_seconds() * 1000)
    told: dict[str, int] = {}
    for unit, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1000)):
        if left >= size:
            told[unit], left = divmod(left, size)
    if left or not told:
        told["milliseconds"] = left
    return told


def _lean(body: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in body.items() if v is not None and v != [] and v != {} and v != ""}
