"""What a store owes its callers: budgets are reserved in the write that uses them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.record import (
    Appended,
    BudgetExhausted,
    BudgetUse,
    KeyTaken,
    Moved,
    RequestTaken,
)
from tests.contracts.writes import (
    ACTION,
    T,
    allowed,
    takes,
    used,
)


async def test_a_limit_is_inclusive_and_says_which_one_was_met(store: PostgresStore) -> None:
    assert isinstance(await store.append(allowed("r1", None, takes(60, limit_money=100))), Appended)
    assert await store.append(allowed("r2", None, takes(41, limit_money=100))) == BudgetExhausted(
        "daily", "money", 60, 41, 100
    )
    assert isinstance(await store.append(allowed("r3", None, takes(40, limit_money=100))), Appended)
    assert await store.append(allowed("r4", None, takes(0, limit_count=2))) == BudgetExhausted(
        "daily", "count", 2, 1, 2
    )
    assert await store.append(allowed("r5", None, takes(0, 0, limit_risk=2))) == BudgetExhausted(
        "daily", "risk", 2, 1, 2
    )
    assert isinstance(await store.append(allowed("r6", None, takes(1, scope="agent:other", limit_money=1))), Appended)


async def test_a_budget_of_100_lets_exactly_100_go(store: PostgresStore) -> None:
    asks = [store.append(allowed(f"r{n}", None, takes(1, limit_money=100))) for n in range(300)]
    results = await asyncio.gather(*asks)
    assert sum(isinstance(r, Appended) for r in results) == 100
    assert sum(isinstance(r, BudgetExhausted) for r in results) == 200
    assert await used(store) == (100, 100, 100)


async def test_force_counts_and_does_not_refuse(store: PostgresStore) -> None:
    await store.append(allowed("r1", None, takes(100, limit_money=100)))
    assert isinstance(await store.append(allowed("r2", None, takes(5, limit_money=100, force=True))), Appended)
    assert await used(store) == (105, 2, 2)


async def test_two_reservations_of_one_write_on_one_counter_add_up(store: PostgresStore) -> None:
    both = (takes(60, limit_money=100), takes(60, limit_money=100))
    assert await store.append(allowed("r1", None, *both)) == BudgetExhausted("daily", "money", 0, 120, 100)
    assert await used(store) == (0, 0, 0)
    both = (takes(50, limit_money=100), takes(50, limit_money=100))
    assert isinstance(await store.append(allowed("r1", None, *both)), Appended)
    assert await used(store) == (100, 2, 2)


async def test_a_write_that_fails_its_check_changes_nothing(store: PostgresStore) -> None:
    await store.append(allowed("r0", "taken"))
    before = await store.stats()
    writes = [
        allowed("r0", "k1", takes(5)),
        allowed("r1", "taken", takes(5)),
        allowed("r2", "k2", takes(5), takes(5, scope="x", limit_money=4)),
        allowed("r3", "k3", takes(5)).changed(expect=("r0", "held")),
    ]
    good = allowed("r4", "k4", takes(1))
    results = await asyncio.gather(*(store.append(w) for w in [*writes, good]))
    assert [type(r) for r in results] == [RequestTaken, KeyTaken, BudgetExhausted, Moved, Appended]
    assert await used(store) == (1, 1, 1)
    assert [await store.claimed(T, ACTION, k) for k in ("k1", "k2", "k3")] == [None, None, None]
    assert [await store.request(T, r) for r in ("r1", "r2", "r3")] == [None, None, None]
    assert (await store.stats())["entries"] == before["entries"] + 2


async def test_budget_uses_can_be_listed_from_a_window_on(store: PostgresStore) -> None:
    await store.append(allowed("r1", None, replace(takes(5), window="2026-03-04T00:00:00+01:00")))
    await store.append(allowed("r2", None, takes(6)))
    assert await store.budget_uses(T, since="2026-03-05") == [
        BudgetUse("daily", "agent:fin", "2026-03-05T00:00:00+01:00", 6, 1, 1)
    ]
    assert len(await store.budget_uses(T)) == 2
    assert await store.budget_uses("other") == []
