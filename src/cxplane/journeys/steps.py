"""What each kind of step does when a token comes to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from cxplane.domain.catalog import Mode
from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import (
    CHECKPOINT,
    AskPerson,
    Assign,
    Call,
    Checkpoint,
    Do,
    Emit,
    For,
    Fork,
    Goal,
    HandOver,
    Listen,
    Raise,
    RunJourney,
    Say,
    Step,
    Switch,
    Try,
    Undo,
)
from cxplane.domain.journey import Wait as WaitStep
from cxplane.domain.run import AskAction, OpenTask, RunStatus, SendSignal, StartRun, Token, Wait
from cxplane.journeys import undoing
from cxplane.journeys.bounds import not_too_deep
from cxplane.journeys.errors import progress
from cxplane.journeys.lists import named
from cxplane.journeys.machine import Machine, StepError, change
from cxplane.journeys.program import Node


def enter(m: Machine, token: Token) -> None:
    """Raises StepError and ExpressionError, which are errors of the step."""
    node = m.program.node(token.at)
    if "if" in node.cel and not m.truth(token, node.cel["if"]):
        m.leave(token, "passed by")
        return
    visit = m.visits.get(token.at, 0) + 1
    m.visits[token.at] = visit
    m.entered += 1
    token = m.put(change(token, visit=visit))
    _ENTER[type(node.step)](m, token, node, node.step)


# work ------------------------------------------------------------------------------------------------------


def _call(m: Machine, token: Token, node: Node, step: Call) -> None:
    _guard(m, step.action)
    input = m.values(token, node, "with")
    mode = step.mode or m.program.journey.mode
    if mode is not Mode.ACT:
        _by_person(m, token, step, "propose" if mode is Mode.PROPOSE else "do", input)
        return
    ask(m, token, step.action, input)


def _say(m: Machine, token: Token, node: Node, step: Say) -> None:
    ask(m, token, m.program.action_of(step), m.values(token, node, "with"))


def _guard(m: Machine, action: str) -> None:
    for checkpoint in m.program.guards.get(action, ()):
        if checkpoint not in m.passed:
            raise StepError(CHECKPOINT, f"{action} may not be asked for before the checkpoint {checkpoint} is passed")


def ask(
    m: Machine,
    token: Token,
    action: str,
    input: Mapping[str, Any],
    *,
    attempt: int = 1,
    since: str | None = None,
    caller: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> None:
    """Ask for an action through the gate, and wait for how it ends."""
    _guard(m, action)
    node = m.program.node(token.at)
    if m.status is RunStatus.SUSPENDED:  # nothing new is begun: as soon as it is resumed
        m.put(change(token, wait=_later(m, attempt, since, caller, given)))
        return
    request = m.id("req", token.at, token.visit, attempt)
    recorded = m.values(token, node, "recorded") if "recorded" in node.maps else {}
    reason = m.text(token, node, "reason")
    wait = Wait(kind="call", request=request, since=since or m.iso(), attempt=attempt, caller=caller, given=given)
    m.wait(token, wait)
    m.effects.append(AskAction(token.id, token.at, request, action, input, recorded, reason, caller))


def _later(m: Machine, attempt: int, since: str | None, caller: str | None, given: Mapping[str, Any] | None) -> Wait:
    now = m.iso()
    return Wait(kind="retry", due=now, since=since or now, attempt=attempt, caller=caller, given=given)


def _by_person(m: Machine, token: Token, step: Call, what: str, input: Mapping[str, Any]) -> None:
    task = m.id("tsk", token.at, token.visit)
    m.wait(token, Wait(kind="task", task=task, since=m.iso()))
    team = step.team or m.program.journey.charter.exceptions
    text = step.summary or f"{step.action}: {'released by' if what == 'propose' else 'done by'} {team}"
    m.effects.append(OpenTask(task, token.at, what, team, text=text, show={"input": dict(input)}, action=step.action))


def _set(m: Machine, token: Token, node: Node, step: Assign) -> None:
    m.vars.update(m.values(token, node, "set"))
    m.leave(token)


def _emit(m: Machine, token: Token, node: Node, step: Emit) -> None:
    if step.signal in m.run.starting:
        not_too_deep(m, f"the signal {step.signal} starts a journey")
    key = m.text(token, node, "key") if "key" in node.cel else m.run.id
    data = m.values(token, node, "data")
    m.effects.append(SendSignal(m.id("sig", token.at, token.visit), step.signal, key, data))
    m.leave(token)


def _raise(m: Machine, token: Token, node: Node, step: Raise) -> None:
    raise StepError(step.error, m.text(token, node, "text") or step.error)


def _undo(m: Machine, token: Token, node: Node, step: Undo) -> None:
    wanted = [d for d in m.did if not step.steps or d.step in step.steps]
    undoing.begin(m, token, wanted, "next")


def _goal(m: Machine, token: Token, node: Node, step: Goal) -> None:
    told = {
        "achieved": m.truth(token, node.cel["achieved"]),
        "evidence": m.values(token, node, "evidence"),
        "at": m.iso(),
    }
    m.goals[step.goal] = told
    m.result(token, told)


def _checkpoint(m: Machine, token: Token, node: Node, step: Checkpoint) -> None:
    if step.name in m.passed:  # in an earlier round: what holds now counts
        m.passed.remove(step.name)
    try:
        passed = m.truth(token, node.cel["check"])
    except ExpressionError as problem:
        raise StepError(CHECKPOINT, f"{step.text or step.name}: it cannot be told ({problem.why})") from None
    if not passed:
        raise StepError(CHECKPOINT, step.text or f"the checkpoint {step.name} is not passed")
    m.passed.append(step.name)
    m.leave(token)


def _run(m: Machine, token: Token, node: Node, step: RunJourney) -> None:
    not_too_deep(m, f"it starts {step.journey}")
    run = m.id("run", token.at, token.visit)
    m.effects.append(StartRun(run, step.journey, m.values(token, node, "with"), token.id, step.wait))
    if step.wait:
        m.wait(token, Wait(kind="run", run=run, since=m.iso()))
    else:
        m.result(token, {"run": run})


# people ----------------------------------------------------------------------------------------------------


def _ask_person(m: Machine, token: Token, node: Node, step: AskPerson) -> None:
    task = m.id("tsk", token.at, token.visit)
    text, show = m.text(token, node, "text"), m.values(token, node, "show")
    due = m.iso(step.due) if step.due else None
    m.wait(
        token,
        Wait(
            kind="task",
            task=task,
            since=m.iso(),
            due=due,
            remind=m.iso(step.remind) if step.remind else None,
            escalate=m.iso(step.escalate.after) if step.escalate else None,
        ),
    )
    m.effects.append(
        OpenTask(task, token.at, step.what, step.team, step.person, text, step.choices, step.form, show, due)
    )


def _hand_over(m: Machine, token: Token, node: Node, step: HandOver) -> None:
    task = m.id("tsk", token.at, token.visit)
    text = m.text(token, node, "text")
    m.effects.append(OpenTask(task, token.at, "hand_over", step.team, text=text, show=progress(m)))
    if step.wait:
        m.wait(token, Wait(kind="task", task=task, since=m.iso()))
    else:
        m.result(token, {"task": task})


# flow ------------------------------------------------------------------------------------------------------


def _do(m: Machine, token: Token, node: Node, step: Do) -> None:
    _into(m, token, step.steps)


def _into(m: Machine, token: Token, steps: tuple[Step, ...]) -> None:
    if steps:
        m.goto(token, steps[0])
    else:
        m.leave(token)


def _switch(m: Machine, token: Token, node: Node, step: Switch) -> None:
    for case in step.cases:
        if case.when is None or m.truth(token, node.cel[f"when:{case.name}"]):
            m.note(f"{step.name}.{case.name}", "taken")
            if case.steps:
                m.goto(token, case.steps[0])
            else:
                m.follow(token, node, case.then)
            return
    m.leave(token)


def _fork(m: Machine, token: Token, node: Node, step: Fork) -> None:
    branches = [branch for branch in step.branches if branch.steps]
    if not branches:
        m.leave(token)
        return
    m.wait(token, Wait(kind="fork", since=m.iso()))
    for branch in branches:
        m.fresh(branch.steps[0].name, loops=token.loops, caught=token.caught, parent=token.id, branch=branch.name)


def _for(m: Machine, token: Token, node: Node, step: For) -> None:
    items = m.value(token, node.cel["in"])
    if not isinstance(items, list):
        raise ExpressionError(node.cel["in"].text, "no list")
    m.iterate(token, node, step, 0, None if named(m.program, node) else tuple(items))


def _wait(m: Machine, token: Token, node: Node, step: WaitStep) -> None:
    if step.for_ is not None:
        until = m.iso(step.for_)
    else:
        until = _time(m, m.value(token, node.cel["until"]), node.cel["until"].text)
    m.wait(token, Wait(kind="time", due=until, since=m.iso()))


def _time(m: Machine, found: Any, text: str) -> str:
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            raise ExpressionError(text, "no time") from None
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise ExpressionError(text, "no time with a time zone")
    if found - m.now > timedelta(days=3660):
        raise ExpressionError(text, "a time more than ten years ahead")
    return found.isoformat()


def _listen(m: Machine, token: Token, node: Node, step: Listen) -> None:
    open = []
    for n, one in enumerate(step.signals):
        key = m.text(token, node, f"key:{n}") if one.key is not None else m.run.id
        open.append((one.signal, key))
    due = m.iso(step.within) if step.within is not None else None
    m.wait(change(token, heard=()), Wait(kind="signal", open=tuple(open), due=due, since=m.iso()))


def _try(m: Machine, token: Token, node: Node, step: Try) -> None:
    tries = {name: n for name, n in token.tries.items() if name != step.name}
    began = {**token.began, step.name: len(m.did)} if step.compensate else token.began
    _into(m, m.put(change(token, tries=tries, began=began)), step.steps)


Enter = Callable[[Machine, Token, Node, Any], None]
_ENTER: Mapping[type[Step], Enter] = {
    Do: _do,
    Call: _call,
    Say: _say,
    Assign: _set,
    Switch: _switch,
    Fork: _fork,
    For: _for,
    WaitStep: _wait,
    Listen: _listen,
    Try: _try,
    Emit: _emit,
    Raise: _raise,
    AskPerson: _ask_person,
    HandOver: _hand_over,
    Undo: _undo,
    Goal: _goal,
    Checkpoint: _checkpoint,
    RunJourney: _run,
}
