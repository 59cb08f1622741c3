"""Several planes on one store: one winner, exact budgets, no deadlock, and followers that miss nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.record import Appended, BudgetExhausted, KeyTaken, NewEntry, Write
from tests.contracts.writes import NOW, T, allowed, takes, told, used


@pytest.fixture
async def planes(dsn: str) -> AsyncIterator[list[PostgresStore]]:
    stores = [await open_store(dsn, tenant="northwind") for _ in range(3)]
    yield stores
    await asyncio.gather(*(s.aclose() for s in stores))


async def test_one_key_has_one_winner(planes: list[PostgresStore]) -> None:
    for round in range(30):
        results = await asyncio.gather(*(s.append(allowed(f"r{round}-{n}", f"k{round}")) for n, s in enumerate(planes)))
        assert sorted(type(r).__name__ for r in results) == ["Appended", "KeyTaken", "KeyTaken"]
        winner = next(n for n, r in enumerate(results) if isinstance(r, Appended))
        assert {r.request for r in results if isinstance(r, KeyTaken)} == {f"r{round}-{winner}"}


async def test_a_budget_of_100_lets_exactly_100_of_300_go(planes: list[PostgresStore]) -> None:
    asks = [planes[n % 3].append(allowed(f"r{n}", None, takes(1, limit_money=100))) for n in range(300)]
    results = await asyncio.gather(*asks)
    assert sum(isinstance(r, Appended) for r in results) == 100
    assert sum(isinstance(r, BudgetExhausted) for r in results) == 200
    assert await used(planes[0]) == (100, 100, 100)


async def test_planes_that_need_the_same_things_in_any_order_never_deadlock(
    planes: list[PostgresStore], dsn: str
) -> None:
    """Claims, budgets and the budgets that failures give back, crosswise, in batches of random order."""
    chance = random.Random(7)
    scopes = [f"s{n}" for n in range(6)]

    async def one(store: PostgresStore, name: str) -> None:
        for n in range(60):
            wanted = [takes(1, scope=s) for s in chance.sample(scopes, 3)]
            result = await store.append(allowed(f"{name}-{n}", f"k{chance.randrange(40)}", *wanted))
            if isinstance(result, Appended):
                await store.append(told(f"{name}-{n}", chance.choice(["failed", "done"])))

    await asyncio.gather(*(one(s, f"p{i}w{w}") for i, s in enumerate(planes) for w in range(12)))
    link = await asyncpg.connect(dsn)
    assert await link.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0
    await link.close()
    done = (await planes[0].requests(T, status="done", limit=5000))[0]
    assert await used(planes[0]) == (3 * len(done), 3 * len(done), 3 * len(done))


async def test_who_follows_the_record_misses_nothing(planes: list[PostgresStore], dsn: str) -> None:
    """With writers whose commits overtake each other, among them one that stands still in the middle."""
    count = 3 * 400
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < count + 1:
            page = await planes[2].entries(T, after=seen[-1] if seen else 0, limit=50)
            seen.extend(e.position for e in page)
            await asyncio.sleep(0)

    async def write(store: PostgresStore, name: str) -> None:
        for n in range(20):
            await asyncio.gather(
                *(store.append(Write(T, (NewEntry("note", f"{name}{n}-{i}", NOW, "x", {}),))) for i in range(20))
            )

    slow = await asyncpg.connect(dsn)
    await slow.execute("select cxplane.ensure_month($1)", NOW.date().replace(day=1))
    following = asyncio.create_task(follow())
    transaction = slow.transaction()
    await transaction.start()
    raw = f'[{{"t": "{T}", "e": [{{"k": "note", "s": "slow", "a": "{NOW.isoformat()}", "r": "x", "b": {{}}}}]}}]'
    await slow.fetch("select cxplane.append($1, '{}', '{}', '{}', '{}', '{}', '{}')", raw)
    writing = asyncio.gather(*(write(s, f"p{i}") for i, s in enumerate(planes)))
    await writing
    held_back = list(seen)
    await transaction.commit()
    await asyncio.wait_for(following, 10)
    await slow.close()
    every = [e.position for e in await planes[0].entries(T, limit=10_000)]
    assert seen == every
    assert len(every) == count + 1
    assert held_back == []  # what stands still had the first position


async def test_an_unrelated_transaction_holds_nobody_back(planes: list[PostgresStore], dsn: str) -> None:
    link = await asyncpg.connect(dsn)
    async with link.transaction():
        await link.execute("create table elsewhere as select 1 as n")
        await planes[0].append(allowed("r1"))
        assert len(await planes[1].entries(T)) == 2
    await link.close()
