"""Runs that their starter has at hand: no way through the queue, and none is left lying when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.record import Appended, Fence, Fenced, NewRun, RunTaken, TakenRun, Write
from tests.contracts.mailroom import T, begun, drained, letter

HOUR, NONE = timedelta(hours=1), timedelta(0)


def at_hand(id: str, epoch: int = 7) -> Write:
    return begun(id).changed(new_run=NewRun(id, "j", at_hand=epoch))


def advanced(run: str, epoch: int, took: list[str], **more: Any) -> Write:
    """By who has the run under this epoch."""
    return drained(TakenRun(Fence(run, epoch), 0, None, {}, None, ()), [1], took, **more)  # type: ignore[arg-type]


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[PostgresStore]:
    """The store as another worker has it."""
    opened = await open_store(dsn, tenant=T)
    yield opened
    await opened.aclose()


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def jobs(link: Any) -> list[str]:
    return [r["dedupe_key"] for r in await link.fetch("select dedupe_key from cxplane.pgqueuer order by 1")]


async def test_no_wake_up_goes_into_the_queue_and_the_start_has_taken_the_run(store: PostgresStore, link: Any) -> None:
    result = await store.append(at_hand("r1"))
    assert isinstance(result, Appended) and not result.woke
    assert await jobs(link) == []
    moved = await store.append(advanced("r1", 7, [f"p{result.positions[0]}"], idle=True))
    assert isinstance(moved, Appended) and not moved.more
    assert await store.append(advanced("r1", 8, [], idle=True)) == Fenced("r1")


async def test_only_the_runs_of_the_write_that_says_so_are_at_hand(store: PostgresStore, link: Any) -> None:
    await store.append(at_hand("r1"))
    await store.append(begun("r2"))
    assert await jobs(link) == ["leg@northwind|r2"]
    held = await link.fetch("select stream, epoch, worker is not null as mine from cxplane.mailbox order by 1")
    assert [(r["stream"], r["mine"]) for r in held] == [("r1", True), ("r2", False)]


async def test_one_that_rested_is_woken_through_the_queue(store: PostgresStore, link: Any) -> None:
    begun_at = await store.append(at_hand("r1"))
    assert isinstance(begun_at, Appended)
    await store.append(advanced("r1", 7, [f"p{begun_at.positions[0]}"], idle=True))
    woken = await store.append(letter("r1", 1))
    assert isinstance(woken, Appended) and woken.woke
    assert await jobs(link) == ["leg@northwind|r1"]
    assert await store.runs.let_go(T, ["r1"]) == 0  # it is nobody's at hand any more
    taken = await store.runs.take(T, "r1")
    assert taken is not None and [m.body["kind"] for m in taken.mail] == ["told"]


async def test_mail_that_comes_meanwhile_keeps_it_from_resting(store: PostgresStore, link: Any) -> None:
    begun_at = await store.append(at_hand("r1"))
    assert isinstance(begun_at, Appended)
    told = await store.append(letter("r1", 1))
    assert isinstance(told, Appended) and not told.woke
    moved = await store.append(advanced("r1", 7, [f"p{begun_at.positions[0]}"], idle=True))
    assert isinstance(moved, Appended) and moved.more
    assert await jobs(link) == []


async def test_those_of_a_worker_without_a_sign_of_life_go_into_the_queue(
    store: PostgresStore, other: PostgresStore, link: Any
) -> None:
    begun_at = await store.append(at_hand("r1"))
    await store.append(at_hand("r2"))
    assert isinstance(begun_at, Appended)
    await store.append(advanced("r1", 7, [f"p{begun_at.positions[0]}"], idle=True))
    assert await store.runs.at_work(T, lease=HOUR) == (0, 0)
    assert await other.runs.at_work(T, lease=HOUR) == (1, 0)
    assert await jobs(link) == []
    assert await other.runs.at_work(T, lease=NONE) == (0, 1)  # its own sign is later than that of the first
    assert await jobs(link) == ["leg@northwind|r2"]
    assert await other.runs.at_work(T, lease=NONE) == (0, 0)
    taken = await other.runs.take(T, "r2")
    assert taken is not None and [m.body["kind"] for m in taken.mail] == ["started"]
    assert await store.append(advanced("r2", 7, [], idle=True)) == Fenced("r2")  # should it come back
    assert await store.runs.at_work(T, lease=HOUR) == (1, 0)


async def test_what_a_worker_lets_go_is_in_the_queue_once(
    store: PostgresStore, other: PostgresStore, link: Any
) -> None:
    await store.append(at_hand("r1"))
    assert await other.runs.let_go(T, ["r1"]) == 0
    assert await store.runs.let_go(T, ["r1", "unknown"]) == 1
    assert await store.runs.let_go(T, ["r1"]) == 0
    assert await jobs(link) == ["leg@northwind|r1"]


async def test_a_worker_that_leaves_is_not_counted(store: PostgresStore, other: PostgresStore) -> None:
    await store.runs.at_work(T, lease=HOUR)
    assert (await other.runs.at_work(T, lease=HOUR))[0] == 1
    await store.runs.let_go(T, [], leaving=True)
    assert (await other.runs.at_work(T, lease=HOUR))[0] == 0


async def test_who_has_one_at_hand_for_long_says_so_or_it_is_taken_for_left_lying(
    store: PostgresStore, link: Any
) -> None:
    await store.append(at_hand("r1"))
    await store.append(at_hand("r2"))
    await link.execute("update cxplane.mailbox set taken_at = now() - interval '1 minute'")
    await store.runs.at_work(T, lease=HOUR, runs=["r1"])
    assert await store.runs.revive(datetime.now(UTC) - timedelta(seconds=30)) == 1
    assert await jobs(link) == ["leg@northwind|r2"]


async def test_a_start_that_is_refused_leaves_nothing_at_hand(store: PostgresStore, link: Any) -> None:
    await store.append(begun("r1"))
    before = await link.fetch("select * from cxplane.mailbox")
    await store.append(at_hand("r1"))
    assert await link.fetch("select * from cxplane.mailbox") == before


async def test_folded_again_it_is_not_lost(store: PostgresStore, link: Any) -> None:
    await store.append(at_hand("r1"))
    await store.rebuild(T)
    assert await store.append(advanced("r1", 7, [], idle=True)) == Fenced("r1")
    assert await store.runs.revive(datetime.now(UTC) + timedelta(seconds=1)) == 1
    assert await jobs(link) == ["leg@northwind|r1"]


async def test_a_start_that_is_refused_takes_no_run_that_mail_comes_for(store: PostgresStore, link: Any) -> None:
    """Both in one commit: the run was started before, and rests."""
    first = await store.append(begun("r1"))
    taken = await store.runs.take(T, "r1")
    assert isinstance(first, Appended) and taken is not None
    await store.append(drained(taken, [1], [m.ref for m in taken.mail], idle=True))
    results = await asyncio.gather(
        store.append(begun("r0")),
        store.append(at_hand("r1")),
        store.append(letter("r1", 1)),
        store.append(at_hand("r2")),
    )
    assert [type(r) for r in results] == [Appended, RunTaken, Appended, Appended]
    assert isinstance(results[2], Appended) and results[2].woke
    assert "leg@northwind|r1" in await jobs(link)
    row = await link.fetchrow("select epoch, worker from cxplane.mailbox where stream = 'r1'")
    assert (row["epoch"], row["worker"]) == (taken.fence.epoch, None)


async def test_of_two_starts_of_one_run_in_a_commit_the_one_that_counts_has_it(store: PostgresStore) -> None:
    await store.append(Write(T, _keyed("r0").entries, new_run=NewRun("r0", "j", "k")))
    refused = Write(T, _keyed("r1").entries, new_run=NewRun("r1", "j", "k", at_hand=5))
    results = await asyncio.gather(store.append(begun("x")), store.append(refused), store.append(at_hand("r1", 7)))
    assert [type(r) for r in results] == [Appended, RunTaken, Appended]
    assert isinstance(await store.append(advanced("r1", 7, [], idle=True)), Appended)


def _keyed(id: str) -> Write:
    entry = begun(id).entries[0]
    return Write(T, (entry.changed(body={**entry.body, "key": "k"}),))


async def test_what_rests_is_nobody_s_any_more(store: PostgresStore, link: Any) -> None:
    result = await store.append(at_hand("r1"))
    assert isinstance(result, Appended)
    await store.append(advanced("r1", 7, [f"p{result.positions[0]}"], idle=True))
    assert await link.fetchval("select worker from cxplane.mailbox") is None


@pytest.mark.parametrize("how", ["let go", "gone"])
async def test_what_is_being_written_is_waited_for_and_not_forgotten(
    store: PostgresStore, other: PostgresStore, link: Any, how: str
) -> None:
    await store.append(at_hand("r1"))
    await store.runs.at_work(T, lease=HOUR)
    async with link.transaction():
        await link.execute("select cxplane.lock_runs('{northwind}', '{r1}')")
        await link.execute("select from cxplane.mailbox where stream = 'r1' for no key update")
        asks = store.runs.let_go(T, ["r1"]) if how == "let go" else other.runs.at_work(T, lease=NONE)
        asking = asyncio.ensure_future(asks)
        await asyncio.sleep(0.2)
        assert not asking.done()
    assert await asking == (1 if how == "let go" else (0, 1))
    assert await jobs(link) == ["leg@northwind|r1"]


async def test_a_sign_of_life_waits_for_no_run(store: PostgresStore, link: Any) -> None:
    await store.append(at_hand("r1"))
    await store.append(at_hand("r2"))
    await link.execute("update cxplane.mailbox set taken_at = now() - interval '1 minute'")
    async with link.transaction():
        await link.execute("select from cxplane.mailbox where stream = 'r1' for no key update")
        await asyncio.wait_for(store.runs.at_work(T, lease=HOUR, runs=["r1", "r2"]), 5)
    old = await link.fetch("select stream from cxplane.mailbox where taken_at < now() - interval '30 seconds'")
    assert [r["stream"] for r in old] == ["r1"]
