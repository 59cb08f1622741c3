"""Where an earlier holder of a run ended in the middle: what it asked for is asked again, or found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cxplane.domain.outcome import Status
from cxplane.domain.record import Fence, Fenced, Write
from cxplane.domain.run import Event, RunState, Unasked
from cxplane.loop.finding_out import find_out
from cxplane.loop.gate import Gate
from cxplane.loop.live import Live
from cxplane.loop.mail import stands


class LostRun(Exception):
    """Somebody else holds the run by now."""


def heard(result: object, run: str) -> None:
    """What the store answered to a write. LostRun where it was void."""
    if isinstance(result, Fenced):
        raise LostRun(run)


async def picked_up(gate: Gate, state: RunState, fence: Fence, systems: Callable[[Live], Any]) -> list[Event]:
    """What came of the requests that the run waits for. Raises LostRun."""
    events: list[Event] = []
    for token in state.tokens:
        request = token.wait.request if token.wait is not None else None
        if request is None:
            continue
        row = await gate.store.request(gate.tenant, request)
        if row is not None and row.status == Status.RUNNING:
            found = await find_out(gate, request, systems)
            if found is not None:
                write = Write(gate.tenant, (found.entry,), fence=fence, expect=(request, Status.RUNNING))
                heard(await gate.store.append(write), fence.run)
        if row is not None:
            events += await stands(gate.store, gate.tenant, request)
        else:
            events.append(Unasked(request))
    return events
