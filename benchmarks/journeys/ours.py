"""cxplane as a contender: a database of its own on the Postgres that all share, and planes as processes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.journeys.control import PARKED, TENANT, files
from benchmarks.journeys.hosts import Child, Store, System, cpu_s, python, sources
from benchmarks.journeys.worker import release

PATIENCE_S = 60.0


class Ours:
    """One database with a release in it. `plane` starts a process."""

    def __init__(self, home: Path, store: Store, dsn: str, system: System) -> None:
        self.home, self.store, self.dsn, self.system = home, store, dsn, system
        self.releases: list[str] = []

    async def release(self, parked: str = PARKED) -> str:
        self.releases.append(await release(self.dsn, files(parked)))
        return self.releases[-1]

    def plane(self, *, work: bool = True, drives: bool = False) -> Child:
        words = ["benchmarks.journeys.worker", "--dsn", self.dsn, "--system", str(self.system.port)]
        words += ["--ended", str(self.home)] + (["--work"] if work else []) + (["--drives"] if drives else [])
        return Child(python(*words), self.home / "planes.log", sources())

    async def value(self, sql: str) -> Any:
        return await self.store.value(sql, self.dsn)

    async def execute(self, sql: str) -> None:
        await self.store.execute(sql, self.dsn)


@asynccontextmanager
async def ours(home: Path, store: Store, system: System, name: str) -> AsyncIterator[Ours]:
    """A fresh database, released and with customers."""
    home.mkdir(parents=True, exist_ok=True)
    made = Ours(home, store, await store.database(name), system)
    await made.release()
    async with made.plane(work=False) as desk:
        await desk.tell(do="customers")
    try:
        yield made
    finally:
        await store.execute(f"drop database if exists {name} with (force)")


async def legs(
    made: Ours, in_flight: int, seconds: float, mark: str, *, workers: int = 1, by: str = "signal", warm: float = 1.0
) -> dict[str, Any]:
    """Runs of three governed effects, `in_flight` at the same time. The first worker starts them, as bare DBOS does too."""
    async with AsyncExitStack() as stack:
        driver = await stack.enter_async_context(made.plane(drives=True))
        planes = [driver] + [await stack.enter_async_context(made.plane()) for _ in range(workers - 1)]
        before, stored = [cpu_s(p.pid) for p in planes], made.store.cpu_s()
        told = await driver.tell(do="legs", in_flight=in_flight, seconds=seconds, mark=mark, by=by, warm=warm)
        done = max(1, int(told["all"]))
        used = sum(cpu_s(p.pid) - b for p, b in zip(planes, before, strict=True))
        told["cpu_ms"] = round(used * 1000 / done, 2)
        told["postgres_cpu_ms"] = round((made.store.cpu_s() - stored) * 1000 / done, 2)
        return dict(told)


async def park(made: Ours, plane: Child, count: int, seeds: int = 200) -> None:
    """`count` runs that wait for a signal. `seeds` of them went there by themselves and can be woken; the others are copies of
    their rows, with the state as it was sealed, under a key that nobody calls.
    """
    seeds = min(seeds, count)
    refs = [f"p{n}" for n in range(seeds)]
    await plane.tell(do="send", type="bench.parked", refs=refs, senders=16)
    until = time.monotonic() + PATIENCE_S
    while await made.value("select count(*) from cxplane.listen") < seeds:
        if time.monotonic() > until:
            raise RuntimeError("the runs did not come to wait for their signal")
        await asyncio.sleep(0.1)
    await made.execute(_COPIES.format(tenant=TENANT, seeds=seeds, count=count))


_COPIES = """
create temp table seed as
    select row_number() over (order by id) - 1 as s, r.* from cxplane.run r
    where tenant = '{tenant}' and journey = 'parked' and status = 'waiting' limit {seeds};
create temp table copy as
    select n, 'run_copy' || lpad(n::text, 12, '0') as new_id, 'p' || n as new_ref, seed.* from generate_series({seeds}, {count} - 1) n
    join seed on s = n % {seeds};
insert into cxplane.run (tenant, id, journey, release, status, started_at, updated_at, started_by, customer, conversation, key,
        parent, at, waits, error, next_due, input, state)
    select tenant, new_id, journey, release, status, started_at, updated_at, started_by, customer, conversation, key, parent, at,
        waits, error, next_due, input, state from copy;
insert into cxplane.mailbox (tenant, stream, epoch, busy, taken_at)
    select c.tenant, c.new_id, m.epoch, m.busy, m.taken_at from copy c
    join cxplane.mailbox m on m.tenant = c.tenant and m.stream = c.id;
insert into cxplane.timer (tenant, run, name, due, fired)
    select c.tenant, c.new_id, t.name, t.due, t.fired from copy c join cxplane.timer t on t.tenant = c.tenant and t.run = c.id;
insert into cxplane.listen (tenant, run, type, key)
    select c.tenant, c.new_id, l.type, c.new_ref from copy c join cxplane.listen l on l.tenant = c.tenant and l.run = c.id;
drop table seed, copy;
analyze cxplane.run, cxplane.mailbox, cxplane.timer, cxplane.listen;
"""

KILL = signal.SIGKILL
