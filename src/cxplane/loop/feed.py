"""The end of the record, for any number of listeners: one question to the store serves all that are up to date.

What came last is held in memory, so much and no more. A listener takes from it at its own pace; one that is behind it reads
from the store like any export, so a slow one costs nobody anything. The store, not this memory, says what there is.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence

from cxplane.domain.record import ALL, Line, Wanted
from cxplane.loop.following import follow, read
from cxplane.ports.store import Store

HELD, HELD_BYTES = 2000, 4 * 1024 * 1024
PART = 500  # lines given to a listener at once


class Feed:
    """Of one tenant. It asks the store only while somebody listens."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store, self._tenant = store, tenant
        self._lines: list[Line] = []  # every line past `_floor`
        self._floor: int | None = None
        self._size = 0
        self._news = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self.listeners = 0

    async def listen(self, *, after: int, wanted: Wanted = ALL, beat_s: float) -> AsyncIterator[Sequence[Line]]:
        """Every entry that is wanted past `after`, in order, for ever. An empty part after each `beat_s` without any.

        Raises StoreUnavailable while a listener that is behind cannot read.
        """
        self.listeners += 1
        try:
            while True:
                if self._pump is None or self._pump.done():
                    await self._start()
                if self._floor is None or after < self._floor:
                    floor = self._floor
                    async for batch in read(self._store, self._tenant, after=after, wanted=wanted):
                        yield batch.lines
                        after = batch.lines[-1].position
                    # all that is wanted up to the floor was read: it was settled before the question
                    after = max(after, floor or 0)
                    continue
                news = self._news
                start = bisect_right(self._lines, after, key=_position)
                part = self._lines[start : start + PART]
                if part:
                    after = part[-1].position
                    if found := [line for line in part if line in wanted]:
                        yield found
                    continue
                try:
                    await asyncio.wait_for(news.wait(), beat_s)
                except TimeoutError:
                    yield ()
        finally:
            self.listeners -= 1

    async def _start(self) -> None:
        """From the last entry that there is; a place without an entry may be given again after a crash of the store."""
        last = await self._store.last(self._tenant, await self._store.settled())
        if self._pump is None or self._pump.done():
            self._lines, self._size, self._floor = [], 0, last
            self._pump = asyncio.create_task(self._run(last))

    async def _run(self, after: int) -> None:
        idle = 0.0

        async def rest(seconds: float) -> bool:
            nonlocal idle
            idle = 0.0 if self.listeners else idle + seconds
            await asyncio.sleep(seconds)
            return idle < 5

        async for batch in follow(self._store, self._tenant, rest, after=after):
            if batch.lines:
                self._hold(batch.lines)
                news, self._news = self._news, asyncio.Event()
                news.set()

    def _hold(self, lines: Sequence[Line]) -> None:
        self._lines += lines
        self._size += sum(len(line.text) for line in lines)
        gone = 0
        while len(self._lines) - gone > HELD or self._size > HELD_BYTES:
            self._size -= len(self._lines[gone].text)
            self._floor = self._lines[gone].position
            gone += 1
        del self._lines[:gone]

    async def aclose(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)


def _position(line: Line) -> int:
    return line.position
