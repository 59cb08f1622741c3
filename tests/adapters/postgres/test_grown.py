"""What the way of a request asks of the store is looked up by key, however much is there: no plan reads a table through."""

from __future__ import annotations

import asyncio
from datetime import datetime

import asyncpg

from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.adapters.postgres.writer import ANALYZE
from cxplane.domain.record import Appended
from tests.contracts.writes import ACTION, T, allowed, told

ROWS = 100_000
ASKED = 40  # of each, at once, in each round
ROUNDS = 12  # more than the five after which a plan is made once for all values
GROWN = ("request", "claim", "customer", "conversation", "subject_key", "intent", "budget_use")
_GROW = f"""
insert into cxplane.customer (tenant, id) select '{T}', 'c' || n from generate_series(1, {ROWS}) n;
insert into cxplane.conversation (tenant, id, customer) select '{T}', 'v' || n, 'c' || n from generate_series(1, {ROWS}) n;
insert into cxplane.request (tenant, id, action, caller, customer, status, key, input_hash, at, updated_at)
    select '{T}', 'q' || n, '{ACTION}', 'agent:fin', 'c' || n, 'done', 'k' || n, '', now(), now() from generate_series(1, {ROWS}) n;
insert into cxplane.claim (id, tenant, request)
    select cxplane.claim_id('{T}', '{ACTION}', 'k' || n), '{T}', 'q' || n from generate_series(1, {ROWS}) n;
insert into cxplane.subject_key (tenant, id, subject, shelf, made_at, wrapped_by, wrapped)
    select '{T}', 'key' || n, 'other' || n, '', now(), 'x', '\\x00' from generate_series(1, {ROWS}) n;
insert into cxplane.budget_use (tenant, budget, scope, span, money, count, risk)
    select '{T}', 'daily', 'agent:' || n, '2026', 0, 0, 0 from generate_series(1, {ROWS}) n;
"""
_READ = """
select t.relname, t.seq_tup_read + coalesce(sum(i.idx_tup_read), 0)::bigint as n
from pg_stat_user_tables t left join pg_stat_user_indexes i on i.relid = t.relid
where t.schemaname = 'cxplane' and t.relname = any ($1) group by 1, t.seq_tup_read
"""


async def test_no_question_on_the_way_of_a_request_reads_a_table_through(dsn: str) -> None:
    link = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(60):
            store = await open_store(dsn, tenant=T)
            await _ask(store, "small", found=False)  # sessions and plans from when the store was small
            await link.execute(_GROW)
            await link.execute("analyze")
            before = dict(await link.fetch(_READ, list(GROWN)))
            await _ask(store, "large", found=True)
            await store.aclose()  # its sessions tell what they read
            after = dict(await link.fetch(_READ, list(GROWN)))
    finally:
        await link.close()
    for name in GROWN:
        assert after[name] - before[name] < ROWS, (name, after[name] - before[name])


async def test_the_planner_is_told_of_what_has_outgrown_what_it_knows_and_of_nothing_else(dsn: str) -> None:
    """To look at large tables again and again, at each start of each plane, takes from the throughput of everybody."""

    async def looked_at(mark: str) -> dict[str, datetime | None]:
        async with asyncio.timeout(60):
            store = await open_store(dsn, tenant=T)
            ids = [f"{mark}{n}" for n in range(min(ANALYZE))]
            await asyncio.gather(*(store.append(allowed(id, id)) for id in ids))
            while (looking := store._writer._looking) is None:
                await asyncio.sleep(0.01)
            await looking
            await store.aclose()
        return dict(
            await link.fetch("select relname, last_analyze from pg_stat_user_tables where schemaname = 'cxplane'")
        )

    link = await asyncpg.connect(dsn)
    try:
        first = await looked_at("a")
        assert first["request"] is not None and first["customer"] is not None
        assert await link.fetchval("select reltuples from pg_class where oid = 'cxplane.request'::regclass") > 0
        await link.execute(_GROW.split(";")[0])
        second = await looked_at("b")
        assert second["customer"] > first["customer"]
        third = await looked_at("c")
        assert third["customer"] == second["customer"]
    finally:
        await link.close()


async def _ask(store: PostgresStore, mark: str, *, found: bool) -> None:
    for round_ in range(ROUNDS):
        ids = [f"{mark}{round_}-{n}" for n in range(ASKED)]
        situations = await asyncio.gather(*(store.situation(T, f"c{n + 1}", f"v{n + 1}") for n in range(ASKED)))
        assert all((s.customer is not None, s.conversation_known) == (found, found) for s in situations)
        claims = await asyncio.gather(*(store.claimed(T, ACTION, f"k{n + 1}") for n in range(ASKED)))
        assert [c and c.request for c in claims] == [f"q{n + 1}" if found else None for n in range(ASKED)]
        results = await asyncio.gather(*(store.append(allowed(id, id, customer=f"c{id}")) for id in ids))
        results += await asyncio.gather(*(store.append(told(id, "done")) for id in ids))
        assert all(isinstance(result, Appended) for result in results)
