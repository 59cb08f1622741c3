"""Journeys that start themselves, and runs that go round: on a real plane, they end at a person."""

from __future__ import annotations

import asyncio

from cxplane.domain.run import RunRow
from tests.loop.journeys import Country, country, journeys
from tests.loop.world import release

ECHO = """
journey: echo
version: 1
summary: Starts itself by what it emits
owner: care
customer: none
input: {type: object}
start: [{signal: echo.heard}]
do:
  - again: {emit: {signal: echo.heard, key: "'k'"}}
"""
PING, PONG = (
    f"""
journey: {name}
version: 1
summary: Starts the other one
owner: care
customer: none
input: {{type: object}}
start: [{{signal: {name}.wanted}}]
do:
  - other: {step}
"""
    for name, step in (("ping", "{emit: {signal: pong.wanted, key: \"'k'\"}}"), ("pong", "{run: ping, wait: false}"))
)
TWINS = ECHO.replace("journey: echo", "journey: twins") + "  - too: {emit: {signal: echo.heard, key: \"'k'\"}}\n"
NAPS = """
journey: naps
version: 1
summary: Waits a moment, again and again
owner: care
customer: none
input: {type: object}
do:
  - nap: {wait: 10ms}
  - again: {switch: [{on: {when: "true", then: nap}}]}
"""


async def bound(here: Country, files: dict[str, str], bounds: str) -> None:
    """A release of the same with these bounds of journeys, and it is live."""
    await release(here.settings, {**files, "plane.yaml": files["plane.yaml"] + f"journeys: {{{bounds}}}\n"})
    await here.plane.live.follow()


async def stuck(here: Country) -> RunRow:
    """The one run that is stuck in the end."""
    while True:
        found, _ = await here.plane.runs(here.maria, stuck=True)
        if found:
            return found[0]
        await asyncio.sleep(0.02)


async def naps(here: Country, run: str) -> int:
    found = await here.plane.store.runs.get("acme", run)
    assert found is not None and found[2] is not None
    return int(found[2]["visits"]["nap"])


async def all_runs(here: Country) -> list[RunRow]:
    found, _ = await here.plane.runs(here.maria, limit=100)
    return list(found)


async def test_a_journey_that_starts_itself_comes_to_a_person_at_the_depth_that_the_plane_allows(dsn: str) -> None:
    async with country(dsn, echo=ECHO) as here:
        await here.signal("echo.heard", "k")
        run = await asyncio.wait_for(stuck(here), 30)
        assert (run.error, run.at) == ("runaway at step again", ("again",))
        assert len(await all_runs(here)) == 17
        assert await here.plane.store.runs.depth("acme", run.id) == 16
        view = await here.view(run.id)
        assert view.error is not None and "is 16 deep" in view.error["text"] and "plane.yaml" in view.error["text"]
        assert {"retry", "skip", "cancel"} <= {one["do"] for one in view.frees}
        await here.plane.steer(here.maria, run.id, "skip")
        assert (await here.until(run.id)).run.status == "done"
        assert len(await all_runs(here)) == 17


async def test_so_does_a_ring_of_journeys_at_the_depth_that_the_operator_wrote(dsn: str) -> None:
    files = journeys(ping=PING, pong=PONG)
    async with country(dsn, ping=PING, pong=PONG) as here:
        await here.signal("ping.wanted", "k")
        run = await asyncio.wait_for(stuck(here), 30)
        assert (run.journey, run.error) == ("ping", "runaway at step other")
        assert len(await all_runs(here)) == 17
        await here.plane.steer(here.maria, run.id, "cancel")
        await here.until(run.id)
        await bound(here, files, "depth: 3")
        await here.signal("ping.wanted", "k", id="2")
        run = await asyncio.wait_for(stuck(here), 30)
        assert (run.journey, run.error) == ("pong", "runaway at step other")
        assert len(await all_runs(here)) == 17 + 4


async def test_a_journey_that_starts_itself_twice_stops_at_as_many_runs_as_the_plane_allows(dsn: str) -> None:
    files = journeys(twins=TWINS)
    async with country(dsn, twins=TWINS) as here:
        await bound(here, files, "runs: 10")
        await here.signal("echo.heard", "k")
        async with asyncio.timeout(60):
            while any(run.status not in ("done", "stuck") for run in await all_runs(here)):
                await asyncio.sleep(0.05)
        found = await all_runs(here)
        assert len(found) == 1 + 2 + 4 + 10  # at depth 0, 1 and 2, and deeper
        started = {run.id: (await here.plane.store.stream("acme", run.id))[0].body for run in found}
        [first] = [id for id, body in started.items() if "root" not in body]
        assert {body["root"] for id, body in started.items() if id != first} == {first}
        stuck = [run for run in found if run.status == "stuck"]
        view = await here.view(stuck[0].id)
        assert view.error is not None and "has led to 10 already" in view.error["text"]
        assert {"retry", "cancel"} <= {one["do"] for one in view.frees}
        for run in stuck:
            await here.plane.steer(here.maria, run.id, "cancel")
            assert (await here.until(run.id)).run.status == "cancelled"
        assert len(await all_runs(here)) == 17


async def test_a_run_that_was_one_too_many_goes_on_where_the_operator_allows_more(dsn: str) -> None:
    files = journeys(ping=PING, pong=PONG)
    async with country(dsn, ping=PING, pong=PONG) as here:
        await bound(here, files, "depth: 6, runs: 1")
        await here.signal("ping.wanted", "k")
        run = await asyncio.wait_for(stuck(here), 30)
        assert run.error is not None and len(await all_runs(here)) == 4
        await bound(here, files, "depth: 6, runs: 4")
        await here.plane.steer(here.maria, run.id, "retry")
        assert (await here.until(run.id)).run.status == "done"
        last = await asyncio.wait_for(stuck(here), 30)
        assert last.error == "runaway at step other" and len(await all_runs(here)) == 7


async def test_what_a_run_sent_and_started_is_told_by_the_record(dsn: str) -> None:
    async with country(dsn, echo=ECHO) as here:
        told = await here.signal("echo.heard", "k")
        last = await asyncio.wait_for(stuck(here), 30)
        entry, chain = (await here.plane.store.stream("acme", last.id))[0], 0
        while entry.kind == "signal" or entry.cause != told["id"]:
            assert entry.cause is not None
            entry = (await here.plane.store.stream("acme", entry.cause))[0]
            chain += entry.kind == "run.started"
        assert chain == 16


async def test_a_run_that_waits_a_moment_in_a_loop_is_stuck_and_a_higher_bound_lets_it_go_on(dsn: str) -> None:
    files = journeys(naps=NAPS)
    async with country(dsn, naps=NAPS) as here:
        await bound(here, files, "steps: 10, within: 1h")
        run = await here.start("naps", customer=None)
        view = await here.until(run, "stuck")
        assert view.run.error == "runaway at step nap" and await naps(here, run) == 5
        assert [t.what for t in (await here.plane.tasks(here.maria))[0]] == ["stuck"]
        await here.plane.steer(here.maria, run, "retry")
        while await naps(here, run) < 10 or (await here.view(run)).run.status != "stuck":
            await asyncio.sleep(0.02)
        assert await naps(here, run) == 10
        await release(here.settings, files)
        await here.plane.live.follow()
        await here.plane.steer(here.maria, run, "retry")
        while await naps(here, run) < 20:
            await asyncio.sleep(0.02)
        await here.plane.steer(here.maria, run, "cancel")
        assert (await here.until(run)).run.status == "cancelled"
