"""The outfitter as its tests use it: a plane on a real store, in front of the real services, with shortened waits."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cxplane.control.release import build, go_live, make_release, run_gates
from cxplane.loop import Plane
from cxplane.wiring import Settings, expressions, open_plane, open_store, policy_engine
from examples.outfitter.running import SYSTEMS, Services, control_copy
from tests.examples.watching import Watching
from tests.replayed import differing

SPANS = {
    "within: 14d": "within: 1s",
    "within: 7d": "within: 1s",
    "within: 3d": "within: 20s",
    "within: 2d": "within: 1s",
}


@dataclass
class Shop(Watching):
    """A plane on a real store, in front of the services."""

    watcher: ClassVar[str] = "person:sven"
    services: Services
    plane: Plane
    settings: Settings

    async def order(
        self, customer: int, sku: str, pieces: int = 1, *, by: str = "person:olga", reference: str = "web-1"
    ) -> str:
        input = {"reference": reference, "sku": sku, "quantity": pieces, "method": "card"}
        caller = self.plane.caller(by)
        return (await self.plane.start_run(caller, "order_and_payment", input, customer=f"c-{customer}")).run.id

    async def signal(self, type: str, key: str, id: str = "", **data: Any) -> Mapping[str, Any]:
        caller = self.plane.caller("system:carrier")
        id = id or uuid.uuid4().hex
        return await self.plane.signal(caller, type=type, source="/carrier", id=id, key=key, data=data)

    async def lost(self, n: int, customer: int) -> str:
        data = {"order_id": f"or-{n}", "shipment_id": f"sh-{n}", "customer_id": f"c-{customer}"}
        told = await self.signal("warehouse.shipment_lost", f"sh-{n}", **data)
        return str(told["runs_started"][0])

    async def announced(self, n: int, customer: int, return_id: str = "ret-77") -> str:
        data = {"order_id": f"or-{n}", "return_id": return_id, "quantity": 1, "customer_id": f"c-{customer}"}
        told = await self.signal("order.return_announced", return_id, **data)
        return str(told["runs_started"][0])

    async def packed(self, run: str) -> str:
        """The warehouse has packed the order of the run; its id."""
        order = await self.order_of(run)
        await self.signal("warehouse.packed", order)
        return order

    async def order_of(self, run: str) -> str:
        found = await self.waits_at(run, "packed")
        return str(found.state["steps"]["enter"]["order_id"])

    def did(self, word: str) -> list[str]:
        """What the services did about it, in the order of time."""
        effects = [e for name in SYSTEMS for e in self.services.effects(name)]
        about = [e for e in effects if f'"{word}"' in str([e["path"].split("/"), e["body"], e["id"]]).replace("'", '"')]
        return [e["operation"] for e in sorted(about, key=lambda e: e["at"])]

    def refunded(self, n: int) -> int:
        return int(self.services.row("payment_agent", f"/v1/orders/or-{n}/payment")["refunded"])

    def letters(self, customer: int) -> list[str]:
        effects = self.services.effects("order_agent")
        sent = [e["body"] for e in effects if e["operation"] == "send_message"]
        return [str(body["text"]) for body in sent if body["customer_id"] == f"c-{customer}"]

    async def release(self, control: Path) -> None:
        made = build(control)
        async with open_store(self.settings, tenant=made.repo.plane.tenant) as store:
            gates = await run_gates(made, policy_engine(), expressions(), store=store)
            now = datetime.now(UTC)
            await make_release(store, made, gates, by="person:ines", at=now)
            await go_live(store, made, by="person:ines", at=now)


@asynccontextmanager
async def shop(
    services: Services, dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **spans: str
) -> AsyncIterator[Shop]:
    for name, token in services.tokens.items():
        monkeypatch.setenv(f"{name.upper()}_TOKEN", token)
    settings = Settings(dsn=dsn)
    await Shop(services, None, settings).release(control_for(services, folder / "control"))  # type: ignore[arg-type]
    async with open_plane(settings) as plane:
        webshop = plane.caller("system:webshop")
        for n in range(2001, 2009):
            await plane.put_customer(webshop, f"c-{n}", attributes={}, identities=[])
            await plane.consent(webshop, f"c-{n}", purpose="service", granted=True, source="order form")
        yield Shop(services, plane, settings)
        odd = await differing(plane.store, plane.tenant, plane.replays)
        assert not odd, odd[0]


def control_for(services: Services, target: Path, *, version_2: bool = False) -> Path:
    """With the shortened waits; policy tests and conformance are run above."""
    control = control_copy(target, services.urls, spans=SPANS, version_2=version_2)
    plane = control / "plane.yaml"
    plane.write_text(plane.read_text().replace("gates: [check, test, conformance]", "gates: [check]"))
    return control
