"""What people tell a run to do."""

from __future__ import annotations

from functools import partial

from cxplane.domain.journey import Call, Checkpoint, For, Fork, Say, Try
from cxplane.domain.run import (
    INTERNAL,
    MoveTask,
    RunStatus,
    StopRun,
    Token,
    Told,
    UndoRequest,
    Wait,
    internal_task,
)
from cxplane.journeys import undoing
from cxplane.journeys.bounds import looked_at
from cxplane.journeys.failing import guarded
from cxplane.journeys.machine import Machine, change
from cxplane.journeys.migrate import moved
from cxplane.journeys.steps import ask


def told(m: Machine, event: Told) -> None:
    """ValueError says why it cannot be done."""
    if event.what in ("retry", "skip", "move"):
        looked_at(m)
    match event.what:
        case "suspend":
            m.status = RunStatus.SUSPENDED
            m.note("", "suspended")
        case "resume":
            _resume(m)
        case "cancel":
            _was_internal(m)
            if m.ending is None:
                m.note("", "cancelled")
                m.error = None
                undoing.end(m, "cancelled", compensate=event.compensate)
                _awake(m)
        case "fail":
            _was_internal(m)
            m.note("", "failed", "told", "a person ended it")
            undoing.end(m, "failed", compensate=False)
            for token in list(m.tokens.values()):
                m.tokens.pop(token.id)
            _awake(m)
        case "retry":
            _retry(m, event.step)
        case "skip":
            _skip(m, event.step)
        case "move":
            _move(m, event.step or "")
        case "migrate":
            moved(m, event.positions)
        case what:
            raise ValueError(f"a run cannot be told to {what}")


def _was_internal(m: Machine) -> bool:
    """Its leg failed for a reason of ours, wherever it is; now it goes on from there."""
    if m.error is None or m.error.get("name") != INTERNAL:
        return False
    m.error, m.status = None, RunStatus.WAITING
    m.effects.append(MoveTask(internal_task(m.run), "closed"))
    if not m.tokens and not m.visits and m.program.journey.steps:  # its very first leg failed
        m.fresh(m.program.journey.steps[0].name)
    return True


def _awake(m: Machine) -> None:
    if m.status is RunStatus.SUSPENDED:
        m.status = RunStatus.WAITING


def _resume(m: Machine) -> None:
    if m.status is not RunStatus.SUSPENDED:
        raise ValueError("it is not suspended")
    m.status = RunStatus.WAITING if m.tokens or m.visits or m.ending else RunStatus.READY
    m.note("", "resumed")
    for token in m.tokens.values():  # asked for while it was suspended, and perhaps not begun
        if token.wait is not None and token.wait.kind == "undo" and token.wait.request:
            m.effects.append(UndoRequest(token.wait.undo[0], token.wait.request))


def _stuck(m: Machine, step: str | None) -> list[Token]:
    found = [
        t
        for t in m.tokens.values()
        if t.wait is not None and t.wait.kind in ("person", "retry") and (step is None or t.at == step)
    ]
    if not found:
        where = f"at {step}" if step else "here"
        raise ValueError(f"nothing is stuck {where}, and nothing waits for another try")
    return found


def _retry(m: Machine, step: str | None) -> None:
    if _was_internal(m):
        m.note("", "retried")
        return
    for token in _stuck(m, step):
        wait = token.wait
        assert wait is not None
        m.close_task(token)
        m.note(token.at, "retried")
        if wait.undo:
            undoing.ask(m, token, change(wait, attempt=wait.attempt + 1))
            continue
        node = m.program.node(token.at)
        here = node.step
        if wait.kind == "retry" and isinstance(here, Try):
            m.goto(token, here.steps[0])
        elif isinstance(here, For) and here.name in token.loops:  # a `while` that could not be computed: this item
            guarded(m, token, partial(m.iterate, token, node, here, *token.loops[here.name]))
        elif wait.kind == "retry" and isinstance(here, (Call, Say)):
            guarded(m, token, partial(_ask_again, m, token, wait, here))
        else:
            m.goto(token, here)


def _ask_again(m: Machine, token: Token, wait: Wait, step: Call | Say) -> None:
    node, action = m.program.node(token.at), m.program.action_of(step)
    input = dict(wait.given) if wait.given is not None else m.values(token, node, "with")
    ask(m, token, action, input, attempt=wait.attempt, since=m.iso(), caller=wait.caller, given=wait.given)


def _skip(m: Machine, step: str | None) -> None:
    for token in _stuck(m, step):
        wait = token.wait
        assert wait is not None
        if token.at and isinstance(m.program.node(token.at).step, Checkpoint) and not wait.undo:
            raise ValueError(f"{token.at} is a compliance checkpoint, and nothing skips it")
        m.close_task(token)
        if wait.undo:
            m.note(token.at, "skipped")
            undoing.rest(m, token)
        else:
            m.steps.setdefault(token.at, {})
            loops = {name: at for name, at in token.loops.items() if name != token.at}
            tries = {name: n for name, n in token.tries.items() if name != token.at}
            token = m.put(change(token, wait=None, loops=loops, tries=tries))
            guarded(m, token, partial(m.leave, token, "skipped"))


def _move(m: Machine, step: str) -> None:
    if step not in m.program.nodes:
        raise ValueError(f"the journey has no step {step!r}")
    tokens = [t for t in m.tokens.values() if not t.lost]
    if len(tokens) != 1 or tokens[0].parent is not None:
        raise ValueError("it is in a fork; move it when the branches have come together")
    token = tokens[0]
    if m.ending is not None:
        raise ValueError("it is being ended")
    if token.wait is not None and token.wait.undo and token.wait.kind != "undo":
        raise ValueError(f"what was done is being taken back at {token.at}; retry or skip that first")
    if token.wait is not None and token.wait.kind in ("call", "undo"):
        raise ValueError(f"it waits for request {token.wait.request}; settle that first")
    node = m.program.node(step)
    for above in node.above():
        if isinstance(above.step, Fork):
            raise ValueError(f"{step} stands in the fork {above.name}; move to {above.name} instead")
        if isinstance(above.step, For) and above.name not in token.loops:
            raise ValueError(f"{step} stands in the loop {above.name}; move to {above.name} instead")
        if isinstance(above.step, Try) and above.name not in token.caught and node.within(above.name, "catch"):
            raise ValueError(
                f"{step} is for what {above.name} catches, and there is no error; move to {above.name} instead"
            )
    inside = {above.name for above in node.above()}
    m.close_task(token)
    if token.wait is not None and token.wait.kind == "run" and token.wait.run is not None:
        m.effects.append(StopRun(token.wait.run))
    m.note(step, "moved")
    m.put(
        change(
            token,
            at=step,
            wait=None,
            loops={name: at for name, at in token.loops.items() if name in inside},
            tries={name: n for name, n in token.tries.items() if name in inside},
            began={name: n for name, n in token.began.items() if name in inside},
            caught={n: e for n, e in token.caught.items() if n in inside and node.within(n, "catch")},
        )
    )
