"""Every decision on record, made once more: it must come out the same, unless its data was erased."""

from __future__ import annotations

from cxplane.loop.replays import Replays
from cxplane.ports.store import Store


async def differing(store: Store, tenant: str, replays: Replays) -> list[str]:
    """What does not come out the same, over all requests of a tenant."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        rows, cursor = await store.requests(tenant, cursor=cursor, limit=200)
        for row in rows:
            replay = await replays.one(row.id)
            if replay["result"] == "impossible" and any(e.erased for e in await store.stream(tenant, row.id)):
                continue
            if replay["result"] != "same" and replay["decisions"]:
                found.append(f"{row.id} {row.action}: {replay['decisions']}")
        if cursor is None:
            return found
