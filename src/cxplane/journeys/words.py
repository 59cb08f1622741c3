"""What the steps of a journey do, in plain words, for pictures and timelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.domain.catalog import Mode
from cxplane.domain.journey import (
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
    Journey,
    Listen,
    Raise,
    RunJourney,
    Say,
    Step,
    Switch,
    Try,
    Undo,
    Wait,
)
from cxplane.domain.run import Wait as Waiting

_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def span(value: timedelta) -> str:
    """ "2 days", "1 hour 30 minutes": the two largest units that say something."""
    left = abs(value.total_seconds())
    said: list[str] = []
    for name, size in _UNITS[1:] if left % 604_800 else _UNITS:
        count = int(left // size)
        left -= count * size
        if count:
            said.append(f"{count} {name}{'s' if count > 1 else ''}")
    return " ".join(said[:2]) or "no time"


def time(iso: str) -> str:
    """ "24 Nov 2026 10:00 UTC" of an ISO 8601 time; the text itself where it is none."""
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return f"{at.day} {at:%b %Y %H:%M} UTC"


def listed(names: Sequence[str], last: str = "and") -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def _call(s: Call) -> str:
    by = f", by {s.team}" if s.team else ""
    how = {Mode.PERSON: "a person does ", Mode.PROPOSE: "proposes "}.get(s.mode, "") if s.mode else ""
    return f"{how}{s.action}{by}"


def _listen(s: Listen) -> str:
    names = listed([e.signal for e in s.signals], "and" if s.until == "all" else "or")
    return f"for {names}" + (f", {span(s.within)} at most" if s.within else "")


def _ask(s: AskPerson) -> str:
    who = s.person.partition(":")[2] or s.person if s.person else s.team
    what = {"approve": "yes or no", "choose": listed(s.choices, "or"), "fill": "fills in a form"}[s.what]
    return f"{who}: {what}" + (f", within {span(s.due)}" if s.due else "")


def _undo(s: Undo) -> str:
    return f"takes back {listed(s.steps)}" if s.steps else "takes back all that was done"


def _run(s: RunJourney) -> str:
    return f"journey {s.journey}" + ("" if s.wait else ", goes on meanwhile")


_SAID: Mapping[type[Step], Callable[[Any], str]] = {
    Do: lambda s: "one after the other",
    Call: _call,
    Say: lambda s: f"by {s.action}" if s.action else "to the customer",
    Assign: lambda s: listed(list(s.values)),
    Switch: lambda s: "the first case that holds",
    Fork: lambda s: "all at once; goes on when " + ("all are done" if s.until == "all" else "the first is done"),
    For: lambda s: f"each {s.each} in {s.in_}" + (f", while {s.while_}" if s.while_ else ""),
    Wait: lambda s: span(s.for_) if s.for_ is not None else f"until {s.until}",
    Listen: _listen,
    Try: lambda s: "watched for errors",
    Emit: lambda s: s.signal,
    Raise: lambda s: f"error {s.error}",
    AskPerson: _ask,
    HandOver: lambda s: f"to {s.team}" + (", waits until finished" if s.wait else ", goes on meanwhile"),
    Undo: _undo,
    Goal: lambda s: s.goal,
    Checkpoint: lambda s: s.text or f"before {listed(s.before) or 'every write'}",
    RunJourney: _run,
}


def about(step: Step) -> str:
    """What the step does: `call` -> its action, `wait` -> how long, `ask` -> who …"""
    return _SAID[type(step)](step)


def caught(step: Try) -> tuple[str, str]:
    """Which errors the catch takes, and what it does before its own steps ("" for nothing)."""
    takes = listed(step.errors, "or") if step.errors else "any error"
    does: list[str] = []
    if step.retry:
        times = "once" if step.retry.times == 1 else f"{step.retry.times} times"
        does.append(f"tries again {times}, first after {span(step.retry.delay)}")
    if step.compensate:
        does.append("undoes what was done")
    return takes, ", then ".join(does)


def waits(wait: Waiting, step: Step | None = None) -> str:
    """What a token waits for: "waits for billing.issue_credit", "stuck: unavailable" …"""
    until = f" until {time(wait.due)}" if wait.due else ""
    match wait.kind:
        case "call":
            action = step.action if isinstance(step, (Call, Say)) and step.action else "the system"
            return f"waits for {action}"
        case "undo":
            return "waits for the undoing"
        case "time":
            return f"waits{until}"
        case "retry":
            return f"tries again{until.replace(' until', ' on')}"
        case "signal":
            open_ = [type_ for type_, _ in wait.open] or (
                [e.signal for e in step.signals] if isinstance(step, Listen) else []
            )
            return f"waits for {listed(open_, 'or') or 'a signal'}{until}"
        case "task":
            who = step.team if isinstance(step, (AskPerson, HandOver, Call)) and step.team else "a person"
            return f"waits for {who}{until}"
        case "run":
            return f"waits for journey {step.journey}" if isinstance(step, RunJourney) else "waits for a journey"
        case "person":
            return f"stuck: {wait.error or 'an error'}, a person frees it"
        case other:
            return f"waits for {other}"


def steps_by_name(journey: Journey | None) -> dict[str, Step]:
    return {step.name: step for step in journey.walk()} if journey else {}
