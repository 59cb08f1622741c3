"""`advance` for a run in a process that serves others too."""

from __future__ import annotations

import asyncio
from datetime import datetime

import msgspec

from cxplane.domain.run import Advanced, Event, Heard, Run
from cxplane.journeys.advance import advance
from cxplane.journeys.program import Program

HEAVY = 4096  # bytes of input and state from which on a run is worked out beside the others, in a thread
_encode = msgspec.json.Encoder(enc_hook=str).encode


def weight(value: object) -> int:
    """Bytes, as JSON."""
    return len(_encode(value))


async def worked_out(program: Program, run: Run, event: Event, now: datetime, heavy: int) -> Advanced:
    """`advance`; where there is much to go through, in a thread, so that other runs and callers are served meanwhile.

    `heavy`: weight of the run's input and state, in bytes. ValueError: a person told it something that cannot be.
    """
    brought = weight(event.data) if isinstance(event, Heard) else 0
    if heavy + brought < HEAVY:
        return advance(program, run, event, now)
    return await asyncio.to_thread(advance, program, run, event, now)
