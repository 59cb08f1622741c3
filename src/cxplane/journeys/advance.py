"""What a run does next: `advance(program, run, event, now) → state, what it wants done, the way it went`.

No reading, no clock, no chance: the same again gives the same. An event that concerns nothing changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import (
    CHILD,
    EXPIRED,
    EXPRESSION,
    FAILED,
    REFUSED,
    REJECTED,
    TIMEOUT,
    UNAVAILABLE,
    AskPerson,
    Call,
    HandOver,
    Listen,
    Say,
    Try,
)
from cxplane.domain.run import (
    Advanced,
    Answered,
    ChildEnded,
    Due,
    Event,
    Heard,
    MoveTask,
    Run,
    RunStatus,
    Settled,
    Started,
    Token,
    Told,
    Unasked,
    UndoRequest,
    Wait,
)
from cxplane.journeys import undoing
from cxplane.journeys.bounds import not_too_fast
from cxplane.journeys.errors import retry_in, stuck
from cxplane.journeys.failing import fail, guarded
from cxplane.journeys.machine import Machine, StepError, change
from cxplane.journeys.program import Program
from cxplane.journeys.steering import told
from cxplane.journeys.steps import ask, enter

MOST_STEPS = 10_000  # without a wait


def advance(program: Program, run: Run, event: Event, now: datetime) -> Advanced:
    """ValueError where a person told it something that cannot be; the words say why."""
    if run.state.status.final:
        return Advanced(run.state)
    m = Machine(program, run, now)
    if not _take(m, event):
        return Advanced(run.state)
    _go(m)
    if m.status is RunStatus.READY and m.ending is None:  # told something before it was started
        return m.advanced()
    if not m.tokens and m.status is not RunStatus.SUSPENDED:
        undoing.finish(m)
    m.settle_status()
    return m.advanced()


def _go(m: Machine) -> None:
    """Until everything waits."""
    steps = rounds = 0
    while m.status is not RunStatus.SUSPENDED and (token := m.runnable()) is not None:
        steps += 1
        try:
            if steps > MOST_STEPS:
                rounds += 1
                if rounds > 1:  # and so does what catches it
                    stuck(m, token, EXPRESSION, "it goes round without waiting")
                    continue
                steps = 0
                raise StepError(EXPRESSION, "it goes round without waiting")
            not_too_fast(m, token)
            enter(m, token)
        except StepError as problem:
            fail(m, m.tokens.get(problem.token or token.id, token), problem.name, problem.text)
        except ExpressionError as problem:
            fail(m, m.tokens.get(token.id, token), EXPRESSION, str(problem))


def _take(m: Machine, event: Event) -> bool:
    """False if it concerns nothing."""
    match event:
        case Started():
            return _started(m)
        case Settled():
            return _settled(m, event)
        case Unasked():
            return _unasked(m, event)
        case Due():
            return _due(m, event)
        case Heard():
            return _heard(m, event)
        case Answered():
            return _answered(m, event)
        case ChildEnded():
            return _child_ended(m, event)
        case Told():
            told(m, event)
            return True


def _started(m: Machine) -> bool:
    if m.tokens or m.visits:
        return False
    if m.status is not RunStatus.SUSPENDED:
        m.status = RunStatus.WAITING
    if m.program.journey.steps:
        m.fresh(m.program.journey.steps[0].name)
    return True


def _waiting(m: Machine, kind: str, field: str, value: str) -> Token | None:
    for token in m.tokens.values():
        if token.wait is not None and token.wait.kind == kind and getattr(token.wait, field) == value:
            return token
    return None


# how a request ended ---------------------------------------------------------------------------------------


def _settled(m: Machine, event: Settled) -> bool:
    if (undo := _waiting(m, "undo", "request", event.request)) is not None:
        if event.status in ("held", "running", "unknown", "stuck"):
            return False
        guarded(m, undo, lambda: undoing.settled(m, undo, event))
        return True
    token = _waiting(m, "call", "request", event.request)
    if token is None or event.status in ("held", "running", "unknown", "stuck", "previewed"):
        return False
    wait = token.wait
    assert wait is not None
    if event.status == "replaced":
        if event.replaced_by is None:
            return False
        m.put(change(token, wait=change(wait, request=event.replaced_by)))
        return True
    step = m.program.node(token.at).step
    assert isinstance(step, (Call, Say))
    action = m.program.action_of(step)
    if event.status == "done" and not event.read:
        m.done(token, event.request, action)
    if token.lost:
        m.tokens.pop(token.id)
        return True
    guarded(m, token, lambda: _call_ended(m, token, wait, event, step))
    return True


def _unasked(m: Machine, event: Unasked) -> bool:
    if (undo := _waiting(m, "undo", "request", event.request)) is not None:
        if m.status is RunStatus.SUSPENDED:  # resuming asks for it
            return False
        assert undo.wait is not None
        m.effects.append(UndoRequest(undo.wait.undo[0], event.request))
        return True
    token = _waiting(m, "call", "request", event.request)
    if token is None:
        return False
    if token.lost:  # nobody needs it any more
        m.tokens.pop(token.id)
        return True
    guarded(m, token, lambda: retry(m, token))
    return True


def _call_ended(m: Machine, token: Token, wait: Wait, event: Settled, step: Call | Say) -> None:
    why = "; ".join(event.reasons) or event.error or event.status
    match event.status:
        case "done":
            m.result(token, dict(event.output or {}))
        case "refused" if event.kind != "retry":
            fail(m, token, REFUSED, why)
        case "rejected":
            fail(m, token, REJECTED, "an approver said no")
        case "expired":
            fail(m, token, EXPIRED, "nobody approved in time")
        case _ if event.kind == "retry":
            silent = "; ".join(event.reasons) or event.error or "the system does not answer"
            _again_later(m, token, wait, silent, step)
        case _:
            fail(m, token, FAILED, event.error or "the system said no")


def _again_later(m: Machine, token: Token, wait: Wait, why: str, step: Call | Say) -> None:
    patience = (step.patience if isinstance(step, Call) else None) or m.program.journey.patience
    since = datetime.fromisoformat(wait.since) if wait.since else m.now
    after = min(retry_in(wait.attempt), max(timedelta(seconds=1), since + patience - m.now))
    if m.now >= since + patience:
        fail(m, token, UNAVAILABLE, why)
        return
    m.put(change(token, wait=change(wait, kind="retry", request=None, due=m.iso(after), attempt=wait.attempt + 1)))
    m.note(token.at, "retried", UNAVAILABLE, why)


# times -----------------------------------------------------------------------------------------------------


def _due(m: Machine, event: Due) -> bool:
    token = m.tokens.get(event.token)
    if token is None or (wait := token.wait) is None or (token.lost and not wait.undo):
        return False
    if wait.kind == "retry" and m.status is RunStatus.SUSPENDED:
        return False
    at = {"due": wait.due, "remind": wait.remind, "escalate": wait.escalate}.get(event.what)
    if at is None or datetime.fromisoformat(at) > m.now:
        return False
    if event.what == "due":
        guarded(m, token, lambda: _over(m, token, wait))
        return True
    step = m.program.node(token.at).step
    assert wait.task is not None and isinstance(step, AskPerson)
    if event.what == "remind":
        m.put(change(token, wait=change(wait, remind=None)))
        m.effects.append(MoveTask(wait.task, "reminded"))
    else:
        m.put(change(token, wait=change(wait, escalate=None)))
        m.effects.append(MoveTask(wait.task, "escalated", step.escalate.team if step.escalate else None))
    return True


def _over(m: Machine, token: Token, wait: Wait) -> None:
    step = m.program.node(token.at).step if token.at else None
    match wait.kind:
        case "time":
            m.result(token, {})
        case "signal":
            assert isinstance(step, Listen)
            fail(m, token, TIMEOUT, f"no {' or '.join(type for type, _ in wait.open)} in time")
        case "task":
            assert isinstance(step, AskPerson)
            if not step.has_default:
                m.close_task(token)
                fail(m, change(token, wait=None), EXPIRED, "nobody answered in time")
                return
            m.close_task(token, "defaulted")
            name = {"approve": "approved", "choose": "choice"}.get(step.what, "values")
            m.result(token, {name: step.default, "by": "cxplane", "at": m.iso(), "how": "default"})
        case "retry":
            retry(m, token)


def retry(m: Machine, token: Token) -> None:
    """Ask again, undo again, or begin a `try` again."""
    wait = token.wait
    assert wait is not None
    if wait.undo:
        undoing.ask(m, token, wait)
        return
    step = m.program.node(token.at).step
    if isinstance(step, Try):
        m.goto(token, step.steps[0])
        return
    assert isinstance(step, (Call, Say))
    node = m.program.node(token.at)
    input = dict(wait.given) if wait.given is not None else m.values(token, node, "with")
    action = m.program.action_of(step)
    ask(m, token, action, input, attempt=wait.attempt, since=wait.since, caller=wait.caller, given=wait.given)


# signals, people, other journeys -----------------------------------------------------------------------------


def _heard(m: Machine, event: Heard) -> bool:
    took = False
    for id in list(m.tokens):
        token = m.tokens.get(id)  # an earlier one may have closed its branch
        wait = token.wait if token is not None else None
        if token is not None and wait is not None and wait.kind == "signal" and (event.signal, event.key) in wait.open:
            step = m.program.node(token.at).step
            if isinstance(step, Listen) and _wanted(m, token, wait, step, event):
                took = True
                guarded(m, token, partial(_listened, m, token, wait, step, event))
    return took


def _wanted(m: Machine, token: Token, wait: Wait, step: Listen, event: Heard) -> bool:
    node = m.program.node(token.at)
    signal = {
        "type": event.signal,
        "key": event.key,
        "data": event.data,
        "source": event.source,
        "id": event.id,
    }
    for n, one in enumerate(step.signals):
        if one.signal != event.signal:
            continue
        if len(wait.open) == len(step.signals) and wait.open[n] != (event.signal, event.key):
            continue  # another one of the same type, with another key
        if one.where is None:
            return True
        try:
            if m.truth(token, node.cel[f"where:{n}"], signal=signal):
                return True
        except ExpressionError:
            m.note(token.at, "not for it", EXPRESSION)
    return False


def _listened(m: Machine, token: Token, wait: Wait, step: Listen, event: Heard) -> None:
    if step.until == "any":
        m.result(token, {"signal": event.signal, "data": dict(event.data), "at": event.at})
        return
    left = tuple(pair for pair in wait.open if pair[0] != event.signal)
    heard = (*token.heard, {"signal": event.signal, "data": dict(event.data)})
    token = m.put(change(token, heard=heard, wait=change(wait, open=left)))
    if not left:
        m.result(change(token, heard=()), {str(h["signal"]): h["data"] for h in heard})


def _answered(m: Machine, event: Answered) -> bool:
    token = _waiting(m, "task", "task", event.task)
    if token is None:
        return False
    guarded(m, token, lambda: _answer(m, token, event))
    return True


def _answer(m: Machine, token: Token, event: Answered) -> None:
    node = m.program.node(token.at)
    step = node.step
    how = {"by": event.by, "at": event.at or m.iso(), "how": "answered"}
    if isinstance(step, (AskPerson, HandOver)):
        m.result(token, {**event.answer, **how})
    elif event.answer.get("approved") is True:
        assert isinstance(step, Call)
        edited = event.answer.get("input")
        given = edited if isinstance(edited, dict) else None
        input = given if given is not None else m.values(token, node, "with")
        ask(m, token, step.action, input, caller=event.by, given=given)
    else:
        fail(m, change(token, wait=None), REJECTED, f"{event.by} did not do it")


def _child_ended(m: Machine, event: ChildEnded) -> bool:
    token = _waiting(m, "run", "run", event.run)
    if token is None:
        return False

    def on() -> None:
        if event.status == RunStatus.DONE:
            m.result(token, dict(event.result))
        else:
            fail(m, token, CHILD, f"the journey that it started is {event.status}")

    guarded(m, token, on)
    return True
