"""A loop over a long list, on a real store: what is written of each round does not grow with the list."""

from __future__ import annotations

import asyncio

import asyncpg

from cxplane.wiring import open_plane
from tests.loop.journeys import Country, country

ROUNDS = """
journey: rounds
version: 1
summary: Waits at each item
owner: care
customer: none
input: {type: object, required: [items], properties: {items: {type: array, items: {type: object}}}}
do:
  - each:
      for: {each: one, in: input.items}
      do:
        - seen: {set: {last: one.order}}
        - nap: {wait: 1ms}
"""


async def largest(dsn: str, run: str, rounds: int) -> int:
    """Bytes of the largest entry of the run, as soon as it has gone so many rounds."""
    link = await asyncpg.connect(dsn)
    try:
        while True:
            n, size = await link.fetchrow(
                "select count(*), max(pg_column_size(e.*)) from cxplane.entry e where stream = $1 and kind = 'run.advanced'",
                run,
            )
            if n >= rounds:
                return int(size)
            await asyncio.sleep(0.05)
    finally:
        await link.close()


async def test_an_entry_of_a_loop_is_as_small_for_a_thousand_items_as_for_ten(dsn: str) -> None:
    async with country(dsn, rounds=ROUNDS) as here:
        sizes = []
        for many in (10, 1000):
            run = await here.start("rounds", customer=None, items=[{"order": f"o-{n:04}"} for n in range(many)])
            sizes.append(await asyncio.wait_for(largest(dsn, run, 8), 60))
            await here.plane.steer(here.maria, run, "suspend")
        assert sizes[1] <= sizes[0] + 50


async def test_a_loop_goes_on_with_its_next_item_in_another_process(dsn: str) -> None:
    async with country(dsn, rounds=ROUNDS) as here:
        run = await here.start("rounds", customer=None, items=[{"order": f"o-{n:04}"} for n in range(30)])
        await asyncio.wait_for(largest(dsn, run, 3), 60)
        await here.plane.steer(here.maria, run, "suspend")
        await here.until(run, "suspended")
        async with open_plane(here.settings) as other:
            there = Country(other, here.billing, here.settings)
            await other.steer(there.maria, run, "resume")
            assert (await there.until(run)).run.status == "done"
        _, _, state = await here.plane.store.runs.get("acme", run) or (None, None, None)
        assert state is not None and state["vars"] == {"last": "o-0029"} and state["visits"]["nap"] == 30
