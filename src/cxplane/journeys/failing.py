"""A step has failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import EXPRESSION, UNCAUGHT, Try
from cxplane.domain.run import Token, Wait
from cxplane.journeys import undoing
from cxplane.journeys.errors import caught_by, stuck
from cxplane.journeys.machine import Machine, StepError, change
from cxplane.journeys.program import Node


def fail(m: Machine, token: Token, name: str, text: str) -> None:
    """`name`: see domain.journey.ERRORS, or the operator's own."""
    token = change(token, wait=None)  # what it waited for is behind it
    if token.id in m.tokens:
        m.put(token)
    node = m.program.node(token.at)
    m.note(token.at, "failed", name, text)
    error = {"name": name, "text": text, "step": token.at}
    if (taker := caught_by(m, token, node, name, error)) is not None:
        _catch(m, *taker, error)
        return
    how = m.program.journey.on_failure
    if how == "hand_over" or name in UNCAUGHT:
        stuck(m, token, name, text)
        return
    m.error = error
    undoing.end(m, "failed", compensate=how == "compensate")


def guarded(m: Machine, token: Token, work: Callable[[], object]) -> None:
    """Going on may fail too: a `while` or an input that cannot be computed."""
    try:
        work()
    except StepError as problem:
        fail(m, m.tokens.get(problem.token or token.id, token), problem.name, problem.text)
    except ExpressionError as problem:
        fail(m, m.tokens.get(token.id, token), EXPRESSION, str(problem))


def _catch(m: Machine, token: Token, node: Node, error: dict[str, str]) -> None:
    step = node.step
    assert isinstance(step, Try)
    for other in list(m.below(token)):
        m.let_go(other)
    tries = token.tries.get(step.name, 0)
    loops = {name: at for name, at in token.loops.items() if not m.program.node(name).within(step.name)}
    inner = {name: n for name, n in token.tries.items() if not m.program.node(name).within(step.name)}
    caught = {name: e for name, e in token.caught.items() if not m.program.node(name).within(step.name)}
    began = {n: at for n, at in token.began.items() if not m.program.node(n).within(step.name)}
    token = m.put(change(token, at=step.name, loops=loops, tries=inner, began=began, caught=caught, wait=None))
    if step.retry is not None and tries < step.retry.times:
        grown = step.retry.delay.total_seconds() * step.retry.backoff ** min(tries, 60)
        after = timedelta(seconds=min(step.retry.longest.total_seconds(), grown))
        m.put(
            change(
                token,
                tries=inner | {step.name: tries + 1},
                wait=Wait(kind="retry", due=m.iso(after), since=m.iso(), error=error["name"]),
            )
        )
        m.note(step.name, "retried", error["name"])
        return
    left = {name: n for name, n in inner.items() if name != step.name}
    token = m.put(change(token, tries=left, caught=caught | {step.name: error}))
    if step.compensate:
        nodes = m.program.nodes
        since = m.did[began.get(step.name, 0) :]  # not what an earlier round of a loop did
        inside = [d for d in since if d.step in nodes and nodes[d.step].within(step.name, "try")]
        undoing.begin(m, token, inside, "catch")
    else:
        undoing.into_catch(m, token)
