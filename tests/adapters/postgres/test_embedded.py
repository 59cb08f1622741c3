"""The private Postgres: started, shared, taken over, stopped."""

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
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from cxplane.adapters.postgres.embedded import EmbeddedPostgres, _postmaster
from cxplane.adapters.postgres.store import open_store
from cxplane.domain.errors import StoreError


@pytest.fixture
def folder() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="cxp-"))
    yield base / "store"
    if found := _postmaster(base / "store" / "pg", ready=False):
        os.kill(found[0], signal.SIGQUIT)
        until(lambda: _postmaster(base / "store" / "pg", ready=False) is None)
    shutil.rmtree(base, ignore_errors=True)


def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


async def ask(dsn: str, sql: str) -> object:
    link = await asyncpg.connect(dsn)
    try:
        return await link.fetchval(sql)
    finally:
        await link.close()


def python(code: str, *args: str, user: int | None = None) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


SERVE = """
    import asyncio, signal, sys
    from cxplane.adapters.postgres.embedded import EmbeddedPostgres

    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with EmbeddedPostgres(sys.argv[1], serve=True) as dsn:
            print(dsn, flush=True)
            await stop.wait()

    asyncio.run(main())
"""


async def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    async with EmbeddedPostgres(folder, serve=True) as dsn:
        await ask(dsn, "create table kept as select 7 as n")
        assert await ask(dsn, "show fsync") == "on"
        assert await ask(dsn, "show listen_addresses") == ""
    assert _postmaster(folder / "pg", ready=False) is None
    async with EmbeddedPostgres(folder, serve=True) as dsn:
        assert await ask(dsn, "select n from kept") == 7


async def test_a_second_serve_is_told_who_serves(folder: Path) -> None:
    async with EmbeddedPostgres(folder, serve=True) as dsn:
        with pytest.raises(StoreError, match=f"served already, by process {os.getpid()}") as told:
            await EmbeddedPostgres(folder, serve=True).__aenter__()
        assert f"kill {os.getpid()}" in told.value.next
        assert await ask(dsn, "select 1") == 1
    async with EmbeddedPostgres(folder, serve=True):
        pass


async def test_commands_share_the_store_and_the_last_one_stops_it(folder: Path) -> None:
    command = EmbeddedPostgres(folder)
    dsn = await asyncio.to_thread(command.start)
    async with EmbeddedPostgres(folder, serve=True) as same:
        assert same == dsn
        await asyncio.to_thread(command.stop)
        await asyncio.to_thread(command.stop)
        assert await ask(dsn, "select 1") == 1
        async with EmbeddedPostgres(folder) as also:
            assert also == dsn
        assert await ask(dsn, "select 1") == 1
    assert _postmaster(folder / "pg", ready=False) is None


async def test_many_commands_at_once_start_it_once(folder: Path) -> None:
    async def one() -> object:
        async with EmbeddedPostgres(folder) as dsn:
            return await ask(dsn, "select 1")

    assert await asyncio.gather(*(one() for _ in range(6))) == [1] * 6
    assert _postmaster(folder / "pg", ready=False) is None


async def test_sigterm_stops_it_cleanly(folder: Path) -> None:
    plane = python(SERVE, str(folder))
    assert plane.stdout is not None
    dsn = plane.stdout.readline().strip()
    await ask(dsn, "create table kept as select 7 as n")
    plane.terminate()
    _, errors = await asyncio.to_thread(plane.communicate)
    assert (plane.returncode, "Traceback" in errors) == (0, False)
    assert _postmaster(folder / "pg", ready=False) is None
    assert "database system is shut down" in (folder / "postgres.log").read_text()


async def test_the_postgres_of_a_killed_plane_is_taken_over(folder: Path) -> None:
    plane = python(SERVE, str(folder))
    assert plane.stdout is not None
    dsn = plane.stdout.readline().strip()
    orphan = _postmaster(folder / "pg")
    plane.kill()
    await asyncio.to_thread(plane.communicate)
    async with EmbeddedPostgres(folder, serve=True) as again:
        assert (again, _postmaster(folder / "pg")) == (dsn, orphan)
    assert _postmaster(folder / "pg", ready=False) is None


async def test_a_killed_postgres_is_started_again_while_serving(folder: Path) -> None:
    embedded = EmbeddedPostgres(folder, serve=True)
    async with embedded as dsn:
        await ask(dsn, "create table kept as select 7 as n")
        first = embedded.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: embedded.pid not in (None, first))
        assert await ask(dsn, "select n from kept") == 7


async def test_everything_killed_at_once_recovers(folder: Path) -> None:
    plane = python(SERVE, str(folder))
    assert plane.stdout is not None
    dsn = plane.stdout.readline().strip()
    await ask(dsn, "create table kept as select 7 as n")
    found = _postmaster(folder / "pg")
    assert found is not None
    plane.kill()
    os.kill(found[0], signal.SIGKILL)
    await asyncio.to_thread(plane.communicate)
    async with EmbeddedPostgres(folder, serve=True) as again:
        assert await ask(again, "select n from kept") == 7


async def test_a_pid_file_that_names_a_stranger_is_no_obstacle(folder: Path) -> None:
    async with EmbeddedPostgres(folder):
        lines = (folder / "pg" / "postmaster.pid").read_text().splitlines()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (folder / "pg" / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        async with EmbeddedPostgres(folder) as dsn:
            assert await ask(dsn, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_an_unfinished_initdb_is_done_again(folder: Path) -> None:
    (folder / "pg.new" / "base").mkdir(parents=True)
    async with EmbeddedPostgres(folder) as dsn:
        assert await ask(dsn, "select 1") == 1


async def test_a_path_too_long_for_a_socket_is_no_obstacle(folder: Path) -> None:
    deep = folder / ("long-name-" * 12)
    async with EmbeddedPostgres(deep) as dsn:
        assert await ask(dsn, "select 1") == 1


async def test_a_store_of_another_major_version_is_refused(folder: Path) -> None:
    (folder / "pg").mkdir(parents=True)
    (folder / "pg" / "PG_VERSION").write_text("14\n")
    with pytest.raises(StoreError, match="made by Postgres 14"):
        await EmbeddedPostgres(folder).__aenter__()
    async with EmbeddedPostgres(folder.with_name("other")):  # nothing stays locked
        pass


async def test_a_file_in_the_way_is_said(folder: Path) -> None:
    folder.parent.joinpath("file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        await EmbeddedPostgres(folder.parent / "file" / "store").__aenter__()


AS_USER = """
    import asyncio, concurrent.futures.thread, encodings.idna, importlib.util, os, shutil, stringprep, sys
    import alembic.config, alembic.runtime.environment, alembic.script, alembic.op, asyncpg, msgspec, mako.template
    import sqlalchemy.dialects.postgresql.asyncpg, sqlalchemy.dialects.postgresql.psycopg2
    from cxplane.adapters.postgres.embedded import EmbeddedPostgres
    from cxplane.adapters.postgres.store import open_store

    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    os.environ["HOME"] = sys.argv[1]

    async def main():
        async with EmbeddedPostgres(sys.argv[1] + "/store", serve=True) as dsn:
            store = await open_store(dsn, tenant="northwind")
            await store.ping()
            await store.aclose()
            print("works", os.getuid(), os.stat(sys.argv[1] + "/store/pg").st_uid)

    asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_it_runs_as_an_ordinary_user_too() -> None:
    home = tempfile.mkdtemp(prefix="cxp-")
    os.chown(home, 65534, 65534)
    try:
        said, errors = python(AS_USER, home).communicate(timeout=60)
        assert said.split() == ["works", "65534", "65534"], errors
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that its own Postgres cannot pass")
async def test_as_root_it_works_below_folders_that_are_roots_own(folder: Path) -> None:
    folder.parent.chmod(0o700)
    async with EmbeddedPostgres(folder, serve=True) as dsn:
        store = await open_store(dsn, tenant="northwind")
        await store.ping()
        await store.aclose()
        assert (folder / "pg").stat().st_uid != 0
    assert folder.parent.stat().st_mode & 0o777 == 0o701
