"""A plane says that it should be asked nothing when it cannot do its work, and why."""

from __future__ import annotations

import asyncio

import pytest

from cxplane.domain.errors import StoreUnavailable
from cxplane.loop import background, health
from cxplane.loop.health import NotReady
from tests.conftest import run_sql
from tests.loop.world import World, world


async def told(w: World) -> dict[str, str]:
    return {check.name: check.status for check in await w.plane.checks(w.plane.caller("person:maria"))}


async def test_a_plane_that_is_being_stopped_is_not_ready_and_still_answers(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        await w.plane.health.ready()
        w.plane.drain()
        with pytest.raises(NotReady, match="being stopped"):
            await w.plane.health.ready()
        assert (await told(w))["draining"] == "fail"
        assert (await w.ask()).status == "done"


async def test_a_store_that_hangs_is_said_not_to_answer_while_who_asks_still_listens(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.05)
    async with world(dsn) as w:
        monkeypatch.setattr(w.plane.store, "ping", asyncio.Event().wait)
        with pytest.raises(StoreUnavailable, match=r"does not answer within 0\.05 s"):
            await w.plane.health.ready()
        assert (await told(w))["store"] == "fail"
        monkeypatch.undo()
        await w.plane.health.ready()


async def test_a_background_that_stands_still_is_noticed_and_noticed_to_go_on(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "STUCK_S", 0.0)
    monkeypatch.setattr(background, "EVERY_S", 0.02)
    async with world(dsn, work=True) as w:
        await run_sql(dsn, "alter table cxplane.intent rename to elsewhere")
        while (await told(w))["background"] == "ok":
            await asyncio.sleep(0.05)
        with pytest.raises(NotReady, match=r"\(due\) has not gone on"):
            await w.plane.health.ready()
        await run_sql(dsn, "alter table cxplane.elsewhere rename to intent")
        while (await told(w))["background"] == "fail":
            await asyncio.sleep(0.05)
        await w.plane.health.ready()


async def test_a_system_whose_breaker_is_open_is_shown_and_no_reason_to_ask_another_plane(dsn: str) -> None:
    async with world(dsn, systems__billing=_TOUCHY) as w:
        await w.know()
        await w.billing.stop()
        while (await told(w))["system billing"] == "ok":
            await w.ask(dispute="d-down")
        await w.plane.health.ready()
        await w.plane.health.measure()
        text = w.plane.telemetry.render()[0].decode()
        assert 'cxplane_breaker{system="billing"} 2.0' in text
        assert 'cxplane_late_seconds{what="approval"} 0.0' in text


_TOUCHY = """
system: billing
owner: care
http: {base_url: "http://127.0.0.1:1"}
breaker: {failures: 1, open_for: 60s}
"""
