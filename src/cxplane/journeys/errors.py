"""Where an error goes: to the innermost catch that takes it, else to what the journey says of failures, else to a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import UNCAUGHT, Fork, Try
from cxplane.domain.run import OpenTask, Token, Wait
from cxplane.journeys.machine import Machine, change
from cxplane.journeys.program import Node

FIRST, LONGEST = timedelta(seconds=10), timedelta(minutes=5)


def retry_in(attempt: int) -> timedelta:
    """How long a system that did not answer is left in peace before try number `attempt` + 1."""
    return min(LONGEST, FIRST * (1 << min(attempt - 1, 10)))


def caught_by(m: Machine, token: Token, node: Node, name: str, error: dict[str, Any]) -> tuple[Token, Node] | None:
    """The token and the `try` that take an error raised at this step."""
    if name in UNCAUGHT:
        return None
    holder, here = token, node
    while (parent := here.parent) is not None:
        step = parent.step
        if isinstance(step, Fork):
            above = m.tokens.get(holder.parent or 0)
            if above is None:
                return None
            holder = above
        elif isinstance(step, Try) and here.body == "try" and (not step.errors or name in step.errors):
            try:
                if "catch" not in parent.cel or m.truth(holder, parent.cel["catch"], error=error):
                    return holder, parent
            except ExpressionError:
                pass  # a condition that cannot be computed takes nothing
        here = parent
    return None


def stuck(m: Machine, token: Token, name: str, text: str, *, keep: Wait | None = None) -> None:
    """A person must free it, at exactly this point."""
    task = m.id("tsk", "stuck", token.at, m.next_token)  # never the same as an earlier one
    m.next_token += 1
    base = keep if keep is not None else Wait(kind="person", since=m.iso())
    m.put(change(token, wait=change(base, kind="person", request=None, due=None, task=task, error=name)))
    m.error = {"name": name, "text": text, "step": token.at}
    m.effects.append(
        OpenTask(
            task=task,
            step=token.at,
            what="stuck",
            team=m.program.journey.charter.exceptions,
            text=text,
            show={"error": name, "step": token.at, **progress(m)},
        )
    )


def progress(m: Machine) -> dict[str, Any]:
    """What is done, and what did not come yet."""
    here = {t.at for t in m.tokens.values()}
    return {
        "done": [d.step for d in m.did if not d.undone],
        "left": [s.name for s in m.program.journey.walk() if s.name not in m.visits or s.name in here],
    }
