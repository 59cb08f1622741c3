"""What is held for a way of a run that leads nowhere any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from cxplane.domain.entries import approval_decided
from cxplane.domain.outcome import Status
from cxplane.domain.record import NewEntry, RequestRow, subject_of
from cxplane.domain.run import Run
from cxplane.ports.store import Store


async def unwanted(store: Store, run: Run) -> AsyncIterator[tuple[RequestRow, str]]:
    """Held requests that tokens which are lost still wait for, with the approval of each."""
    for token in run.state.tokens:
        request = token.wait.request if token.lost and token.wait is not None and token.wait.kind == "call" else None
        row = await store.request(run.tenant, request) if request is not None else None
        if row is not None and row.status == Status.HELD and row.approval is not None:
            yield row, row.approval


def withdrawn(run: Run, held: RequestRow, approval: str, *, at: datetime) -> NewEntry:
    """Nobody need decide it."""
    return approval_decided(
        approval,
        held.id,
        status="rejected",
        by=f"journey:{run.journey}",
        at=at,
        subject=subject_of(held.customer, held.conversation),
        comment="the run does not want it any more",
    )
