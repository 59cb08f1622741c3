"""What a run waits for: times, signals, and the same in plain words."""

from __future__ import annotations

from cxplane.domain.run import RunState, RunStatus, Token
from cxplane.journeys.program import Program


def due(state: RunState) -> list[tuple[int, str, str]]:
    """(token, what, ISO time) of every time that will bring the run on. `what`: due | remind | escalate."""
    found = []
    for token in state.tokens:
        if (wait := token.wait) is None or (token.lost and not wait.undo):
            continue
        if wait.kind == "retry" and state.status is RunStatus.SUSPENDED:  # nothing new is begun
            continue
        for what, at in (("due", wait.due), ("remind", wait.remind), ("escalate", wait.escalate)):
            if at is not None:
                found.append((token.id, what, at))
    return found


def listening(state: RunState) -> list[tuple[int, str, str]]:
    """(token, type, key) of every signal that is listened for."""
    return [
        (token.id, type, key)
        for token in state.tokens
        if token.wait is not None and token.wait.kind == "signal"
        for type, key in token.wait.open
    ]


def describe_waits(program: Program, state: RunState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the steps where it is, what each of them waits for in plain words)."""
    tokens = [t for t in state.tokens if not (t.wait is not None and t.wait.kind == "fork")]
    return tuple(t.at for t in tokens), tuple(_words(t) for t in tokens)


def _minute(iso: str | None, length: int = 16) -> str:
    return (iso or "").replace("T", " ")[:length]


def _words(token: Token) -> str:
    wait = token.wait
    if wait is None:
        return "to go on"
    until = f" until {_minute(wait.due)}" if wait.due else ""
    match wait.kind:
        case "call":
            return f"request {wait.request}"
        case "undo":
            return f"request {wait.request}, which takes back"
        case "time":
            return f"until {_minute(wait.due)}"
        case "retry":
            return f"another try at {_minute(wait.due, 19)}"
        case "signal":
            return f"signal {' or '.join(type for type, _ in wait.open)}{until}"
        case "task":
            return f"task {wait.task}{until}"
        case "run":
            return f"run {wait.run}"
        case _:
            return f"a person: {wait.error or 'failed'} at {token.at or 'the end'}"
