"""The insurer's plane in front of its systems, as tests see it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from cxplane.control.release import build, go_live, make_release, run_gates
from cxplane.domain.run import TaskRow
from cxplane.loop import Plane
from cxplane.wiring import Settings, expressions, open_plane, open_store, policy_engine
from examples.insurer.running import Services
from tests.examples.watching import Watching
from tests.replayed import differing

CUSTOMERS = range(3001, 3013)
UNVERIFIED = 3008


@dataclass
class Insurer(Watching):
    """A plane on a real store, in front of the systems; it can be ended and started again."""

    watcher: ClassVar[str] = "person:ruth"
    services: Services
    settings: Settings
    control: Path
    plane: Plane = None  # type: ignore[assignment]
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def begin(self) -> None:
        made = build(self.control)
        async with open_store(self.settings, tenant=made.repo.plane.tenant) as store:
            gates = await run_gates(made, policy_engine(), expressions(), store=store)
            now = datetime.now(UTC)
            await make_release(store, made, gates, by="person:nora", at=now)
            await go_live(store, made, by="person:nora", at=now)
        await self.up()
        portal = self.plane.caller("system:portal")
        for n in CUSTOMERS:
            await self.plane.put_customer(portal, f"c-{n}", attributes={}, identities=[])
            await self.plane.consent(portal, f"c-{n}", purpose="service", granted=True, source="contract")
            if n != UNVERIFIED:
                await self.verify(n)

    async def up(self) -> None:
        self.plane = await self.stack.enter_async_context(open_plane(self.settings))

    async def down(self) -> None:
        odd = await differing(self.plane.store, self.plane.tenant, self.plane.replays)
        assert not odd, odd[0]
        await self.stack.aclose()
        self.stack = AsyncExitStack()

    async def verify(self, n: int) -> None:
        await self.plane.assure(
            self.plane.caller("system:portal"), f"c-{n}", level=2, method="one-time code", lifetime="8h"
        )

    async def claim(self, n: int, kind: str, amount: int, *, by: str = "agent:wren", **more: Any) -> str:
        input = {
            "policy_id": f"hp-{n}",
            "reference": f"call-{uuid.uuid4().hex[:8]}",
            "kind": kind,
            "happened_on": datetime.now(UTC).date().isoformat(),
            "amount": amount,
        }
        customer = more.pop("customer", f"c-{n}")
        view = await self.plane.start_run(self.plane.caller(by), "claim_eligibility", input | more, customer=customer)
        return view.run.id

    async def signal(self, type: str, key: str, **data: Any) -> Mapping[str, Any]:
        portal = self.plane.caller("system:portal")
        return await self.plane.signal(portal, type=type, source="/portal", id=uuid.uuid4().hex, key=key, data=data)

    async def complains(self, n: int, words: str = "It took too long") -> str:
        told = await self.signal("complaint.received", f"c-{n}", customer_id=f"c-{n}", words=words)
        return str(told["runs_started"][0])

    async def sends(self, claim_id: str, document: str) -> None:
        self.services.upload(claim_id, document)
        await self.signal("claims.document_received", claim_id, document=document)

    async def claim_id(self, id: str) -> str:
        return str((await self.run(id)).state["steps"]["claim"]["claim_id"])

    async def task(self, run: str, step: str) -> TaskRow:
        found = await self.waits_at(run, step)
        return next(t for t in found.tasks if t.step == step)

    async def answer(self, by: str, run: str, step: str, **answer: Any) -> None:
        task = await self.task(run, step)
        await self.plane.answer(self.plane.caller(by), task.id, answer)

    async def tasks_of(self, team: str, run: str) -> list[TaskRow]:
        rows, _ = await self.plane.tasks(self.plane.caller("person:ruth"), team=team)
        return [row for row in rows if row.run == run]


Open = Callable[..., Any]
