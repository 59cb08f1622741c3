"""Killed in the middle: nothing half-recorded, nothing lost that was confirmed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.errors import StoreUnavailable
from cxplane.domain.record import Appended, RequestTaken
from tests.contracts.writes import T, allowed, takes, used


@pytest.fixture
def folder() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="cxp-"))
    yield base / "store"
    shutil.rmtree(base, ignore_errors=True)


async def whole(store: PostgresStore, confirmed: set[str]) -> int:
    """Every request on record is there with all its entries, its row, claim and reservation, or not at all."""
    entries = await store.entries(T, limit=100_000)
    streams: dict[str, list[str]] = {}
    for e in entries:
        streams.setdefault(e.stream, []).append(e.kind)
    assert all(kinds == ["request", "decision"] for kinds in streams.values())
    assert confirmed <= set(streams)
    rows, _ = await store.requests(T, limit=100_000)
    assert {r.id for r in rows} == set(streams)
    assert await used(store) == (len(streams),) * 3
    for id in list(streams)[:20]:
        claim = await store.claimed(T, "billing.issue_credit", f"k-{id}")
        assert claim is not None
        assert claim.request == id
    return len(streams)


def pulled_out(pid: int) -> None:
    """The server and all its backends at once: one that lived on would still answer what it was asked."""
    server = psutil.Process(pid)
    for process in (server, *server.children()):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


async def test_postgres_killed_under_load_comes_back_whole(folder: Path) -> None:
    embedded = EmbeddedPostgres(folder, serve=True)
    async with embedded as dsn:
        store = await open_store(dsn, tenant="northwind")
        confirmed: set[str] = set()
        unsure: set[str] = set()
        advice: set[str] = set()
        stop = asyncio.Event()

        async def load(worker: int) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                id = f"r{worker}-{n}"
                try:
                    result = await store.append(allowed(id, f"k-{id}", takes(1)))
                    assert isinstance(result, Appended)
                    confirmed.add(id)
                except StoreUnavailable as problem:
                    advice.add(problem.next)
                    unsure.add(id)
                    await asyncio.sleep(0.01)

        workers = [asyncio.create_task(load(w)) for w in range(40)]
        kills = 0
        while kills < 3 or not unsure:  # until one of them hit a commit on its way
            assert kills < 15
            await asyncio.sleep(0.2 + 0.017 * kills)
            pid, before = embedded.pid, len(confirmed)
            assert pid is not None
            pulled_out(pid)
            kills += 1
            while embedded.pid == pid or len(confirmed) < before + 50:
                await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*workers)
        assert unsure
        assert advice == {"Ask again with the same key in a moment; nothing is done twice."}
        count = await whole(store, confirmed)
        # asking again with the same id tells what became of the doubtful ones, and does nothing twice
        for id in unsure:
            assert isinstance(await store.append(allowed(id, f"k-{id}", takes(1))), (Appended, RequestTaken))
        assert await whole(store, confirmed | unsure) == len(confirmed | unsure) >= count
        await store.aclose()


async def test_connections_that_are_cut_cost_one_answer_and_no_more(dsn: str) -> None:
    store = await open_store(dsn, tenant="northwind")
    await store.append(allowed("r1"))
    await asyncio.gather(*(store.request(T, "r1") for _ in range(8)))
    link = await asyncpg.connect(dsn)
    await link.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    )
    await link.close()
    await asyncio.sleep(0.1)
    assert await store.request(T, "r1") is not None
    assert isinstance(await store.append(allowed("r2")), Appended)
    await store.aclose()


WRITER = """
    import asyncio, sys
    from cxplane.adapters.postgres.store import open_store
    from cxplane.domain.record import Appended
    from tests.contracts.writes import allowed, takes

    async def main():
        store = await open_store(sys.argv[1], tenant="northwind")
        async def load(worker):
            for n in range(100_000):
                id = f"r{worker}-{n}"
                assert isinstance(await store.append(allowed(id, f"k-{id}", takes(1))), Appended)
                print(id, flush=True)
        await asyncio.gather(*(load(w) for w in range(30)))

    asyncio.run(main())
"""


async def test_a_killed_plane_leaves_nothing_half_recorded(dsn: str) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([p for p in sys.path if p] + [str(Path.cwd())])}
    confirmed: set[str] = set()
    for _ in range(2):
        plane = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER).replace('f"r{', f'f"{len(confirmed)}-r{{'), dsn],
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        assert plane.stdout is not None
        first = await asyncio.to_thread(plane.stdout.readline)
        await asyncio.sleep(0.5)
        plane.kill()
        rest, _ = await asyncio.to_thread(plane.communicate)
        lines = (first + rest).split("\n")
        confirmed |= set(lines[:-1])  # the last one may be cut
        store = await open_store(dsn, tenant="northwind")
        end = time.monotonic() + 5
        while True:
            try:
                assert await whole(store, confirmed) >= len(confirmed) > 0
                break
            except AssertionError:  # the batch under way when it was killed may still be committed
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.05)
        await store.aclose()


async def test_a_store_that_is_gone_says_so_to_everybody(folder: Path) -> None:
    embedded = EmbeddedPostgres(folder)
    dsn = await asyncio.to_thread(embedded.start)
    store = await open_store(dsn, tenant="northwind")
    await store.append(allowed("r1"))
    await asyncio.to_thread(embedded.stop)
    for question in (store.ping(), store.request(T, "r1"), store.append(allowed("r2")), store.stats()):
        with pytest.raises(StoreUnavailable):
            await question
    await asyncio.to_thread(embedded.start)
    await store.ping()
    assert isinstance(await store.append(allowed("r2")), Appended)
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.append(allowed("r3"))
    await asyncio.to_thread(embedded.stop)
