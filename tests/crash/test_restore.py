"""A store lost under load and restored from a backup: what was under way comes to its end, and nothing is done twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.postgres.restore import JUMP
from cxplane.wiring import Settings, back_up, open_plane, restore
from tests.crash.land import LEASE, Land, land
from tests.loop.journeys import Country


def silent(done: int, total: int, what: str) -> None:
    pass


async def rows(dsn: str, text: str) -> list[Any]:
    link = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await link.fetch(text)]
    finally:
        await link.close()


@pytest.mark.timeout(170)
async def test_a_store_lost_under_load_goes_on_from_its_backup_and_nothing_is_done_twice(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "store.backup"
    async with land(dsn, tmp_path) as world:
        billing = world.billing
        billing.pause_s = 0.1
        await world.worker()
        parked = await world.here.start("parked", claim_id="c1", customer=None)
        count, left = 0, 1000

        async def load() -> None:
            nonlocal count, left
            while left:
                left -= 1
                await world.here.dispute(f"d{count}")
                count += 1
                await asyncio.sleep(0.02)

        loading = asyncio.create_task(load())
        while len(billing.credits) < 20:
            await asyncio.sleep(0.01)
        done_before = len(billing.credits)
        await back_up(Settings(dsn=dsn), file, silent)
        left = 10  # the load goes on after the backup
        await loading
        while len(billing.credits) < 2 * count:  # and some is under way at the end
            await asyncio.sleep(0.01)
        for worker in world.workers:
            worker.kill()
            worker.wait()

        settings = Settings(dsn=empty_dsn, work=False, system_urls={"billing": billing.url}, lease=LEASE)
        await restore(settings, file, silent, by="test")
        known = await rows(empty_dsn, "select id from cxplane.run where journey = 'dispute'")
        under_way = await rows(empty_dsn, "select id from cxplane.run where journey = 'dispute' and status <> 'done'")
        intents = await rows(empty_dsn, "select count(*) from cxplane.entry where kind = 'decision' and body ? 'due'")
        assert under_way and len(known) < count, "the backup was not taken in the middle"
        assert len(billing.credits) > intents[0] >= done_before, "nothing was done that the backup does not know"

        async with open_plane(settings) as plane:
            after = Land(empty_dsn, billing, settings, tmp_path / "after.log")
            after.country = Country(plane, billing, settings)
            try:
                await after.worker()
                await after.worker()
                await after.here.signal("claim.document", "c1")
                await after.all_done([*known, parked], 60)
                # what the store does not know any more is asked again by who did not get an answer
                again = [await after.here.dispute(f"d{n}") for n in range(count)]
                await after.all_done(again, 60)
            finally:
                for worker in after.workers:
                    worker.kill()
                    worker.wait()
        assert after.effects() == {"/flags": count, "/credits": count, "/notes": count}
        twice = await rows(
            empty_dsn,
            "select stream from cxplane.entry where kind = 'outcome' and body ->> 'status' = 'done' group by 1 having count(*) > 1",
        )
        assert twice == []
        # no number of an entry stands for two
        lost = set(await rows(dsn, "select position from cxplane.entry"))
        new = set(await rows(empty_dsn, f"select position from cxplane.entry where position > {JUMP}"))
        assert new and not lost & new
