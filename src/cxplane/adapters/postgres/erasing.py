"""Erasure and retention in the store: keys are destroyed, in one transaction with the entry that says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any

from cxplane.adapters.postgres.subject_keys import SubjectKeys
from cxplane.domain.erasure import CustomerErased, DestroyedKey, EndedKey, Left, UnderWay
from cxplane.domain.retention import Retention

MOST = 1000  # keys destroyed in one commit
_HEARD_OF = """select exists (select from cxplane.subject_key where tenant = $1 and subject = any (cxplane.subjects_of($1, $2)))
    or exists (select from cxplane.customer where tenant = $1 and id = $2)
    or exists (select from cxplane.request where tenant = $1 and customer = $2)
    or exists (select from cxplane.entry where tenant = $1 and stream = $2 and kind like 'customer.%') as known"""
Rows = Callable[..., Awaitable[list[Any]]]


class Erasing:
    """See `ports.store.ErasureStore`. `ask` runs one statement, `slow` one that may look at every entry, or vacuum."""

    def __init__(self, ask: Rows, slow: Rows, keys: SubjectKeys) -> None:
        self._ask, self._slow, self._keys = ask, slow, keys

    async def erase(
        self, tenant: str, customer: str, *, at: datetime, by: str, reason: str
    ) -> CustomerErased | UnderWay | None:
        if not (await self._ask(_HEARD_OF, tenant, customer))[0]["known"]:
            return None
        await self._month(at)
        found = await self._slow("select cxplane.erase($1, $2, $3, $4, $5) as told", tenant, customer, at, by, reason)
        told = found[0]["told"]
        if "hold" in told:
            return UnderWay(on_hold=True)
        if "live" in told:
            runs, requests = ([tuple(one) for one in told["live"].get(what, ())] for what in ("runs", "requests"))
            return UnderWay(tuple(runs), tuple(requests))
        keys = tuple(DestroyedKey(id, proof) for id, proof in told["keys"])
        self._keys.forget(tenant, [key.id for key in keys])
        await self._wipe()
        return CustomerErased(customer, at, by, told["position"], keys, told["entries"])

    async def left(self, tenant: str, customer: str) -> Left:
        found = await self._slow("select cxplane.left_of($1, $2) as told", tenant, customer)
        told = found[0]["told"]
        ended = tuple(
            EndedKey(key["id"], datetime.fromisoformat(key["at"]), key["by"], key["why"], key["proof"])
            for key in told.pop("keys")
        )
        return Left(customer=customer, keys=ended, **told)

    async def retain(self, tenant: str, retention: Retention, *, now: datetime, by: str) -> int:
        spans = {name: f"{int(lasts.total_seconds())} seconds" for name, lasts in retention.items()}
        destroyed: int = 0
        await self._month(now)
        while True:
            found = await self._slow("select cxplane.retain($1, $2, $3, $4, $5) as n", tenant, spans, now, by, MOST)
            destroyed += int(found[0]["n"])
            if found[0]["n"] < MOST:
                break
        if destroyed:
            await self._wipe()
        return destroyed

    async def rewrap(self, tenant: str, *, limit: int = 1000) -> int:
        n: int = await self._keys.rewrap(tenant, limit=limit)
        if n < limit:
            await self._wipe()
        return n

    async def _month(self, at: datetime) -> None:
        month = at.astimezone(UTC)
        await self._ask("select cxplane.ensure_month($1)", date(month.year, month.month, 1))

    async def _wipe(self) -> None:
        """The row versions that held the keys go from the table; in the write-ahead log and in backups they go with their age."""
        await self._slow("vacuum cxplane.subject_key", owner=True)
