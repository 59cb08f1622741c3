"""The record as lines, for callers who may see it: page by page, or as it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cxplane.domain.people import Caller
from cxplane.domain.record import ALL, Line, Wanted
from cxplane.loop.access import must
from cxplane.loop.feed import Feed
from cxplane.loop.following import read
from cxplane.loop.live import Releases
from cxplane.ports.store import Store


class Reading:
    """Everything here needs the permission `record`: Forbidden."""

    def __init__(self, tenant: str, store: Store, live: Releases) -> None:
        self._tenant, self._store, self._live = tenant, store, live
        self._feed = Feed(store, tenant)

    def may(self, caller: Caller) -> None:
        must(self._live.need(), caller, "record")

    async def lines(
        self, caller: Caller, *, after: int, wanted: Wanted = ALL, limit: int = 1000, most_bytes: int
    ) -> tuple[list[Line], bool]:
        """Entries as they are exported, at least one if there is any; and whether there may be more."""
        self.may(caller)
        found: list[Line] = []
        size = 0
        async for batch in read(self._store, self._tenant, after=after, wanted=wanted):
            for line in batch.lines:
                if len(found) == limit or (found and size + len(line.text) > most_bytes):
                    return found, True
                found.append(line)
                size += len(line.text) + 1
        return found, False

    def listen(
        self, caller: Caller, *, after: int, wanted: Wanted = ALL, beat_s: float
    ) -> AsyncIterator[Sequence[Line]]:
        """Entries as they are exported, and then as they come. See `Feed.listen`."""
        self.may(caller)
        return self._feed.listen(after=after, wanted=wanted, beat_s=beat_s)

    async def aclose(self) -> None:
        await self._feed.aclose()
