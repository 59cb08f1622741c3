"""A business system that is gone for a minute under runs that need it. Everything here is a process of its own."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.crash.land import land
from tests.crash.plane import free_port
from tests.crash.system import Outside

DOWN_S = 60.0
PATHS = ("/flags", "/credits", "/notes")
# the seventh and the twelfth write are done and never answered, so that it dies owing two answers
FAULTS = [*["-"] * 6, "hang_after_commit", *["-"] * 4, "hang_after_commit"]


@pytest.mark.long
@pytest.mark.timeout(175)
async def test_a_system_that_is_down_for_a_minute_costs_a_minute_and_nobody_has_to_act(
    dsn: str, tmp_path: Path
) -> None:
    system = Outside(tmp_path / "books", free_port(), pause_s=0.3)
    await system.up(*FAULTS)
    try:
        async with land(dsn, tmp_path, system=system.url) as world:
            world.lease_s = 6.0  # two busy cores must not look like a dead worker
            await world.worker()
            names, runs = [], []
            for wave in range(4):  # so that it goes away under each of the three steps
                names += (fresh := [f"d{wave}-{n}" for n in range(4)])
                runs += await asyncio.gather(*(world.here.dispute(name) for name in fresh))
                await asyncio.sleep(0.25)
            while {path for path, _ in system.done()} != set(PATHS) or len(system.done()) < 14:
                await asyncio.sleep(0.01)
            system.down()
            gone = time.monotonic()
            before = system.done()
            assert not await system.answers() and len(before) < 3 * len(names)
            names += (late := [f"late-{n}" for n in range(3)])
            runs += await asyncio.gather(*(world.here.dispute(name) for name in late))

            while time.monotonic() - gone < DOWN_S:
                assert not await system.answers()
                await asyncio.sleep(1)
            assert system.done() == before
            found = await world.ask("select status, count(*) as n from cxplane.run group by 1")
            standing = {r["status"]: r["n"] for r in found}
            why = await world.ask("select run, step, told from cxplane.task where status = 'open'")
            assert standing.get("waiting", 0) >= len(late), standing
            assert set(standing) <= {"waiting", "done"}, f"{standing}: {[tuple(r) for r in why]}\n{world.told()}"

            await system.up()
            await world.all_done(runs, 90)
            assert sorted(system.done()) == sorted((path, name) for path in PATHS for name in names)
            # a request is done, or was certainly not done and asked anew by its run; none is left open or for a person
            stands = await world.ask("select status, count(*) as n from cxplane.request group by 1")
            counts = {r["status"]: r["n"] for r in stands}
            assert counts["done"] == len(names) * len(PATHS) and set(counts) <= {"done", "failed"}, counts
            await world.nobody_acted()
    finally:
        system.down()
