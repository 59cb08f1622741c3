"""The record as lines, for callers who may see it: page by page, or as it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cxplane.domain.errors import Conflict
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

    async def must_be_known(self, caller: Caller, after: int) -> None:
        """Conflict where the position was lost: who read up to there has read what the store does not know any more."""
        self.may(caller)
        for restored in await self._store.entries(self._tenant, after=after, kind="store.restored", limit=1):
            if after > int(restored.body["position"]):
                raise Conflict(
                    f"position {after} is of a time that was lost when the store was set back (entry {restored.position})",
                    next=f"Keep what you have, and go on elsewhere after {restored.body['position']}: what you have past it is gone here.",
                )

    async def lines(
        self, caller: Caller, *, after: int, wanted: Wanted = ALL, limit: int = 1000, most_bytes: int
    ) -> tuple[list[Line], bool]:
        """Entries as they are exported, at least one if there is any; and whether there may be more."""
        await self.must_be_known(caller, after)
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
