"""The sealed tree in the store. What it means is said in `ports/seal.py` and `migrations/sql/0003_seal.sql`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from cxplane.ports.seal import Growth, Sealed, Unsealed

_SEALED = "origin, size, position, frontier, note, at"


class Asks(Protocol):
    def __call__(self, sql: str, *values: Any, patience_s: float = ...) -> Awaitable[list[Any]]: ...


class PostgresSeals:
    """`rows`: how the store asks."""

    def __init__(self, rows: Asks) -> None:
        self._rows = rows

    async def sealed(self, tenant: str) -> Sealed | None:
        found = await self._rows(f"select {_SEALED} from cxplane.seal where tenant = $1", tenant)  # noqa: S608
        return Sealed(*found[0]) if found else None

    async def next(self, tenant: str, most: int) -> Unsealed:
        ((size, positions, leaves),) = await self._rows("select * from cxplane.seal_next($1, $2)", tenant, most)
        return Unsealed(size, positions or (), leaves or b"")

    async def move(self, tenant: str, growth: Growth) -> bool:
        to = growth.sealed
        found = await self._rows(
            "select cxplane.seal_move($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            tenant,
            to.origin,
            growth.was,
            to.size,
            to.position,
            to.frontier,
            to.note,
            to.at,
            *([tile[n] for tile in growth.tiles] for n in range(4)),
            patience_s=0.0,  # an answer that was lost may have moved it
        )
        return bool(found[0][0])

    async def restart(self, tenant: str, origin: str) -> bool:
        found = await self._rows(
            "with gone as (delete from cxplane.seal where tenant = $1 and origin = $2 returning 1),"
            " tiles as (delete from cxplane.tile where tenant = $1 and exists (select from gone))"
            " select 1 from gone",
            tenant,
            origin,
        )
        return bool(found)

    async def tiles(self, tenant: str, places: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        found = await self._rows(
            "select t.level, t.n, t.hashes from unnest($2::int[], $3::bigint[]) as w (level, n)"
            " cross join lateral (select * from cxplane.tile where tenant = $1 and level = w.level and n = w.n offset 0) t",
            tenant,
            [level for level, _ in places],
            [n for _, n in places],
        )
        return {(level, n): hashes for level, n, hashes in found}

    async def differs(self, tenant: str, first: int, last: int) -> int | None:
        found = await self._rows("select cxplane.seal_differs($1, $2, $3)", tenant, first, last)
        leaf: int | None = found[0][0]
        return leaf

    async def checkpoints(
        self, tenant: str, *, origin: str, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, str]]:
        found = await self._rows(
            "select size, note from cxplane.checkpoint where tenant = $1 and origin = $2 and size > $3 order by size limit $4",
            tenant,
            origin,
            after,
            limit,
        )
        return [(size, note) for size, note in found]

    async def checkpoint(self, tenant: str, *, origin: str, size: int) -> str | None:
        found = await self._rows(
            "select note from cxplane.checkpoint where tenant = $1 and origin = $2 and size = $3", tenant, origin, size
        )
        return str(found[0]["note"]) if found else None

    async def index_of(self, tenant: str, position: int) -> int | None:
        found = await self._rows(
            "select t.n * 256 + (select count(*) from cxplane.entry e where e.tenant = $1 and e.position >= t.first"
            " and e.position < $2) as leaf from cxplane.tile t join cxplane.seal s on s.tenant = $1"
            " where t.tenant = $1 and t.level = 0 and t.first <= $2 and $2 <= s.position"
            " and exists (select from cxplane.entry e where e.tenant = $1 and e.position = $2)"
            " order by t.first desc limit 1",
            tenant,
            position,
        )
        return int(found[0]["leaf"]) if found else None

    async def lines(self, tenant: str, *, after: int, last: int, limit: int) -> Sequence[tuple[int, str]]:
        found = await self._rows(
            "select e.position, cxplane.line(e) from cxplane.entry e"
            " where e.tenant = $1 and e.position > $2 and e.position <= $3 order by e.position limit $4",
            tenant,
            after,
            last,
            limit,
        )
        return [(position, line) for position, line in found]

    async def lines_of(
        self, tenant: str, streams: Sequence[str], kinds: Sequence[str] = ()
    ) -> Sequence[tuple[int, str]]:
        found = await self._rows(
            "select position, line from ("
            " select e.position, cxplane.line(e) as line from cxplane.entry e where e.tenant = $1 and e.stream = any ($2)"
            " union"
            " select e.position, cxplane.line(e) from cxplane.entry e where e.tenant = $1 and e.kind = any ($3)"
            " and e.kind not in ('request', 'decision', 'intent', 'outcome')) x order by position",
            tenant,
            list(streams),
            list(kinds),
        )
        return [(position, line) for position, line in found]
