"""The record, read from one position on: what is there, in batches, and then what comes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from cxplane.domain.errors import StoreUnavailable
from cxplane.domain.record import ALL, Line, Wanted
from cxplane.ports.store import Store

FIRST, MOST = 200, 5000  # lines in a batch
BATCH_BYTES = 4 * 1024 * 1024
QUICK_S, SLOW_S = 0.1, 1.0  # how long to wait for more: right after something came, and after a silence

log = logging.getLogger("cxplane.following")
Rest = Callable[[float], Awaitable[bool]]
"""Sleep so many seconds; False: stop."""
Same = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines in order. No entry before `top` comes after them except those that the next batches bring."""

    lines: Sequence[Line]
    top: int


async def read(store: Store, tenant: str, *, after: int = 0, wanted: Wanted = ALL) -> AsyncIterator[Batch]:
    """All that is settled now."""
    top = await store.settled()
    size = FIRST
    while after < top:
        lines = await store.lines(tenant, after=after, upto=top, wanted=wanted, limit=size)
        if lines:
            yield Batch(lines, top)
            after = lines[-1].position
        if len(lines) < size:
            return
        size = _fitting(lines)


async def follow(
    store: Store,
    tenant: str,
    rest: Rest,
    *,
    after: int = 0,
    wanted: Wanted = ALL,
    same: Same | None = None,
) -> AsyncIterator[Batch]:
    """All that is settled, and what comes, until `rest` says stop. A batch without lines: nothing more is there for now.

    While the store does not answer, it is asked again: what was read once is never read twice, and nothing is left out.
    `same` is asked after each read whether the store still is the one that was read from before; it raises if not.
    """
    pause, away = QUICK_S, False
    while True:
        came = 0
        try:
            async for batch in read(store, tenant, after=after, wanted=wanted):
                if same is not None:
                    await same()
                after, came = batch.lines[-1].position, came + len(batch.lines)
                yield batch
                if not await rest(0):
                    return
            if away:
                log.warning("the store answers again; going on after position %d", after)
            away = False
        except StoreUnavailable as problem:
            if not away:
                log.warning("%s; asking again until it does", problem)
            away = True
        yield Batch((), after)
        pause = QUICK_S if came else min(SLOW_S, pause * 1.5)
        if not await rest(pause):
            return


def _fitting(lines: Sequence[Line]) -> int:
    """How many such lines make up a batch: entries are as large as their senders make them."""
    mean = sum(len(line.text) for line in lines) / len(lines)
    return max(16, min(MOST, int(BATCH_BYTES / max(mean, 1.0))))
