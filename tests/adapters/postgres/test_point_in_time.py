"""An operator's own Postgres brought back to a point in time, with Postgres' tools, as the how-to says it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import asyncpg
import pytest

from cxplane.adapters.postgres import embedded
from cxplane.adapters.postgres.folders import Owner, owner_of_store
from cxplane.adapters.postgres.restore import JUMP, recovered
from cxplane.adapters.postgres.store import open_store
from cxplane.domain.record import Appended, Fenced
from tests.contracts.mailroom import begun, drained
from tests.contracts.writes import T, allowed


class Server:
    """A Postgres of the operator's."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.binaries = embedded.binaries_of_wheel()
        base.chmod(0o755)
        self.owner: Owner = owner_of_store(base / "first", self.binaries)
        self.running: subprocess.Popen[bytes] | None = None

    def folder(self, name: str) -> Path:
        made = self.base / name
        made.mkdir(mode=0o700)
        self.owner.own(made)
        return made

    def run(self, program: str, *words: str) -> None:
        done = subprocess.run([self.binaries / program, *words], capture_output=True, text=True, **self.owner.popen)
        assert done.returncode == 0, done.stderr

    def start(self, data: Path) -> str:
        self.running = subprocess.Popen(
            [self.binaries / "postgres", "-D", data, "-k", data, "-h", ""],
            stdout=subprocess.DEVNULL,
            stderr=(self.base / "log").open("ab"),
            **self.owner.popen,
        )
        end = time.monotonic() + 60
        while embedded._postmaster(data) is None:
            assert self.running.poll() is None and time.monotonic() < end, (self.base / "log").read_text()
            time.sleep(0.05)
        return f"postgresql://postgres@/postgres?host={quote(str(data))}"

    def stop(self) -> None:
        if self.running is not None:
            self.running.send_signal(signal.SIGINT)  # does not wait for who is connected
            self.running.wait()
            self.running = None


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(Path(mkdtemp(prefix="cxp-")))
    yield made
    made.stop()
    shutil.rmtree(made.base)


async def writable(dsn: str) -> None:
    """Once the recovery is over."""
    for _ in range(300):
        link = await asyncpg.connect(dsn)
        try:
            if not await link.fetchval("select pg_is_in_recovery()"):
                return
        finally:
            await link.close()
        await asyncio.sleep(0.1)
    raise AssertionError("still in recovery")


async def test_a_store_brought_back_to_a_point_in_time_goes_on_from_there(server: Server) -> None:
    data, archive = server.folder("first"), server.folder("archive")
    server.run("initdb", "-A", "trust", "-U", "postgres", "-D", str(data))
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(f"archive_mode = on\narchive_command = 'test ! -f {archive}/%f && cp %p {archive}/%f'\n")
    dsn = server.start(data)
    store = await open_store(dsn, tenant="northwind")
    await store.append(begun("r1"))
    await store.append(allowed("before", "k1"))
    base = server.folder("base")
    server.run("pg_basebackup", "-h", str(data), "-U", "postgres", "-D", str(base), "--checkpoint=fast")
    await store.append(allowed("between", "k2"))
    held = await store.runs.take(T, "r1")
    assert held is not None
    link = await asyncpg.connect(dsn)
    moment = await link.fetchval("select clock_timestamp()::text")
    await store.append(allowed("after", "k3"))
    lost = await link.fetchval("select max(position) from cxplane.entry")
    await link.execute("select pg_switch_wal()")
    await link.close()
    await store.aclose()
    server.stop()

    with (base / "postgresql.auto.conf").open("a") as settings:
        settings.write(
            f"restore_command = 'cp {archive}/%f %p'\n"
            f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n"
        )
    (base / "recovery.signal").touch()
    server.owner.own(base / "recovery.signal")
    back = server.start(base)
    await writable(back)
    assert await recovered(back, by="operator:sam") < lost
    again = await open_store(back, tenant="northwind")
    try:
        known = {one.id for one in (await again.requests(T, limit=10))[0]}
        assert known == {"before", "between"}
        assert await again.append(drained(held, [1], [], idle=True)) == Fenced("r1")
        written = await again.append(allowed("after", "k3"))
        assert isinstance(written, Appended) and min(written.positions) > JUMP
    finally:
        await again.aclose()
