"""What every contender shares: one Postgres, one business system, child processes that answer, and their CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.journeys.cache import NotToBeHad
from benchmarks.journeys.shims import compiled
from benchmarks.journeys.wire import Effects
from cxplane.adapters.postgres.embedded import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("CXPLANE_DATA_KEY", "A" * 43)  # 32 zero bytes, here and in all children: sealing costs the same
FLUSH_US = 3600


def slow_disk(folder: Path) -> Path:
    """The shim that makes flushes slow, compiled here. NotToBeHad where there is no compiler."""
    return compiled(Path(__file__).with_name("slow_disk.c"), folder)


@asynccontextmanager
async def postgres(folder: Path, slow: Path | None = None) -> AsyncIterator[Store]:
    """A fresh Postgres, on a disk that is slow where a shim is given."""
    folder.mkdir(parents=True, exist_ok=True)
    server = EmbeddedPostgres(folder)
    with _preloaded(slow):
        dsn = await asyncio.to_thread(server.start)
    try:
        store = Store(dsn, server.pid or 0)
        await store.execute("select 1")
        yield store
    finally:
        await asyncio.to_thread(server.stop)


@contextlib.contextmanager
def _preloaded(slow: Path | None) -> Any:
    kept = dict(os.environ)
    if slow is not None:
        os.environ.update(slow_env(slow))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def slow_env(slow: Path) -> Mapping[str, str]:
    return {"LD_PRELOAD": str(slow), "SLOW_DISK_US": str(FLUSH_US)}


class Store:
    """A running Postgres: its address, and databases of one's own in it."""

    def __init__(self, dsn: str, pid: int) -> None:
        self.dsn, self.pid = dsn, pid

    async def database(self, name: str) -> str:
        """The address of a fresh database."""
        await self.execute(f"drop database if exists {name} with (force)")
        await self.execute(f"create database {name}")
        return self.dsn.replace("/cxplane?", f"/{name}?")

    async def execute(self, sql: str, dsn: str | None = None) -> None:
        link = await asyncpg.connect(dsn or self.dsn)
        try:
            await link.execute(sql)
        finally:
            await link.close()

    async def value(self, sql: str, dsn: str | None = None) -> Any:
        link = await asyncpg.connect(dsn or self.dsn)
        try:
            return await link.fetchval(sql)
        finally:
            await link.close()

    def cpu_s(self) -> float:
        """Of the server and all its children that live."""
        return cpu_s(self.pid, children=True)


class Child:
    """A process that says one line of JSON when it is ready, then answers line by line."""

    def __init__(self, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._command, self._log, self._env = command, log, {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self.ready: Any = None

    async def __aenter__(self) -> Child:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, patience_s: float = 60.0) -> float:
        """The seconds it took to be ready."""
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._env,
                cwd=ROOT,
                limit=64 * 1024 * 1024,
            )
        self.ready = await self._line(patience_s)
        return time.perf_counter() - began

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def tell(self, patience_s: float = 300.0, **asked: Any) -> Any:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        await self._process.stdin.drain()
        told = await self._line(patience_s)
        if isinstance(told, dict) and "error" in told:
            raise RuntimeError(f"{self._log.stem}: {told['error']}")
        return told

    async def _line(self, patience_s: float) -> Any:
        assert self._process is not None and self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), patience_s)
        if not line:
            said = self._log.read_text(errors="replace").strip().splitlines()[-4:]
            raise NotToBeHad(f"a process ended by itself: {' | '.join(said)}")
        return json.loads(line)

    def send(self, what: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(what)

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        for how, patience in ((None, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if how is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(how)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), patience)
                return


class System(Child):
    """The business system. `counts()` says what was done."""

    def __init__(self, log: Path, delay_s: float = 0.005) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.journeys.effects", "--delay", str(delay_s)], log)
        self._asked: Effects | None = None

    @property
    def port(self) -> int:
        return int(self.ready)

    async def counts(self) -> dict[str, int]:
        return dict(await self._ask("GET", "/counts"))

    async def first(self) -> dict[str, float]:
        return dict(await self._ask("GET", "/first"))

    async def clear(self) -> None:
        await self._ask("POST", "/clear")

    async def _ask(self, method: str, path: str) -> Any:
        asked = Effects(self.port)
        try:
            return json.loads(await asked.ask(method, path))
        finally:
            asked.close()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.send(signal.SIGTERM)
        await super().stop()


def python(*words: str) -> list[str]:
    """A command of this interpreter, with the repo's sources in reach."""
    return [sys.executable, "-m", *words]


def sources() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path}


_TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int, *, children: bool = False) -> float:
    """Seconds of CPU of a process, and of those below it that live. 0 where the kernel does not tell."""
    try:
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    total = (int(parts[11]) + int(parts[12])) / _TICK
    if children:
        total += (int(parts[13]) + int(parts[14])) / _TICK
        for below in _below(pid):
            total += cpu_s(below, children=True)
    return total


def _below(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def memory_mb(pid: int) -> float:
    """What is resident and its own (anonymous), in MB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return round(int(line.split()[1]) / 1024, 1)
    return 0.0
