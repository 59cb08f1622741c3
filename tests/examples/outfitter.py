"""The outfitter as its tests use it: a plane on a real store, in front of the real services, with shortened waits."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cxplane.control.release import build, go_live, make_release, run_gates
from cxplane.domain.views import RunView
from cxplane.loop import Plane
from cxplane.wiring import Settings, expressions, open_plane, open_store, policy_engine
from examples.outfitter.running import SYSTEMS, Services, control_copy
from tests.replayed import differing

ENDED = ("done", "failed", "cancelled", "stuck")
SPANS = {
    "within: 14d": "within: 1s",
    "within: 7d": "within: 1s",
    "within: 3d": "within: 20s",
    "within: 2d": "within: 1s",
}


@dataclass
class Shop:
    """A plane on a real store, in front of the services."""

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

    async def run(self, id: str) -> RunView:
        return await self.plane.run(self.plane.caller("person:sven"), id)

    async def ended(self, id: str) -> RunView:
        async def over() -> RunView | None:
            found = await self.run(id)
            return found if found.run.status in ENDED else None

        return await self.until(over, id)

    async def waits_at(self, id: str, step: str) -> RunView:
        async def there() -> RunView | None:
            found = await self.run(id)
            assert found.run.status not in ENDED, found
            return found if any(t["step"] == step and t.get("waits_for") for t in found.tokens) else None

        return await self.until(there, id)

    async def until(self, true: Callable[[], Any], run: str = "") -> Any:
        end = time.monotonic() + 60
        while not (found := await true()):
            assert time.monotonic() < end, await self.run(run) if run else "it did not come to that"
            await asyncio.sleep(0.05)
        return found

    async def approve(self, by: str, action: str) -> None:
        caller = self.plane.caller(by)

        async def waiting() -> str | None:
            rows, _ = await self.plane.approvals(caller, status="open")
            return next((row.id for row in rows if row.action == action), None)

        await self.plane.approve(caller, await self.until(waiting), comment="agreed")

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
