"""The record, followed while many append: every entry once, in order, whatever the writers do."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import asyncpg
import pytest

from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.record import NewEntry, Wanted, Write
from cxplane.loop.following import follow, read

T = "northwind"
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)

APPEND = "select cxplane.append($1::text::jsonb, $2::text[], '{}', '{}', '{}', '{}', '{}')"


def note(stream: str, text: str = "") -> NewEntry:
    return NewEntry("note", stream, NOW, "test", {"text": text})


async def _erratic(dsn: str, name: str, dice: random.Random, rounds: int) -> None:
    """Appends of its own, each in a transaction that lasts a while and is often rolled back."""
    link = await asyncpg.connect(dsn)
    batch = '[{"t":"northwind","e":[{"k":"note","s":"%s","a":"2026-03-05T10:00:00Z","r":"test","b":{}}]}]'
    try:
        for n in range(rounds):
            transaction = link.transaction()
            await transaction.start()
            for part in range(dice.randint(1, 3)):
                await link.execute(APPEND, batch % f"{name}-{n}-{part}", [name])
                await asyncio.sleep(dice.random() * 0.02)
            await (transaction.rollback() if dice.random() < 0.4 else transaction.commit())
    finally:
        await link.close()


async def _usual(store: PostgresStore, name: str, dice: random.Random, rounds: int) -> None:
    for n in range(rounds):
        await store.append(Write(T, tuple(note(f"{name}-{n}-{k}") for k in range(dice.randint(1, 4)))))
        await asyncio.sleep(dice.random() * 0.01)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(3))
async def test_who_follows_gets_every_entry_once_and_in_order_while_many_append(
    dsn: str, store: PostgresStore, seed: int
) -> None:
    dice = random.Random(seed)
    done = asyncio.Event()
    got: list[list[int]] = [[], []]

    async def rest(seconds: float) -> bool:
        if done.is_set() and (await store.settled()) == await _top(dsn):
            quiet.append(1)
        await asyncio.sleep(0.003)
        return len(quiet) < 4

    quiet: list[int] = []

    async def listen(which: int) -> None:
        after = 0
        while len(quiet) < 4:  # each listener begins anew now and then, from the last position it has
            async for batch in follow(store, T, rest, after=after):
                got[which] += [line.position for line in batch.lines]
                after = got[which][-1] if got[which] else 0
                if batch.lines and random.Random(after).random() < 0.2:
                    break

    other = await open_store(dsn, tenant=T)
    await other.append(Write(T, (note("first"),)))  # makes the partition of the month
    try:
        listening = [asyncio.create_task(listen(n)) for n in range(2)]
        await asyncio.gather(
            *(_erratic(dsn, f"w{n}", random.Random(seed * 100 + n), 15) for n in range(6)),
            *(_usual(s, f"{name}{n}", dice, 25) for n in range(3) for name, s in (("a", store), ("b", other))),
        )
        done.set()
        await asyncio.gather(*listening)
    finally:
        await other.aclose()
    entries = await _positions(dsn)
    assert len(entries) > 400
    assert max(entries) > len(entries)  # writes were rolled back, and left holes
    assert got[0] == entries
    assert got[1] == entries


async def test_one_reads_what_is_there_in_batches_of_the_kinds_wanted(store: PostgresStore) -> None:
    for n in range(300):
        await store.append(Write(T, (note(f"n{n}"), NewEntry("other", f"n{n}", NOW, "test", {}))))
    lines = [line async for batch in read(store, T, after=10, wanted=Wanted(kinds=("other",))) for line in batch.lines]
    assert [line.position for line in lines] == list(range(12, 601, 2))


async def _positions(dsn: str) -> list[int]:
    link = await asyncpg.connect(dsn)
    try:
        found = await link.fetch("select position from cxplane.entry where tenant = $1 order by position", T)
        return [r["position"] for r in found]
    finally:
        await link.close()


async def _top(dsn: str) -> int:
    link = await asyncpg.connect(dsn)
    try:
        return int(await link.fetchval("select last_value from cxplane.entry_position"))
    finally:
        await link.close()
