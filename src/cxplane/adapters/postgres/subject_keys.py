"""The keys that seal personal data: made at first use, wrapped by the operator's key, unwrapped in memory for a short while."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from cxplane.adapters.operator_key import OperatorKey
from cxplane.adapters.postgres.sealing import Key, ready
from cxplane.adapters.postgres.together import Together
from cxplane.domain.record import Erasure

CACHED_S = 60.0  # how long a plane may still read what another one erased; it cannot write under it at all
CACHED = 20_000  # keys in memory

Rows = Callable[..., Awaitable[list[Any]]]
Shelf = tuple[str, str, datetime | None]  # subject, shelf, end of its period


class SubjectKeys:
    """`ask` runs one statement and gives its rows."""

    def __init__(self, ask: Rows, operator: OperatorKey) -> None:
        self._ask, self._operator = ask, operator
        self._by_id: OrderedDict[tuple[str, str], tuple[float, Key | Erasure]] = OrderedDict()
        self._living: OrderedDict[tuple[str, str, str], tuple[float, str]] = OrderedDict()
        self._find = Together(self._found)
        self._make = Together(self._made)

    async def to_seal(self, tenant: str, subject: str, shelf: str, ends: datetime | None) -> Key:
        """The living key of this shelf; made if there is none. Two planes that make it at once agree on one."""
        known = self._living.get((tenant, subject, shelf))
        if known is not None and known[0] > time.monotonic():
            cached = self._by_id.get((tenant, known[1]))
            if cached is not None and isinstance(cached[1], Key):
                return cached[1]
        return await self._make(tenant, subject, shelf, ends)  # type: ignore[no-any-return]

    async def to_open(
        self, tenant: str, ids: Collection[str]
    ) -> tuple[Mapping[str, Key | None], Mapping[str, Erasure]]:
        """The keys of these ids, None for those destroyed, and how those ended. Ids of no key are in neither."""
        now = time.monotonic()
        found: dict[str, Key | Erasure] = {}
        missing = []
        for id in ids:
            cached = self._by_id.get((tenant, id))
            if cached is not None and cached[0] > now:
                found[id] = cached[1]
            else:
                missing.append(id)
        if len(missing) == 1:
            if (one := await self._find(tenant, missing[0])) is not None:
                found[missing[0]] = one
        elif missing:
            fetched = await self._found([(tenant, id) for id in missing])
            found |= {id: one for id, one in zip(missing, fetched, strict=True) if one is not None}
        keys = {id: one if isinstance(one, Key) else None for id, one in found.items()}
        return keys, {id: one for id, one in found.items() if isinstance(one, Erasure)}

    def forget(self, tenant: str, ids: Collection[str]) -> None:
        """They were destroyed: whoever wants to write next asks anew."""
        for id in ids:
            self._by_id.pop((tenant, id), None)
        gone = set(ids)
        for place in [p for p, (_, id) in self._living.items() if p[0] == tenant and id in gone]:
            del self._living[place]

    def learn(self, tenant: str, id: str, wrapped: bytes, by: str) -> None:
        """A key that came along with something else."""
        if (tenant, id) not in self._by_id:
            self._keep(tenant, id, ready(tenant, id, self._operator.unwrap(tenant, id, wrapped, by)))

    def _keep(self, tenant: str, id: str, key: Key | Erasure) -> Key | Erasure:
        self._by_id.pop((tenant, id), None)
        self._by_id[tenant, id] = (time.monotonic() + CACHED_S, key)
        if len(self._by_id) > CACHED:
            self._by_id.popitem(last=False)
        return key

    async def _found(self, wanted: Sequence[tuple[str, str]]) -> list[Key | Erasure | None]:
        rows = await self._ask(
            "select k.wrapped, k.wrapped_by, k.erased_at, k.erased_by, k.why, k.id"
            " from unnest($1::text[], $2::text[]) with ordinality as w (tenant, id, n)"
            # one by one by their key (offset 0), however many there are
            " left join lateral (select * from cxplane.subject_key where tenant = w.tenant and id = w.id offset 0) k"
            " on true order by w.n",
            [tenant for tenant, _ in wanted],
            [id for _, id in wanted],
        )
        told: list[Key | Erasure | None] = []
        for (tenant, id), row in zip(wanted, rows, strict=True):
            if row["id"] is None:
                told.append(None)
            elif row["wrapped"] is None:
                told.append(self._keep(tenant, id, Erasure(row["erased_at"], row["erased_by"], row["why"])))
            else:
                told.append(self._keep(tenant, id, self._unwrapped(tenant, row)))
        return told

    def _unwrapped(self, tenant: str, row: Any) -> Key:
        secret = self._operator.unwrap(tenant, row["id"], row["wrapped"], row["wrapped_by"])
        return ready(tenant, row["id"], secret)

    async def _made(self, wanted: Sequence[tuple[str, str, str, datetime | None]]) -> list[Key]:
        told: dict[tuple[str, str, str], Key] = {}
        places = {(tenant, subject, shelf): ends for tenant, subject, shelf, ends in wanted}
        for row in await self._living_of(list(places)):
            told[row["tenant"], row["subject"], row["shelf"]] = self._unwrapped(row["tenant"], row)
        if fresh := [place for place in places if place not in told]:
            await self._insert([(*place, places[place]) for place in fresh])
            for row in await self._living_of(fresh):
                told[row["tenant"], row["subject"], row["shelf"]] = self._unwrapped(row["tenant"], row)
        until = time.monotonic() + CACHED_S
        for place, key in told.items():
            self._keep(place[0], key.id, key)
            self._living[place] = (until, key.id)
            if len(self._living) > CACHED:
                self._living.popitem(last=False)
        return [told[tenant, subject, shelf] for tenant, subject, shelf, _ in wanted]

    async def _living_of(self, places: Sequence[tuple[str, str, str]]) -> list[Any]:
        return await self._ask(
            "select k.tenant, k.subject, k.shelf, k.id, k.wrapped, k.wrapped_by"
            " from unnest($1::text[], $2::text[], $3::text[]) as w (tenant, subject, shelf)"
            " cross join lateral (select * from cxplane.subject_key where tenant = w.tenant and subject = w.subject"
            " and shelf = w.shelf and wrapped is not null offset 0) k",
            *([place[n] for place in places] for n in range(3)),
        )

    async def _insert(self, wanted: Sequence[tuple[str, str, str, datetime | None]]) -> None:
        rows = []
        for tenant, subject, shelf, ends in sorted(wanted, key=lambda w: w[:3]):  # in one order: planes never deadlock
            id = secrets.token_urlsafe(9)
            wrapped = self._operator.wrap(tenant, id, secrets.token_bytes(32))
            rows.append((tenant, id, subject, shelf, ends, wrapped))
        await self._ask(
            "insert into cxplane.subject_key (tenant, id, subject, shelf, ends, wrapped, made_at, wrapped_by)"
            " select *, clock_timestamp(), $7::text from unnest($1::text[], $2::text[], $3::text[], $4::text[],"
            " $5::timestamptz[], $6::bytea[])"
            " on conflict (tenant, subject, shelf) where wrapped is not null do nothing",
            *([row[n] for row in rows] for n in range(6)),
            self._operator.newest,
        )

    # the operator's key -----------------------------------------------------------------------------------

    async def rewrap(self, tenant: str, *, limit: int = 1000) -> int:
        """Wrap the tenant's next keys that an older operator key wraps by the newest; how many. 0: all are."""
        rows = await self._ask(
            "select tenant, id, wrapped, wrapped_by from cxplane.subject_key"
            " where tenant = $1 and wrapped is not null and wrapped_by <> $2 order by id limit $3",
            tenant,
            self._operator.newest,
            limit,
        )
        fresh = []
        for row in rows:
            secret = self._operator.unwrap(row["tenant"], row["id"], row["wrapped"], row["wrapped_by"])
            fresh.append(
                (row["tenant"], row["id"], self._operator.wrap(row["tenant"], row["id"], secret), row["wrapped"])
            )
        if fresh:
            await self._ask(
                "update cxplane.subject_key k set wrapped = w.fresh, wrapped_by = $5"
                " from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) as w (tenant, id, fresh, before)"
                " where k.tenant = w.tenant and k.id = w.id and k.wrapped = w.before",
                *([row[n] for row in fresh] for n in range(4)),
                self._operator.newest,
            )
        return len(fresh)

    async def check(self, tenant: str) -> None:
        """That the operator's key is the one that wrapped what is there. Raises StoreError."""
        rows = await self._ask(
            "select tenant, id, wrapped, wrapped_by from cxplane.subject_key"
            " where tenant = $1 and wrapped is not null limit 1",
            tenant,
        )
        for row in rows:
            self._operator.unwrap(row["tenant"], row["id"], row["wrapped"], row["wrapped_by"])
