"""Bare DBOS as a contender: its own environment, a fresh database on the Postgres that all share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.journeys import cache
from benchmarks.journeys.hosts import ROOT, Child, Store, System, cpu_s


class Dbos:
    def __init__(self, child: Child, store: Store) -> None:
        self._child, self._store = child, store

    async def cell(self, in_flight: int, seconds: float, mark: str, warm: float = 1.0) -> dict[str, Any]:
        cpu, stored = cpu_s(self._child.pid), self._store.cpu_s()
        told = await self._child.tell(in_flight=in_flight, seconds=seconds, mark=mark, warm=warm)
        legs = max(1, int(told["all"]))
        told["cpu_ms"] = round((cpu_s(self._child.pid) - cpu) * 1000 / legs, 2)
        return dict(told) | {"postgres_cpu_ms": round((self._store.cpu_s() - stored) * 1000 / legs, 2)}


@asynccontextmanager
async def bare_dbos(home: Path, store: Store, system: System) -> AsyncIterator[Dbos]:
    """NotToBeHad where it cannot be installed or does not start."""
    python = cache.python_with(cache.DBOS)
    dsn = await store.database("dbos")
    command = [str(python), str(ROOT / "benchmarks/journeys/dbos_service.py"), dsn, str(system.port)]
    async with Child(command, home / "dbos.log") as child:
        yield Dbos(child, store)
