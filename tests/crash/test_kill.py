"""SIGKILL of a real plane between intent, call and outcome: nothing twice, nothing lost, nothing half-recorded."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from tests.crash.plane import Estate, estate

HERE = signal.SIGKILL


async def _killed_while(world: Estate, plane: object, seen: object) -> None:
    """Ask, wait until the system has seen what it should, kill the plane in the middle of the call."""
    asking = asyncio.create_task(world.ask(plane))  # type: ignore[arg-type]
    await world.until(seen)
    await asyncio.sleep(0.1)
    world.kill(plane)  # type: ignore[arg-type]
    with suppress(httpx.HTTPError):
        await asking


async def test_killed_while_facts_are_read_leaves_nothing_and_the_retry_does_it(dsn: str, tmp_path: Path) -> None:
    async with estate(dsn, tmp_path) as world:
        first = await world.start()
        await world.know(first)
        world.billing.fail("read", "hang")
        await _killed_while(world, first, lambda: world.billing.calls("GET"))
        second = await world.start()
        assert (await world.ask(second))["status"] == "done"
        assert len(world.billing.credits) == 1
        items = await world.ends(second, "done")
        assert len(items) == 1


async def test_killed_after_the_intent_before_the_system_did_it_is_done_once(dsn: str, tmp_path: Path) -> None:
    async with estate(dsn, tmp_path) as world:
        first = await world.start()
        await world.know(first)
        world.billing.fail("write", "hang")
        await _killed_while(world, first, lambda: world.billing.calls("POST"))
        assert world.billing.credits == {}
        second = await world.start()
        repeat = await world.ask(second)  # the impatient retry, before anybody has looked into it
        assert repeat["repeated"]
        items = await world.ends(second, "done")
        assert [one["id"] for one in items] == [repeat["id"]]
        assert len(world.billing.credits) == 1


async def test_killed_after_the_system_did_it_before_the_outcome_is_found_out_not_repeated(
    dsn: str, tmp_path: Path
) -> None:
    async with estate(dsn, tmp_path) as world:
        first, other = await world.start(), await world.start()
        await world.know(first)
        world.billing.fail("write", "hang_after_commit")
        await _killed_while(world, first, lambda: world.billing.credits)
        items = await world.ends(other, "done")  # the plane that is left looks into it
        assert len(items) == 1
        assert len(world.billing.calls("POST")) == 1
        async with world.client(other) as fin:
            told = (await fin.get(f"/v1/decisions/{items[0]['id']}/explain")).json()
        assert "confirm" in str(told)


async def test_a_plane_that_is_asked_to_stop_ends_what_it_began(dsn: str, tmp_path: Path) -> None:
    async with estate(dsn, tmp_path) as world:
        plane = await world.start()
        await world.know(plane)
        world.billing.fail("write", "slow")
        asking = asyncio.create_task(world.ask(plane))
        await world.until(lambda: world.billing.calls("POST"))
        world.kill(plane, signal.SIGTERM)
        assert plane.returncode == 0
        with suppress(httpx.HTTPError):
            await asking
        second = await world.start()
        items = await world.ends(second, "done", within_s=5)
        assert len(items) == 1
        assert len(world.billing.calls("POST")) == 1


async def test_a_plane_that_slept_past_its_lease_changes_nothing_when_it_wakes(dsn: str, tmp_path: Path) -> None:
    async with estate(dsn, tmp_path) as world:
        first, other = await world.start(), await world.start()
        await world.know(first)
        world.billing.fail("write", "slow")
        asking = asyncio.create_task(world.ask(first))
        await world.until(lambda: world.billing.calls("POST"))
        first.send_signal(signal.SIGSTOP)
        try:
            items = await world.ends(other, "done")
        finally:
            first.send_signal(signal.SIGCONT)
        with suppress(httpx.HTTPError):
            await asking
        async with world.client(other, "person:maria") as maria:
            entries = (await maria.get("/v1/entries", params={"stream": items[0]["id"], "limit": 100})).json()["items"]
        assert sum(e["kind"] == "outcome" for e in entries) == 1
        assert len(world.billing.credits) == 1


async def test_a_postgres_that_dies_under_load_costs_answers_but_no_effect_twice(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    os.chmod(tmp_path, 0o755)
    postgres = EmbeddedPostgres(folder, serve=True)
    dsn = await postgres.__aenter__()
    try:
        async with estate(dsn, tmp_path) as world:
            plane = await world.start()
            await world.know(plane)
            asking = [asyncio.create_task(_stubborn(world, plane, f"d{n}")) for n in range(8)]
            await world.until(lambda: len(world.billing.credits) >= 1)
            assert postgres.pid is not None
            os.kill(postgres.pid, HERE)
            told = await asyncio.gather(*asking)
            assert {one["decision"] for one in told} == {"allow"}
            await world.ends(plane, "done", count=8)
            assert len(world.billing.credits) == 8
    finally:
        await postgres.__aexit__(None, None, None)


async def _stubborn(world: Estate, plane: object, dispute: str) -> dict[str, object]:
    """A caller that asks again, with the same key, until it gets an answer."""
    for _ in range(150):
        try:
            told = await world.ask(plane, dispute=dispute)  # type: ignore[arg-type]
        except httpx.HTTPError:
            told = {"http": 0}
        if told["http"] in (200, 202):
            return told
        assert told["http"] in (0, 503), told
        await asyncio.sleep(0.2)
    raise AssertionError(f"no answer for {dispute}: {told}")
