"""A worker begins at once with what it starts; whatever it does not come to is in the queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from cxplane.domain.errors import StoreUnavailable
from cxplane.domain.record import AppendResult, Write
from cxplane.loop.at_hand import AtHand
from cxplane.loop.legs import Legs
from cxplane.wiring import open_plane
from tests.loop.journeys import Country, country

PARENT = """
journey: parent
version: 1
summary: Starts another one
owner: care
input: {type: object}
do:
  - both:
      run: dispute
      with: {account_id: "'a1'", dispute_id: "'d9'", amount: "500"}
"""


class Queue:
    """What goes through the queue of a plane."""

    def __init__(self, here: Country, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[str] = []
        take = here.plane.store.runs.take

        async def taking(tenant: str, id: str) -> Any:
            self.taken.append(id)
            return await take(tenant, id)

        monkeypatch.setattr(here.plane.store.runs, "take", taking)


def hand(here: Country) -> AtHand:
    found: AtHand = here.plane.triggers._at_hand
    return found


async def rows(here: Country, sql: str) -> list[Any]:
    link = await asyncpg.connect(here.settings.dsn)
    try:
        return [tuple(r) for r in await link.fetch(sql)]
    finally:
        await link.close()


async def waiting(here: Country) -> list[str]:
    """Runs whose wake-ups are in the queue."""
    found = await rows(here, "select dedupe_key from cxplane.pgqueuer where entrypoint like 'leg%'")
    return [key.partition("|")[2] for (key,) in found]


async def done_by_another(here: Country, run: str) -> None:
    async with open_plane(here.settings) as plane:
        assert (await Country(plane, here.billing, here.settings).until(run)).run.status == "done"


async def test_what_is_started_here_is_worked_here(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with country(dsn, parent=PARENT) as here:
        queue = Queue(here, monkeypatch)
        here.billing.pause_s = 0.5
        run = await here.dispute()
        await here.plane.health.measure()
        assert b"cxplane_runs_at_hand 1.0" in here.plane.telemetry.render()[0]
        told = await here.signal("dispute.opened", "d2", customer="c1", account="a1", amount=100)
        for one in (run, *told["runs_started"]):
            assert (await here.until(one)).run.status == "done"
        assert queue.taken == []
        while hand(here).count:  # the end is on record a moment before the worker knows
            await asyncio.sleep(0.01)
        await here.plane.health.measure()
        assert b"cxplane_runs_at_hand 0.0" in here.plane.telemetry.render()[0]
        assert len(here.billing.credits) == 2
        assert await waiting(here) == []


async def test_what_a_run_starts_is_at_hand_as_well_and_wakes_it_through_the_queue(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with country(dsn, parent=PARENT) as here:
        queue = Queue(here, monkeypatch)
        run = await here.start("parent")
        assert (await here.until(run)).run.status == "done"
        assert set(queue.taken) == {run}


async def test_a_plane_that_does_not_work_leaves_it_to_who_does(dsn: str) -> None:
    async with country(dsn) as here:
        await here.plane.stop()
        async with open_plane(replace(here.settings, work=False)) as plane:
            asks = Country(plane, here.billing, here.settings)
            run = await asks.dispute()
            assert await waiting(here) == [run]
            assert (await asks.view(run)).run.status == "ready"
        await done_by_another(here, run)


async def test_without_room_it_goes_through_the_queue(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with country(dsn) as here:
        queue = Queue(here, monkeypatch)
        monkeypatch.setattr(hand(here), "_most", 0)
        run = await here.dispute()
        assert (await here.until(run)).run.status == "done"
        assert queue.taken == [run]


async def test_others_about_get_most_of_it(dsn: str) -> None:
    async with country(dsn) as here, open_plane(here.settings):
        mine = hand(here)
        mine._most = 8
        assert mine.room()
        while not mine._others:
            await mine._beat()
            await asyncio.sleep(0.05)
        assert mine._others == 1 and mine.room()
        mine._under_way[asyncio.create_task(asyncio.sleep(0))] = ("x", 0.0)
        assert not mine.room()


async def test_a_leg_that_fails_goes_into_the_queue(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with country(dsn) as here:
        queue = Queue(here, monkeypatch)
        program, failed = Legs._program, []

        async def failing(self: Legs, release: str, journey: str) -> Any:
            if not failed:
                failed.append(journey)
                raise RuntimeError("no")
            return await program(self, release, journey)

        monkeypatch.setattr(Legs, "_program", failing)
        run = await here.dispute()
        assert (await here.until(run)).run.status == "done"
        assert failed and queue.taken == [run]


async def test_one_whose_start_was_not_answered_is_not_left_lying(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with country(dsn) as here:
        queue = Queue(here, monkeypatch)
        store = here.plane.store
        append = store.append

        async def lost(write: Write) -> AppendResult:
            result = await append(write)
            if write.new_run is not None:
                raise StoreUnavailable("the answer was lost")
            return result

        with monkeypatch.context() as patch:
            patch.setattr(store, "append", lost)
            with pytest.raises(StoreUnavailable):
                await here.dispute()
        [(run,)] = await rows(here, "select id from cxplane.run")
        assert (await here.until(run)).run.status == "done"
        assert queue.taken == [run]


async def test_a_worker_that_stops_ends_what_it_can_and_gives_back_the_rest(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxplane.loop.at_hand.GRACE_S", 0.3)
    async with country(dsn) as here:
        here.billing.pause_s = 0.1
        quick = await here.dispute("d1")
        await here.until(quick)
        here.billing.pause_s = 2.0
        slow = await here.dispute("d2")
        await asyncio.sleep(0.1)
        await here.plane.stop()
        assert await rows(here, "select id from cxplane.worker") == []
        assert await waiting(here) == [slow]
        here.billing.pause_s = 0.0
        async with open_plane(here.settings) as plane:
            view = await Country(plane, here.billing, here.settings).until(slow)
            assert view.run.status == "done" and len(here.billing.credits) == 2


async def test_one_that_takes_long_is_not_taken_away_from_a_worker_that_lives(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxplane.loop.at_hand.LONG_S", 0.1)
    async with country(dsn) as here:
        queue = Queue(here, monkeypatch)
        here.billing.pause_s = 0.7
        run = await here.dispute()
        for _ in range(5):
            await asyncio.sleep(0.12)
            await hand(here)._beat()
            await here.plane.store.runs.revive(here.plane.clock.now() - timedelta(seconds=0.5))
        assert (await here.until(run)).run.status == "done"
        assert queue.taken == []


async def test_the_caller_is_not_known_to_the_leg(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leg is nobody's request: neither its context nor its end hangs on who started it."""
    from cxplane.ports.telemetry import FOLLOWED, Followed

    async with country(dsn) as here:
        met: list[Any] = []
        begin = Legs.begin

        async def looking(self: Legs, taken: Any) -> None:
            met.append(FOLLOWED.get(None))
            await begin(self, taken)

        monkeypatch.setattr(hand(here), "_work", looking.__get__(here.plane._background._legs))
        token = FOLLOWED.set(Followed("req_1", "acme"))
        try:
            run = await here.dispute()
        finally:
            FOLLOWED.reset(token)
        assert (await here.until(run)).run.status == "done"
        assert met == [None]


async def test_a_start_that_is_repeated_in_vain_leaves_the_run_where_it_is(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with country(dsn) as here:
        queue = Queue(here, monkeypatch)
        here.billing.pause_s = 0.5
        run = await here.dispute()
        with pytest.raises(StoreUnavailable), hand(here).starting(run):
            raise StoreUnavailable("the answer was lost")
        await hand(here)._beat()
        assert (await here.until(run)).run.status == "done"
        await hand(here)._beat()
        assert queue.taken == [] and len(here.billing.calls("POST")) == 1


async def test_a_start_on_its_way_while_the_worker_stops_is_not_left_lying(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with country(dsn) as here:
        store = here.plane.store
        append = store.append

        async def slow(write: Write) -> AppendResult:
            result = await append(write)
            if write.new_run is not None:
                await asyncio.sleep(0.4)
            return result

        with monkeypatch.context() as patch:
            patch.setattr(store, "append", slow)
            starting = asyncio.create_task(here.dispute())
            await asyncio.sleep(0.2)
            await here.plane.stop()
            run = await starting
        assert await waiting(here) == [run]
        await done_by_another(here, run)


async def test_no_more_are_at_hand_than_there_is_room_for(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with country(dsn) as here:
        queue = Queue(here, monkeypatch)
        monkeypatch.setattr(hand(here), "_most", 2)
        here.billing.pause_s = 0.3
        runs = await asyncio.gather(*(here.dispute(f"d{n}") for n in range(12)))
        assert 1 <= hand(here).count <= 2
        for run in runs:
            assert (await here.until(run)).run.status == "done"
        assert len(set(queue.taken)) >= 10
