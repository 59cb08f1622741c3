"""Taking back what was done: one request after the other, the last first; and how a run ends."""

from __future__ import annotations

from cxplane.domain.run import Did, RunStatus, Settled, Token, UndoRequest, Wait
from cxplane.journeys.errors import retry_in, stuck
from cxplane.journeys.machine import Machine, change

NOT_UNDONE = {"refused": "was refused", "rejected": "was not approved", "expired": "was not approved in time"}


def begin(m: Machine, token: Token, did: list[Did], then: str) -> None:
    """Take back these, then go on: next | catch | failed | cancelled."""
    ahead = tuple(d.request for d in reversed(did) if not d.undone)
    if not ahead:
        follow(m, token, then)
        return
    ask(m, token, Wait(kind="undo", undo=ahead, then=then, since=m.iso()))


def ask(m: Machine, token: Token, wait: Wait) -> None:
    first = wait.undo[0]
    if m.status is RunStatus.SUSPENDED:  # nothing new is begun: as soon as it is resumed
        m.put(change(token, wait=change(wait, kind="retry", request=None, due=m.iso(), task=None, error=None)))
        return
    request = m.id("req", "undo", first, wait.attempt)
    step = next((d.step for d in m.did if d.request == first), "")
    m.put(change(token, wait=change(wait, kind="undo", request=request, due=None, task=None, error=None)))
    m.effects.append(UndoRequest(undoes=first, request=request, step=step))


def settled(m: Machine, token: Token, event: Settled) -> None:
    wait = token.wait
    assert wait is not None
    if event.status == "done":
        of = wait.undo[0]
        m.did = [change(d, undone=True) if d.request == of else d for d in m.did]
        m.note(next((d.step for d in m.did if d.request == of), ""), "undone")
        rest(m, token)
    elif event.status == "kept":
        m.note(next((d.step for d in m.did if d.request == wait.undo[0]), ""), "kept", text=event.error or "")
        rest(m, token)
    elif event.status == "replaced" and event.replaced_by:
        m.put(change(token, wait=change(wait, request=event.replaced_by)))
    elif event.status in ("failed", "refused") and event.kind == "retry":
        after = retry_in(wait.attempt)
        m.put(change(token, wait=change(wait, kind="retry", due=m.iso(after), attempt=wait.attempt + 1)))
    elif event.status in ("failed", *NOT_UNDONE):
        why = event.error or NOT_UNDONE.get(event.status, "failed")
        stuck(m, token, "undo", f"what was done cannot be taken back: {why}", keep=wait)


def rest(m: Machine, token: Token) -> None:
    """The present one is behind us."""
    wait = token.wait
    assert wait is not None and wait.then is not None
    left = wait.undo[1:]
    if left:
        ask(m, token, change(wait, undo=left, attempt=1))
    else:
        follow(m, m.put(change(token, wait=None)), wait.then)


def follow(m: Machine, token: Token, then: str) -> None:
    if then == "next":
        m.steps[token.at] = {}
        m.leave(token)
    elif then == "catch":
        into_catch(m, token)
    else:
        m.tokens.pop(token.id, None)


def into_catch(m: Machine, token: Token) -> None:
    node = m.program.node(token.at)
    body = node.step.bodies().get("catch", ())
    if body:
        m.goto(token, body[0])
        return
    caught = {name: e for name, e in token.caught.items() if name != token.at}
    m.leave(m.put(change(token, caught=caught, wait=None)))


def end(m: Machine, how: str, *, compensate: bool) -> None:
    """failed | cancelled. What is open is let go; then what was done is taken back."""
    m.ending, m.compensate = how, compensate
    for token in list(m.tokens.values()):
        if token.wait is not None and (token.wait.kind == "undo" or token.wait.undo):
            m.close_task(token)
            m.tokens.pop(token.id, None)
        else:
            m.let_go(token)


def finish(m: Machine) -> None:
    """Nothing is awaited any more."""
    if m.ending is None:
        m.status = RunStatus.DONE
        return
    if m.compensate and any(not d.undone for d in m.did):
        m.compensate = False
        begin(m, m.fresh(""), list(m.did), m.ending)
        return
    m.status = RunStatus.FAILED if m.ending == "failed" else RunStatus.CANCELLED
