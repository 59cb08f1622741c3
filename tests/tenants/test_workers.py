"""Two tenants with workers on one Postgres: nobody takes, or is woken by, the work of the other."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.postgres.access import open_access
from cxplane.adapters.postgres.migrate import script
from cxplane.adapters.postgres.work import PgQueuerWork
from cxplane.loop.at_hand import AtHand
from cxplane.loop.legs import Legs
from cxplane.ports.work import Job
from cxplane.wiring import Settings, open_plane
from tests.connectors.fake import FakeSystem
from tests.loop.journeys import Country, journeys
from tests.loop.world import release

TENANTS = ("acme", "bravo")
RUNS = 40


def files_of(tenant: str) -> dict[str, str]:
    files = journeys()
    return files | {"plane.yaml": files["plane.yaml"].replace("tenant: acme", f"tenant: {tenant}")}


@asynccontextmanager
async def two(dsn: str, planes: int) -> AsyncIterator[dict[str, Country]]:
    """For each tenant a billing system and so many planes with workers; the first of them is what a test talks to."""
    async with AsyncExitStack() as stack:
        found: dict[str, Country] = {}
        for tenant in TENANTS:
            billing = await FakeSystem().start()
            stack.push_async_callback(billing.stop)
            settings = Settings(dsn=dsn, tenant=tenant, work=True, system_urls={"billing": billing.url})
            await release(settings, files_of(tenant))
            for _ in range(planes):
                plane = await stack.enter_async_context(open_plane(settings))
                found.setdefault(tenant, Country(plane, billing, settings))
            await found[tenant].know()
        yield found


@pytest.mark.timeout(150)
async def test_two_tenants_with_workers_under_load_do_each_its_own_work(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken: Counter[tuple[str, str]] = Counter()
    work = Legs.work

    async def watched(self: Legs, job: Job) -> None:
        taken[self._gate.tenant, job.payload["tenant"]] += 1
        await work(self, job)

    monkeypatch.setattr(Legs, "work", watched)
    monkeypatch.setattr(AtHand, "room", lambda self: False)  # all of it through the queue
    with caplog.at_level(logging.WARNING):
        async with two(dsn, planes=2) as at:
            for country in at.values():
                country.billing.pause_s = 0.05
            started: dict[str, list[str]] = {tenant: [] for tenant in TENANTS}

            async def begin(tenant: str, n: int) -> None:
                started[tenant].append(await at[tenant].dispute(f"d{n}"))  # the same business keys at both

            await asyncio.gather(*(begin(tenant, n) for n in range(RUNS) for tenant in TENANTS))
            for tenant in TENANTS:
                for run in started[tenant]:
                    assert (await at[tenant].until(run, within_s=60)).run.status == "done"
            for tenant in TENANTS:
                assert len(at[tenant].billing.credits) == RUNS
            link = await asyncpg.connect(dsn)
            for _ in range(200):  # the engine clears away what is done in batches, a moment later
                left = await link.fetch(
                    "select entrypoint, status::text from cxplane.pgqueuer where status <> 'queued'"
                )
                if not left:
                    break
                await asyncio.sleep(0.1)
            await link.close()
    assert left == []
    assert set(taken) == {(t, t) for t in TENANTS}
    assert min(taken.values()) >= RUNS
    assert [r.message for r in caplog.records if r.name.startswith("cxplane.work")] == []


async def test_jobs_of_one_key_in_two_tenants_are_two(dsn: str) -> None:
    async with two(dsn, planes=1) as at:
        done: list[tuple[str, Any]] = []
        tasks = []
        for tenant in TENANTS:
            engine = at[tenant].plane._background._work

            async def note(job: Job, tenant: str = tenant) -> None:
                done.append((tenant, job.payload))

            tasks.append(asyncio.create_task(engine.run({"note": note})))
            await engine.enqueue("k", "note", {"of": tenant})
        try:
            for _ in range(200):
                if len(done) >= 2:
                    break
                await asyncio.sleep(0.05)
            assert sorted(done, key=str) == [(t, {"of": t}) for t in TENANTS]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_wake_ups_that_waited_before_jobs_had_tenants_are_done_after(empty_dsn: str) -> None:
    link = await asyncpg.connect(empty_dsn)
    await link.execute("create schema cxplane")
    await link.execute(script(None, "0002"))
    await link.execute("select cxplane.ensure_month(date_trunc('month', now())::date)")
    for tenant in TENANTS:
        started = (
            f'[{{"t": "{tenant}", "u": ["r1", "j", null], "e": [{{"k": "run.started", "s": "r1",'
            f' "a": "{datetime.now(UTC).isoformat()}", "r": "x", "b": {{"journey": "j", "started_by": "x"}}, "p": {{}}}}]}}]'
        )
        await link.execute("select cxplane.append($1, '{}', '{}', '{}', '{}', '{}', '{}')", started)
    await link.execute(
        "insert into cxplane.pgqueuer (priority, entrypoint, payload, dedupe_key, status)"
        " values (0, 'resolve_outcome', '[\"r\", {}]', 'resolve_outcome|r', 'queued')"
    )
    assert await link.fetchval("select count(*) from cxplane.pgqueuer where entrypoint = 'leg'") == 2
    await link.close()
    seen: list[tuple[str, str, Any]] = []
    for tenant in TENANTS:
        access = await open_access(empty_dsn, tenant)
        engine = PgQueuerWork(empty_dsn, access)

        async def note(job: Job, tenant: str = tenant) -> None:
            seen.append((tenant, job.key, job.payload))

        assert [(s.kind, s.status, s.count) for s in await engine.inspect()] == [("leg", "queued", 1)]
        task = asyncio.create_task(engine.run({"leg": note}))
        for _ in range(200):
            if seen and seen[-1][0] == tenant:
                break
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await engine.aclose()
    assert seen == [(t, "r1", {"tenant": t, "run": "r1"}) for t in TENANTS]
