"""What makes an engine fit for journeys: one holder a run, its mail in order, nothing lost, nothing twice, whoever dies.

These are the terms on which another engine could take PgQueuer's place. Run on the real store and the real engine.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from cxplane.adapters.postgres.access import Access, Guard
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.adapters.postgres.work import PgQueuerWork
from cxplane.domain.record import Appended, Fenced, NewRun, RunTaken, SignalTaken, Write
from cxplane.domain.run_entries import signal_entry
from tests.contracts.mailroom import Mailroom, T, begun, drained, letter

LEASE_S = 2.0


@asynccontextmanager
async def working(dsn: str, room: Mailroom, concurrency: int = 64) -> AsyncIterator[PgQueuerWork]:
    engine = PgQueuerWork(dsn, Access("northwind", Guard.ROLE), lease=timedelta(seconds=LEASE_S), first_retry_s=0.05)
    task = asyncio.create_task(engine.run({"leg": room}, concurrency=concurrency))
    try:
        yield engine
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await engine.aclose()


async def all_seen(store: PostgresStore, runs: list[str], wanted: list[int], seconds: float) -> None:
    """Every run has worked in exactly these letters, in this order."""
    end = time.monotonic() + seconds
    for run in runs:
        while True:
            found = await store.runs.get(T, run)
            seen = (found[2] or {}).get("seen", []) if found else []
            if seen == wanted:
                break
            assert len(seen) <= len(wanted) and seen == wanted[: len(seen)], f"{run}: {seen}"
            assert time.monotonic() < end, f"{run} has come to {seen}"
            await asyncio.sleep(0.05)


def process(dsn: str, pause_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contracts.mailroom", dsn, str(LEASE_S), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


async def ready(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert (await asyncio.to_thread(worker.stdout.readline)).strip() == "ready"


def end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    if worker.stdout:
        worker.stdout.close()


# the mailbox itself -------------------------------------------------------------------------------------------


async def test_a_run_that_starts_is_busy_and_one_wake_up_waits(store: PostgresStore, dsn: str) -> None:
    first = await store.append(begun("r1"))
    assert isinstance(first, Appended) and first.woke
    second = await store.append(letter("r1", 1))
    assert isinstance(second, Appended) and not second.woke
    link = await asyncpg.connect(dsn)
    assert await link.fetchval("select count(*) from cxplane.pgqueuer") == 1
    await link.close()


async def test_only_the_latest_holder_writes(store: PostgresStore) -> None:
    await store.append(begun("r1"))
    old = await store.runs.take(T, "r1")
    new = await store.runs.take(T, "r1")
    assert old is not None and new is not None
    assert [m.body["kind"] for m in new.mail] == ["started"]
    assert await store.append(drained(old, [1], [], idle=True)) == Fenced("r1")
    assert isinstance(await store.append(drained(new, [], ["x"], idle=False)), Appended)
    found = await store.runs.get(T, "r1")
    assert found is not None and found[2] == {"seen": []}


async def test_a_run_with_mail_does_not_rest(store: PostgresStore) -> None:
    await store.append(begun("r1"))
    taken = await store.runs.take(T, "r1")
    assert taken is not None
    await store.append(letter("r1", 1))
    result = await store.append(drained(taken, [], [m.ref for m in taken.mail], idle=True))
    assert isinstance(result, Appended) and result.more
    again = await store.runs.take(T, "r1")
    assert again is not None and [m.body.get("n") for m in again.mail] == [1]
    result = await store.append(drained(again, [1], [m.ref for m in again.mail], idle=True))
    assert isinstance(result, Appended) and not result.more
    woken = await store.append(letter("r1", 2))
    assert isinstance(woken, Appended) and woken.woke


async def test_the_same_run_is_started_once_and_so_is_its_key(store: PostgresStore) -> None:
    write = begun("r1")
    entry = write.entries[0]
    keyed = Write(T, (entry.changed(body={**entry.body, "key": "k"}),), new_run=NewRun("r1", "j", "k"))
    results = await asyncio.gather(*(store.append(keyed) for _ in range(5)))
    assert sum(isinstance(r, Appended) for r in results) == 1
    assert sum(r == RunTaken("r1") for r in results) == 4
    other = begun("r2")
    assert await store.append(Write(T, other.entries, new_run=NewRun("r2", "j", "k"))) == RunTaken("r1")


def said(id: str, key: str = "k1", type: str = "doc.in", *, keep: bool = False) -> Write:
    stream = f"sig_{id}"
    entry = signal_entry(
        stream,
        type=type,
        source="test",
        id=id,
        key=key,
        data={"n": id},
        at=datetime.now(UTC),
        actor="test",
        subject=None,
    )
    if keep:
        entry = entry.changed(body={**entry.body, "keep": True})
    return Write(T, (entry,), new_signal=stream)


async def test_a_signal_reaches_who_listens_once(store: PostgresStore) -> None:
    await store.append(begun("r1"))
    taken = await store.runs.take(T, "r1")
    assert taken is not None
    refs = [m.ref for m in taken.mail]
    await store.append(drained(taken, [], refs, idle=True, listens=[["doc.in", "k1"]]))
    told = await store.append(said("s1"))
    assert isinstance(told, Appended) and told.reached == 1 and told.woke
    assert await store.append(said("s1")) == SignalTaken("sig_s1")
    other = await store.append(said("s2", key="k2"))
    assert isinstance(other, Appended) and other.reached == 0 and not other.woke
    again = await store.runs.take(T, "r1")
    assert again is not None
    assert [(m.body["kind"], (m.private or {})["data"]) for m in again.mail] == [("signal", {"n": "s1"})]


async def test_a_signal_that_came_before_a_run_is_for_the_first_who_listens_a_later_one_for_all(
    store: PostgresStore,
) -> None:
    await store.append(said("s1", keep=True))
    await store.append(said("s2", keep=True))
    await store.append(said("s0"))  # no journey listens for such
    await store.append(begun("r1"))
    await store.append(begun("r3"))
    await store.append(said("s3", keep=True))
    for run, wanted in (("r1", ["s1", "s2", "s3"]), ("r2", []), ("r3", ["s3"])):
        if run == "r2":
            await store.append(begun(run))
        taken = await store.runs.take(T, run)
        assert taken is not None
        await store.append(drained(taken, [], [m.ref for m in taken.mail], idle=True, listens=[["doc.in", "k1"]]))
        again = await store.runs.take(T, run)
        assert again is not None
        assert [(m.private or {})["data"]["n"] for m in again.mail] == wanted


async def test_a_time_that_has_come_becomes_mail_once(store: PostgresStore) -> None:
    await store.append(begun("r1"))
    taken = await store.runs.take(T, "r1")
    assert taken is not None
    soon = datetime.now(UTC)
    later = soon + timedelta(hours=1)
    timers = [["1:due", soon.isoformat()], ["1:remind", later.isoformat()]]
    await store.append(drained(taken, [], [m.ref for m in taken.mail], idle=True, timers=timers))
    fired, left = await store.runs.fire_timers(now=soon)
    assert (fired, left) == (1, 3600)
    assert (await store.runs.fire_timers(now=soon))[0] == 0
    again = await store.runs.take(T, "r1")
    assert again is not None and [(m.body["kind"], m.body["name"]) for m in again.mail] == [("time", "1:due")]


async def test_the_end_of_a_run_is_mail_for_the_one_that_started_it(store: PostgresStore) -> None:
    await store.append(begun("r1"))
    await store.append(begun("r2", parent="r1"))
    for run in ("r1", "r2"):
        taken = await store.runs.take(T, run)
        assert taken is not None
        status = {"status": "done", "parent": "r1"} if run == "r2" else {}
        await store.append(drained(taken, [], [m.ref for m in taken.mail], idle=True, **status))
    parent = await store.runs.take(T, "r1")
    assert parent is not None
    assert [(m.body["kind"], m.body["run"], m.body["status"]) for m in parent.mail] == [("run", "r2", "done")]
    gone = await store.append(letter("r2", 1))
    assert isinstance(gone, Appended) and not gone.woke


async def test_a_run_whose_wake_up_was_lost_is_woken_again(store: PostgresStore, dsn: str) -> None:
    await store.append(begun("r1"))
    link = await asyncpg.connect(dsn)
    await link.execute("delete from cxplane.pgqueuer")
    future = datetime.now(UTC) + timedelta(seconds=1)
    assert await store.runs.revive(future) == 1
    assert await store.runs.revive(future) == 0
    assert await link.fetchval("select count(*) from cxplane.pgqueuer") == 1
    await link.close()


async def test_folding_again_gives_the_same_runs_and_mail(store: PostgresStore, dsn: str) -> None:
    await store.append(begun("r1"))
    taken = await store.runs.take(T, "r1")
    assert taken is not None
    await store.append(drained(taken, [], [m.ref for m in taken.mail], idle=True, listens=[["doc.in", "k1"]]))
    await store.append(said("s1"))
    await store.append(said("s2", key="k2"))
    await store.append(letter("r1", 1))
    tables = ("run", "inbox", "timer", "listen", "recent", "heard", "signal", "task")
    link = await asyncpg.connect(dsn)

    async def shown() -> list[object]:
        found = []
        for table in tables:
            seq = " - 'seq'" if table == "inbox" else ""
            found.append(await link.fetch(f"select to_jsonb(x){seq} as j from cxplane.{table} x order by 1"))
        return found

    before = await shown()
    await store.rebuild(T)
    assert await shown() == before
    await link.close()
    assert await store.append(drained(taken, [], [], idle=True)) == Fenced("r1")


# with workers ---------------------------------------------------------------------------------------------------


@pytest.mark.timeout(170)
async def test_a_thousand_runs_with_twenty_letters_each_and_two_workers(store: PostgresStore, dsn: str) -> None:
    runs = [f"r{n}" for n in range(1000)]
    others = await open_store(dsn, tenant="northwind")
    one, two = Mailroom(store), Mailroom(others)
    async with working(dsn, one) as engine, working(dsn, two):
        for run in runs:
            await store.append(begun(run)) if run == runs[0] else None
        await asyncio.gather(*(store.append(begun(run)) for run in runs[1:]))
        engine.wake()
        for n in range(20):
            results = await asyncio.gather(*(store.append(letter(run, n)) for run in runs))
            if any(isinstance(r, Appended) and r.woke for r in results):
                engine.wake()
        await all_seen(store, runs, list(range(20)), 90)
    assert one.overlaps == two.overlaps == 0
    await others.aclose()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_runs_of_a_dead_or_paused_worker_go_on_and_it_writes_nothing_more(
    store: PostgresStore, dsn: str, how: signal.Signals
) -> None:
    runs = [f"r{n}" for n in range(200)]
    victim = process(dsn, pause_s=0.2)
    room = Mailroom(store, steps=True)
    try:
        await ready(victim)
        await asyncio.gather(*(store.append(begun(run)) for run in runs))
        for n in range(5):
            await asyncio.gather(*(store.append(letter(run, n)) for run in runs))
        await asyncio.sleep(0.7)
        victim.send_signal(how)
        async with working(dsn, room) as engine:
            engine.wake()
            await all_seen(store, runs, list(range(5)), 30)
            if how is signal.SIGSTOP:
                victim.send_signal(signal.SIGCONT)
                await asyncio.gather(*(store.append(letter(run, 5)) for run in runs))
                engine.wake()
                await all_seen(store, runs, list(range(6)), 30)
    finally:
        end(victim)


async def test_a_wake_up_that_comes_twice_does_nothing_twice(store: PostgresStore, dsn: str) -> None:
    room = Mailroom(store)
    await store.append(begun("r1"))
    for n in range(3):
        await store.append(letter("r1", n))
    link = await asyncpg.connect(dsn)
    await link.execute(
        "insert into cxplane.pgqueuer (tenant, priority, entrypoint, payload, status)"
        " select tenant, priority, entrypoint, payload, status from cxplane.pgqueuer"
    )
    await link.close()
    async with working(dsn, room):
        await all_seen(store, ["r1"], [0, 1, 2], 10)
        await asyncio.sleep(0.3)
        await all_seen(store, ["r1"], [0, 1, 2], 1)


async def test_a_poisoned_run_holds_up_nobody(store: PostgresStore, dsn: str) -> None:
    class Poisoned(Mailroom):
        async def _drain(self, run: str) -> None:
            if run == "bad":
                raise ValueError("no")
            await super()._drain(run)

    room = Poisoned(store)
    runs = [f"r{n}" for n in range(20)]
    async with working(dsn, room) as engine:
        for run in ["bad", *runs]:
            await store.append(begun(run))
            await store.append(letter(run, 1))
        engine.wake()
        await all_seen(store, runs, [1], 10)


@pytest.mark.timeout(120)
async def test_a_hundred_thousand_parked_runs_hold_up_nobody_and_wake_after_a_restart(
    store: PostgresStore, dsn: str
) -> None:
    link = await asyncpg.connect(dsn)
    await link.execute(
        "insert into cxplane.run (tenant, id, journey, status, started_at, updated_at, started_by, state)"
        f" select '{T}', 'p' || n, 'j', 'waiting', now(), now(), 'test', '{{\"seen\": []}}' from generate_series(1, 100000) n"
    )
    await link.execute(
        f"insert into cxplane.mailbox (tenant, stream, busy) select '{T}', 'p' || n, false from generate_series(1, 100000) n"
    )
    await link.execute(
        f"insert into cxplane.timer (tenant, run, name, due) select '{T}', 'p' || n, '1:due', now() + interval '14 days'"
        " from generate_series(1, 100000) n"
    )
    await link.execute("analyze cxplane.run, cxplane.timer, cxplane.mailbox")
    await link.close()
    live = [f"r{n}" for n in range(100)]
    async with working(dsn, Mailroom(store)) as engine:
        await asyncio.gather(*(store.append(begun(run)) for run in live))
        await asyncio.gather(*(store.append(letter(run, 1)) for run in live))
        engine.wake()
        await all_seen(store, live, [1], 20)
        assert (await store.runs.fire_timers())[0] == 0
    # another process, another day: a few hundred wake
    async with working(dsn, Mailroom(store)) as engine:
        fired, _ = await store.runs.fire_timers(now=datetime.now(UTC) + timedelta(days=15), limit=300)
        assert fired == 300
        engine.wake()
        end_at = time.monotonic() + 30
        link = await asyncpg.connect(dsn)
        while await link.fetchval("select count(*) from cxplane.inbox"):
            assert time.monotonic() < end_at
            await asyncio.sleep(0.1)
        await link.close()
