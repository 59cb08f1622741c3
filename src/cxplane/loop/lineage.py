"""How many runs one run leads to, however they start each other: counted by the store, which refuses what would pass the bound.

Depth bounds a chain; a journey that starts itself twice makes 2^depth runs before its depth stops it. Every run that another
one started carries the `root` that they all come from. From `COUNTED` deep on, each start takes one of the counter of its root, in the
commit of the start, as a request takes of a budget: exact however many workers there are, and the same start again takes nothing.
What is less deep is not counted: a run may start as many others as it likes, and each of these too.
"""

from __future__ import annotations

from dataclasses import dataclass

from cxplane.domain.budget import Reservation
from cxplane.domain.record import AppendResult, BudgetExhausted
from cxplane.domain.run import Run
from cxplane.ports.store import Store

COUNTED = 3  # deep
COUNTER = "(runs)"  # no budget of a control repo is called so


class Runaway(Exception):
    """It would go on for ever, or grow without end: a person must look."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a run that is about to start comes from, and what its start takes."""

    root: str | None = None  # None: from outside
    depth: int = 0
    takes: tuple[Reservation, ...] = ()


OUTSIDE = Lineage()


async def lineage(store: Store, tenant: str, starter: Run | None) -> Lineage:
    """Of a run that `starter` starts; None: nobody's."""
    if starter is None:
        return OUTSIDE
    root, depth = starter.id, starter.depth + 1
    if starter.depth:
        found = await store.entries(tenant, stream=starter.id, kind="run.started", limit=1)
        begun = found or await store.stream(tenant, starter.id)  # so young that it is not settled
        root = begun[0].body.get("root", starter.id)  # one that an older plane started says none
    if depth < COUNTED:
        return Lineage(root, depth)
    most = starter.bounds.runs
    return Lineage(root, depth, (Reservation(COUNTER, root, "", money=0, count=1, risk=0, limit_count=most),))


def in_bounds(result: AppendResult, starter: Run | None) -> None:
    """Runaway where the start was refused because its root has led to as many runs as it may."""
    if isinstance(result, BudgetExhausted) and starter is not None:
        raise Runaway(
            f"it would start another run, and the run that it comes from has led to {result.used} already. "
            "If that is as it should be, raise journeys: runs in plane.yaml, then retry"
        )
