"""A record that has grown: millions of entries, as that many governed writes would have left them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import asyncpg

CHUNK = 50_000  # requests in one statement
LINKS = 2
KEY = "md5(made.id) || md5(made.id)"


async def grow(dsn: str, entries: int, tell: Callable[[int], object] = lambda done: None) -> int:
    """Copy the entries, request, claim of one governed write until there are so many entries; how many were added.

    Spread over the customers, keys and days that so many requests have; the copies are on no index but those that all have.
    `tell` hears of entries added so far.
    """
    links = [await asyncpg.connect(dsn) for _ in range(LINKS)]
    try:
        one = await links[0].fetchval("select id from cxplane.request where status = 'done' limit 1")
        kinds = await links[0].fetchval("select count(*) from cxplane.entry where stream = $1", one)
        copied = {
            "request": {
                "id": "made.id",
                "key": KEY,
                "customer": "'g' || made.n % 100000",
                "at": "t.at - (made.n % 86400) * interval '1 second'",
            },
            "entry": {"position": "nextval('cxplane.entry_position')", "stream": "made.id"},
            "claim": {"id": f"cxplane.claim_id('bench', 'billing.credit', {KEY})", "request": "made.id"},
        }
        statements = [await _copy(links[0], table, one, columns) for table, columns in copied.items()]
        starts = iter(range(0, entries // kinds, CHUNK))
        added = 0

        async def fill(link: asyncpg.Connection) -> None:
            nonlocal added
            for start in starts:
                end = min(start + CHUNK, entries // kinds)
                for statement in statements:
                    await link.execute(statement, start + 1, end, timeout=600)
                added += (end - start) * kinds
                tell(added)

        await asyncio.gather(*map(fill, links))
        for table in copied:
            await links[0].execute(f"vacuum analyze cxplane.{table}", timeout=600)
        await links[0].execute("checkpoint", timeout=600)
        return added
    finally:
        for link in links:
            await link.close()


async def _copy(link: asyncpg.Connection, table: str, one: str, columns: Mapping[str, str]) -> str:
    """SQL that copies the rows of the request `one`, $1 to $2 times."""
    found = await link.fetch(
        "select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum",
        f"cxplane.{table}",
    )
    names = [row["attname"] for row in found]
    chosen = ", ".join(columns.get(name, f"t.{name}") for name in names)
    of = {"request": "id", "entry": "stream", "claim": "request"}[table]
    return (
        f"insert into cxplane.{table} ({', '.join(names)}) select {chosen}"
        f" from (select n, 'req_' || md5(n::text) as id from generate_series($1::int, $2::int) n) made"
        f" cross join (select * from cxplane.{table} where {of} = '{one}') t"
    )
