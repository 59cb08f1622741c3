"""A record that has grown: millions of entries, as that many governed writes would have left them."""

from __future__ import annotations

import asyncpg

CHUNK = 50_000  # requests in one statement


async def grow(link: asyncpg.Connection, entries: int) -> int:
    """Copy the entries, request, claim of one governed write until there are so many entries; how many were added.

    Spread over the customers, keys and days that so many requests have; the copies are on no index but those that all have.
    """
    kinds = await link.fetchval(
        "select count(*) from cxplane.entry where stream = (select id from cxplane.request where status = 'done' limit 1)"
    )
    wanted, done = entries // kinds, 0
    await link.execute("create temporary table one as select * from cxplane.request where status = 'done' limit 1")
    while done < wanted:
        count = min(CHUNK, wanted - done)
        await link.execute(
            """
            with made as (
                select n, 'req_' || md5(n::text) as id from generate_series($1::int, $2::int) n
            ), rows as (
                insert into cxplane.request
                select (jsonb_populate_record(null::cxplane.request, to_jsonb(one) || jsonb_build_object(
                    'id', made.id, 'key', md5(made.id) || md5(made.id), 'customer', 'g' || made.n % 100000,
                    'at', one.at - (made.n % 86400) * interval '1 second'))).*
                from made, one
            ), claims as (
                insert into cxplane.claim select cxplane.claim_id(one.tenant, one.action, md5(made.id) || md5(made.id)),
                    one.tenant, made.id from made, one
            )
            insert into cxplane.entry
            select (jsonb_populate_record(null::cxplane.entry, to_jsonb(e) || jsonb_build_object(
                'position', nextval('cxplane.entry_position'), 'stream', made.id))).*
            from made, one join cxplane.entry e on e.stream = one.id
            """,
            done + 1,
            done + count,
            timeout=600,
        )
        done += count
    await link.execute("vacuum analyze cxplane.request")
    await link.execute("vacuum analyze cxplane.claim")
    await link.execute("vacuum analyze cxplane.entry")
    await link.execute("checkpoint")
    return done * int(kinds)
