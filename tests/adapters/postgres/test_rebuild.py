"""The projections are what the journal says: folded again, they are the same."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.customer_entries import (
    conversation_opened,
    customer_assured,
    customer_changed,
    customer_consented,
    fact_recorded,
)
from cxplane.domain.entries import approval_decided, release_live, release_made
from cxplane.domain.key_entries import key_created, key_revoked
from cxplane.domain.record import Appended, KeyClaim, NewEntry, Write
from tests.contracts.writes import ACTION, NOW, T, allowed, came_out, decided, held, intended, takes

TABLES = (
    "request",
    "claim",
    "budget_use",
    "intent",
    "approval",
    "customer",
    "conversation",
    "release",
    "api_key",
)


async def projections(dsn: str) -> dict[str, list[Any]]:
    link = await asyncpg.connect(dsn)
    try:
        return {
            table: sorted(str(tuple(row)) for row in await link.fetch(f"select * from cxplane.{table}"))
            for table in TABLES
        }
    finally:
        await link.close()


def some_write(chance: random.Random, n: int, requests: list[str], at: datetime) -> Write:
    """Anything that may happen next, sensible or not."""
    old = chance.choice(requests) if requests else "r0"
    key = f"k{chance.randrange(60)}"
    budget = tuple(
        takes(chance.randrange(1, 9), scope=f"s{chance.randrange(3)}", limit_money=chance.choice([None, 20]))
        for _ in range(chance.randrange(3))
    )
    status = chance.choice(["running", "held", "unknown", "stuck"])
    match chance.randrange(9):
        case 0 | 1:
            return allowed(f"r{n}", key, *budget, **({"undoes": old} if chance.random() < 0.3 else {}))
        case 2:
            return held(f"r{n}", f"a-r{n}", key).changed(reservations=budget)
        case 3 | 4:
            how = chance.choice(["done", "failed", "unknown", "stuck"])
            return Write(T, (came_out(old, how, error="e" if how == "failed" else None, due=at),), expect=(old, status))
        case 5:
            how = chance.choice(["rejected", "expired"])
            end = approval_decided(f"a-{old}", old, status=how, by="person:m", at=at, subject=None, comment="c")
            return Write(T, (end,), expect=(old, "held"))
        case 6:
            edit = approval_decided(
                f"a-{old}", old, status="edited", by="person:m", at=at, subject=None, replaced_by=f"r{n}"
            )
            write = allowed(f"r{n}", key, *budget, replaces=old)
            parts = [edit, *write.entries] if chance.random() < 0.5 else [*write.entries, edit]
            return write.changed(entries=tuple(parts), expect=(old, "held"))
        case 7:
            yes = approval_decided(f"a-{old}", old, status="approved", by="person:m", at=at, subject=None)
            if chance.random() < 0.3:
                return Write(T, (yes, decided(old, "refuse")), expect=(old, "held"))
            return Write(
                T,
                (yes, intended(old, key=key)),
                expect=(old, "held"),
                claim=KeyClaim(ACTION, key, old),
                reservations=budget,
            )
        case _:
            return Write(T, (some_other(chance, at),))


def some_other(chance: random.Random, at: datetime) -> NewEntry:
    who = f"c{chance.randrange(3)}"
    by = {"at": at, "actor": "x"}
    id = chance.choice("ij")
    return chance.choice(
        [
            customer_changed(
                who, attributes={"a": chance.choice([1, None]), "b": chance.random()}, identities=[], **by
            ),
            customer_changed(who, attributes={}, identities=[{"kind": "email", "value": chance.choice("pq")}], **by),
            customer_assured(who, level=chance.randrange(3), method="otp", until=at + timedelta(hours=1), **by),
            customer_consented(who, purpose=chance.choice("st"), granted=chance.random() < 0.5, source="f", **by),
            conversation_opened(f"v{who}", customer=chance.choice([None, who]), channel="chat", **by),
            fact_recorded(f"v{who}", name=chance.choice("xy"), value=chance.random(), customer=None, **by),
            release_made(chance.choice(["aa", "bb"]), note="n", gates={"check": "passed"}, **by),
            release_live(chance.choice(["aa", "bb"]), previous=None, **by),
            key_created(id, caller="agent:fin", hash=f"{id}-hash", expires_at=None, **by),
            key_revoked(id, **by),
        ]
    )


@pytest.mark.parametrize("seed", range(4))
async def test_the_projections_folded_again_are_the_same(
    store: PostgresStore, elsewhere: PostgresStore, dsn: str, seed: int
) -> None:
    chance = random.Random(seed)
    requests: list[str] = []
    kinds: set[str] = set()
    await elsewhere.append(allowed("elsewhere", "k1", takes(3), tenant="other"))
    for n in range(100):
        writes = [
            some_write(chance, n * 10 + i, requests, NOW + timedelta(seconds=n)) for i in range(chance.randrange(1, 9))
        ]
        results = await asyncio.gather(*(store.append(w) for w in writes), return_exceptions=True)
        for write, result in zip(writes, results, strict=True):
            kinds.add(type(result).__name__)
            if isinstance(result, Appended) and write.new_request:
                requests.append(write.new_request)
    assert kinds >= {"Appended", "Moved", "KeyTaken", "BudgetExhausted"}
    before = await projections(dsn)
    assert [table for table in TABLES if not before[table]] == []
    count = await store.rebuild(T)
    assert count == len(await store.entries(T, limit=100_000))
    assert await projections(dsn) == before


async def test_what_is_held_is_what_open_requests_took(store: PostgresStore, dsn: str) -> None:
    """Whatever happened, the counters say what the requests that count have reserved."""
    chance = random.Random(11)
    requests: list[str] = []
    for n in range(400):
        write = some_write(chance, n, requests, NOW)
        if isinstance(await store.append(write), Appended) and write.new_request:
            requests.append(write.new_request)
    link = await asyncpg.connect(dsn)
    counted = await link.fetch(
        "select v ->> 1 as scope, sum((v ->> 3)::bigint)::bigint as money from cxplane.request q,"
        " jsonb_array_elements(q.reserved) v where q.status in ('running', 'held', 'unknown', 'stuck', 'done') group by 1"
    )
    uses = await link.fetch("select scope, money from cxplane.budget_use where money <> 0")
    assert sorted(map(tuple, counted)) == sorted(map(tuple, uses))
    await link.close()
