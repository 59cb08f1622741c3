"""Journeys survive: real worker processes, a real Postgres, a system that misbehaves. Nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from cxplane.wiring import Settings, open_plane
from tests.crash.land import LEASE, Land, land


async def _settles(world: Land, run: str, within_s: float = 30) -> None:
    await world.all_done([run], within_s)
    assert world.effects() == {"/flags": 1, "/credits": 1, "/notes": 1}
    entries = await world.here.plane.store.stream("acme", run)
    view = await world.here.view(run)
    assert [d["step"] for d in view.did] == ["flag", "credit", "note"]
    assert view.goals["settled"]["achieved"] is True
    assert sum(e.kind == "run.started" for e in entries) == 1
    for did in view.did:  # complete and once: asked, decided, done
        kinds = Counter(e.kind for e in await world.here.plane.store.stream("acme", did["request"]))
        assert kinds == {"request": 1, "decision": 1, "outcome": 1}, kinds


@pytest.mark.timeout(120)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("n", range(1, 5))
async def test_a_worker_killed_between_any_two_commits_of_a_dispute_leaves_one_of_each(
    dsn: str, tmp_path: Path, n: int, when: str
) -> None:
    """Four commits: flag asked; flag done and credit asked; credit done and note asked; note done and the end."""
    async with land(dsn, tmp_path) as world:
        victim = await world.worker("kill", when, str(n))
        run = await world.here.dispute()
        assert await world.gone(victim), "it did not come to that commit"
        await world.worker()
        await _settles(world, run)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("n", range(1, 5))
async def test_the_same_where_it_had_started_the_dispute_itself(dsn: str, tmp_path: Path, n: int, when: str) -> None:
    async with land(dsn, tmp_path) as world:
        victim = await world.worker("kill", when, str(n), "run_d1")
        assert await world.gone(victim), "it did not come to that commit"
        assert await world.ask("select 1 from cxplane.pgqueuer where entrypoint like 'leg%'") == []  # it had it at hand
        await world.worker()
        await _settles(world, "run_d1")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("n", [1, 3])
async def test_a_worker_paused_past_its_lease_loses_what_it_has_at_hand(dsn: str, tmp_path: Path, n: int) -> None:
    async with land(dsn, tmp_path) as world:
        paused = await world.worker("stop", "after", str(n), "run_d1")
        await world.worker()
        await _settles(world, "run_d1")
        writes = len(world.billing.calls("POST"))
        paused.send_signal(signal.SIGCONT)
        await asyncio.sleep(2)
        assert len(world.billing.calls("POST")) == writes
        assert paused.poll() is None, "and it works on"


async def test_there_are_exactly_the_commits_that_the_test_above_kills_at(dsn: str, tmp_path: Path) -> None:
    async with land(dsn, tmp_path) as world:
        victim = await world.worker("kill", "before", "5")
        run = await world.here.dispute()
        await _settles(world, run)
        assert victim.poll() is None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", ["/flags", "/credits", "/notes"])
async def test_a_worker_killed_while_a_system_works_leaves_one_of_each(dsn: str, tmp_path: Path, step: str) -> None:
    async with land(dsn, tmp_path) as world:
        world.billing.pause_s = 0.5
        victim = await world.worker()
        run = await world.here.dispute()
        while not any(s.path == step for s in world.billing.seen):
            await asyncio.sleep(0.01)
        victim.kill()
        await world.worker()
        await _settles(world, run)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("n", [1, 2, 3])
async def test_a_worker_paused_past_its_lease_does_not_act_on_what_it_lost(dsn: str, tmp_path: Path, n: int) -> None:
    async with land(dsn, tmp_path) as world:
        paused = await world.worker("stop", "after", str(n))  # its intent is on record, its call not made
        run = await world.here.dispute()
        for _ in range(200):
            if "T" in Path(f"/proc/{paused.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]:
                break
            await asyncio.sleep(0.05)
        await world.worker()
        await _settles(world, run)
        writes = len(world.billing.calls("POST"))
        entries = len(await world.here.plane.store.stream("acme", run))
        paused.send_signal(signal.SIGCONT)
        await asyncio.sleep(2)
        assert len(world.billing.calls("POST")) == writes
        assert len(await world.here.plane.store.stream("acme", run)) == entries
        assert paused.poll() is None, "and it works on"
        other = await world.here.dispute("d2")
        await world.all_done([other], 20)


@pytest.mark.timeout(170)
async def test_one_of_two_workers_killed_with_two_hundred_runs_in_flight(dsn: str, tmp_path: Path) -> None:
    async with land(dsn, tmp_path) as world:
        world.billing.pause_s = 0.6
        world.lease_s = 6.0  # two busy cores must not look like a dead worker
        first, _second = await world.worker(), await world.worker()
        runs = list(await asyncio.gather(*(world.here.dispute(f"d{n}") for n in range(200))))
        while len(world.billing.calls("POST")) < 120:
            await asyncio.sleep(0.02)
        first.kill()
        await world.all_done(runs, 60)
        assert world.effects() == {"/flags": 200, "/credits": 200, "/notes": 200}
        # the same key may come twice (once by the dead, once by who looked into it), never two at once by the living
        assert world.billing.keys_at_once == 0, world.log.read_text()[-6000:]


@pytest.mark.timeout(170)
async def test_postgres_restarted_under_load_loses_and_repeats_nothing(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "store", serve=True)  # looks after its server and starts it again
    async with postgres as dsn, land(dsn, tmp_path) as world:
        world.billing.pause_s = 0.1
        await world.worker()
        runs = list(await asyncio.gather(*(world.here.dispute(f"d{n}") for n in range(60))))
        for wanted in (30, 90):
            while len(world.billing.credits) < wanted:
                await asyncio.sleep(0.02)
            pid = postgres.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            while postgres.pid in (pid, None):
                await asyncio.sleep(0.02)
        await world.all_done(runs, 90)
        assert world.effects() == {"/flags": 60, "/credits": 60, "/notes": 60}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "faults",
    [
        ["503"] * 8,
        ["slow"] * 3,
        ["twice"] * 3,
        ["drop_after_commit"] * 3,
        ["hang_after_commit", "drop_before", "cut"],
        ["garbage", "not_http", "500"],
    ],
    ids=["down", "slow", "answers twice", "lost after commit", "hangs after commit", "nonsense"],
)
async def test_a_system_that_misbehaves_is_waited_for_and_does_each_thing_once(
    dsn: str, tmp_path: Path, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxplane.journeys.errors.FIRST", timedelta(seconds=0.5))
    async with land(dsn, tmp_path) as world:
        world.billing.fail("write", *faults)
        async with open_plane(Settings(dsn=dsn, system_urls=world.settings.system_urls, lease=LEASE)):
            run = await world.here.dispute()
            await world.all_done([run], 60)
        assert world.effects() == {"/flags": 1, "/credits": 1, "/notes": 1}


@pytest.mark.timeout(175)
async def test_ten_thousand_parked_runs_survive_a_restart_and_all_wake(dsn: str, tmp_path: Path) -> None:
    async with land(dsn, tmp_path) as world:
        first, second = await world.worker(), await world.worker()
        runs: list[Any] = []
        for start in range(0, 10_000, 500):
            runs += await asyncio.gather(
                *(world.here.start("parked", claim_id=f"c{n}", customer=None) for n in range(start, start + 500))
            )
        link = await asyncpg.connect(dsn)
        try:
            end = time.monotonic() + 90
            while await link.fetchval("select count(*) from cxplane.run where status = 'waiting'") < len(runs):
                assert time.monotonic() < end, world.log.read_text()[-1500:]
                await asyncio.sleep(0.2)
            assert await link.fetchval("select count(*) from cxplane.timer") == len(runs)
            first.kill()
            second.kill()
            await world.worker()
            for start in range(0, 10_000, 500):
                await asyncio.gather(
                    *(world.here.signal("claim.document", f"c{n}", id=f"s{n}") for n in range(start, start + 500))
                )
            await world.all_done(runs, 90)
            assert await link.fetchval("select count(*) from cxplane.timer") == 0
            assert await link.fetchval("select count(*) from cxplane.inbox") == 0
        finally:
            await link.close()
