"""What every work engine must do; run on the real one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.postgres.access import Access, Guard
from cxplane.adapters.postgres.work import PgQueuerWork
from cxplane.domain.errors import StoreUnavailable
from cxplane.ports.work import Handler, Job, Work

LEASE = timedelta(seconds=2)


@pytest.fixture
async def work(dsn: str) -> AsyncIterator[PgQueuerWork]:
    engine = PgQueuerWork(dsn, Access("northwind", Guard.ROLE), lease=LEASE, first_retry_s=0.1, tries=3)
    yield engine
    await engine.aclose()


@asynccontextmanager
async def working(work: Work, handler: Handler, kind: str = "note", concurrency: int = 8) -> AsyncIterator[None]:
    task = asyncio.create_task(work.run({kind: handler}, concurrency=concurrency))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def collect(into: list[Job]) -> Handler:
    async def handle(job: Job) -> None:
        into.append(job)

    return handle


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


async def left(work: Work) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for state in await work.inspect():
        counts[state.status] += state.count
    return dict(counts)


async def emptied(work: Work, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while await left(work):
        assert time.monotonic() < end, f"still there: {await left(work)}"
        await asyncio.sleep(0.02)


async def test_a_job_is_done_and_leaves_nothing(work: PgQueuerWork, dsn: str) -> None:
    done: list[Job] = []
    async with working(work, collect(done)):
        await work.enqueue("k1", "note", {"a": [1, "ü"]})
        await until(lambda: bool(done))
        await emptied(work)
    assert (done[0].key, done[0].kind, done[0].payload, done[0].tries) == ("k1", "note", {"a": [1, "ü"]}, 0)
    link = await asyncpg.connect(dsn)
    assert await link.fetchval("select count(*) from cxplane.pgqueuer_log") == 0
    await link.close()


async def test_an_idle_worker_is_woken_at_once(work: PgQueuerWork) -> None:
    done: list[Job] = []
    async with working(work, collect(done)):
        await asyncio.sleep(0.6)
        began = time.monotonic()
        await work.enqueue("k1", "note", {})
        await until(lambda: bool(done))
    assert time.monotonic() - began < 0.5


async def test_two_waiting_jobs_of_one_key_are_one_and_the_earlier_time_counts(work: PgQueuerWork) -> None:
    done: list[Job] = []
    later = datetime.now(UTC) + timedelta(hours=1)
    await work.enqueue("k1", "note", {"n": 1}, due=later)
    await work.enqueue("k1", "note", {"n": 2})
    await work.enqueue("k1", "note", {"n": 3}, due=later)
    await work.enqueue("k1", "other", {})
    await work.enqueue("k2", "note", {})
    assert await left(work) == {"queued": 3}
    async with working(work, collect(done)):
        await until(lambda: len(done) == 2)
        await asyncio.sleep(0.2)
    assert sorted((j.key, j.payload.get("n")) for j in done) == [("k1", 3), ("k2", None)]


async def test_what_comes_while_a_job_is_done_is_not_lost(work: PgQueuerWork) -> None:
    seen: list[int] = []

    async def handle(job: Job) -> None:
        seen.append(job.payload["n"])
        if job.payload["n"] == 1:
            await work.enqueue("k1", "note", {"n": 2})
            await asyncio.sleep(0.3)

    async with working(work, handle):
        await work.enqueue("k1", "note", {"n": 1})
        await until(lambda: seen == [1, 2])
        await emptied(work)


async def test_a_delayed_job_waits_for_its_time(work: PgQueuerWork) -> None:
    done: list[Job] = []
    async with working(work, collect(done)):
        await work.enqueue("k1", "note", {}, due=datetime.now(UTC) + timedelta(seconds=1))
        await asyncio.sleep(0.7)
        assert not done
        await until(lambda: bool(done), 3)


async def test_a_job_that_fails_is_tried_again_and_in_the_end_kept(work: PgQueuerWork) -> None:
    tries: list[int] = []

    async def handle(job: Job) -> None:
        tries.append(job.tries)
        if job.key == "bad" or job.tries == 0:
            raise ValueError("no")

    async with working(work, handle):
        await work.enqueue("once", "note", {})
        await until(lambda: len(tries) == 2)
        await emptied(work)
        await work.enqueue("bad", "note", {})
        await until(lambda: len(tries) == 5)
        await asyncio.sleep(0.5)
        assert await left(work) == {"failed": 1}
    assert tries == [0, 1, 0, 1, 2]


async def test_a_job_that_fails_while_its_successor_waits_becomes_one_with_it(work: PgQueuerWork) -> None:
    seen: list[int] = []

    async def handle(job: Job) -> None:
        seen.append(job.payload["n"])
        if job.payload["n"] == 1:
            # due later, so that it surely still waits when the failed one is put back
            await work.enqueue("k1", "note", {"n": 2}, due=datetime.now(UTC) + timedelta(seconds=1))
            raise ValueError("no")

    async with working(work, handle, concurrency=1):
        await work.enqueue("k1", "note", {"n": 1})
        await until(lambda: 2 in seen)
        await emptied(work)
    assert seen == [1, 2]


async def test_a_worker_that_stops_lets_jobs_end_and_gives_back_the_rest(
    work: PgQueuerWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxplane.adapters.postgres.work.GRACE_S", 0.5)
    began, ended = [], []

    async def handle(job: Job) -> None:
        began.append(job.key)
        await asyncio.sleep(0.2 if job.key == "short" else 60)
        ended.append(job.key)

    async with working(work, handle):
        await work.enqueue("short", "note", {})
        await work.enqueue("long", "note", {})
        await until(lambda: len(began) == 2)
    assert ended == ["short"]
    assert await left(work) == {"queued": 1}
    done: list[Job] = []
    async with working(work, collect(done)):
        await until(lambda: bool(done), 1.5)
    assert [(j.key, j.tries) for j in done] == [("long", 0)]


async def test_two_workers_share_the_work_and_each_job_is_done_once(dsn: str, work: PgQueuerWork) -> None:
    other = PgQueuerWork(dsn, Access("northwind", Guard.ROLE), lease=LEASE)
    done: list[Job] = []
    for n in range(500):
        await work.enqueue(f"k{n}", "note", {})
    async with working(work, collect(done)), working(other, collect(done)):
        await until(lambda: len(done) >= 500, 20)
        await emptied(work)
    await other.aclose()
    assert len({j.id for j in done}) == len(done) == 500


WORKER = """
    import asyncio, sys
    from datetime import timedelta
    from cxplane.adapters.postgres.access import Access, Guard
    from cxplane.adapters.postgres.work import PgQueuerWork

    async def handle(job):
        print("began", job.key, flush=True)
        await asyncio.sleep(600)

    asyncio.run(PgQueuerWork(sys.argv[1], Access("northwind", Guard.ROLE), lease=timedelta(seconds=2)).run({"note": handle}))
"""


def worker(dsn: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(WORKER)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen([sys.executable, "-c", code, dsn], stdout=subprocess.PIPE, text=True, env=env)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_jobs_of_a_dead_or_paused_worker_are_taken_over(
    work: PgQueuerWork, dsn: str, how: signal.Signals
) -> None:
    victim = worker(dsn)
    try:
        assert victim.stdout is not None
        for n in range(5):
            await work.enqueue(f"k{n}", "note", {})
        for _ in range(5):
            assert (await asyncio.to_thread(victim.stdout.readline)).startswith("began")
        victim.send_signal(how)
        began = time.monotonic()
        done: list[Job] = []
        async with working(work, collect(done)):
            await until(lambda: len({j.key for j in done}) == 5, 10)
            assert time.monotonic() - began < 3 * LEASE.total_seconds()
            await emptied(work)
    finally:
        victim.kill()
        victim.wait()
        if victim.stdout:
            victim.stdout.close()


async def test_parked_jobs_do_not_slow_the_others(work: PgQueuerWork, dsn: str) -> None:
    link = await asyncpg.connect(dsn)
    await link.execute(
        "insert into cxplane.pgqueuer (tenant, priority, entrypoint, payload, execute_after, dedupe_key, status)"
        " select 'northwind', 0, 'note@northwind', '[\"k\",{}]', now() + interval '1 hour', 'note|p' || n, 'queued'"
        " from generate_series(1, 100000) n"
    )
    await link.close()
    done: list[Job] = []
    async with working(work, collect(done)):
        began = time.monotonic()
        await asyncio.gather(*(work.enqueue(f"k{n}", "note", {}) for n in range(200)))
        await until(lambda: len(done) == 200, 20)
    assert time.monotonic() - began < 10
    assert await left(work) == {"queued": 100_000}


async def test_the_worker_survives_the_loss_of_its_connections(work: PgQueuerWork, dsn: str) -> None:
    done: list[Job] = []
    async with working(work, collect(done)):
        await work.enqueue("k1", "note", {})
        await until(lambda: len(done) == 1)
        link = await asyncpg.connect(dsn)
        await link.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await link.close()

        async def again() -> None:
            while True:
                try:
                    return await work.enqueue("k2", "note", {})
                except StoreUnavailable:
                    await asyncio.sleep(0.05)

        await asyncio.wait_for(again(), 5)
        await until(lambda: len(done) == 2)


async def test_what_cannot_be_reached_is_said(tmp_path: Any) -> None:
    work = PgQueuerWork(f"postgresql://postgres@/x?host={tmp_path}", Access("northwind", Guard.ROLE))
    with pytest.raises(StoreUnavailable):
        await work.enqueue("k", "note", {})
    task: Coroutine[Any, Any, None] = work.run({})
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(task, 1)
    await work.aclose()
