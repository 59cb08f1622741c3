"""A small plane with journeys, on a real store, in front of a real (if small) business system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cxplane.domain.run import RunStatus
from cxplane.domain.views import RunView
from cxplane.loop import Plane
from cxplane.wiring import Settings, open_plane
from tests.connectors.fake import FakeSystem
from tests.loop.world import CREDIT, PEOPLE, PLANE, POLICY, control, release
from tests.replayed import differing

CHARTER = """---
journey: {name}
owner: care
actions: [billing.get_account, billing.issue_credit, billing.reverse_credit]
data: [billing]
roles: [journey]
approvals: {{}}
exceptions: care
success: [{{measure: settled, target: ">= 0.8"}}]
counter: [{{measure: reversed, target: "<= 0.02"}}]
---
For the tests.
"""

REVERSE = """
action: billing.reverse_credit
version: 1
summary: Take a credit back
owner: care
effect: write
risk: medium
input: {type: object, required: [credit_id], properties: {credit_id: {type: string}}}
output: {type: object, required: [credit_id], properties: {credit_id: {type: string}}}
key: [credit_id]
data: [billing]
confirm: {none: "the same key again tells"}
undo: {none: "it is the taking back"}
via: {http: {system: billing, method: POST, path: "/credits/{credit_id}/reversal"}}
limits: {timeout: 1s, attempts: 2}
"""

JOURNEY_POLICY = """
@id("journeys-look") @reason("Journeys may look")
permit (principal in Role::"journey", action in Action::"read", resource);

@id("journeys-credit") @reason("Journeys credit up to 50.00")
permit (principal in Role::"journey", action == Action::"billing.issue_credit", resource)
when { context.input.amount <= 5000 };

@id("journeys-ask") @reason("Above it a supervisor decides") @approvers("supervisor") @expires("1h")
permit (principal in Role::"journey", action == Action::"billing.issue_credit:request", resource)
when { context.input.amount <= 50000 };

@id("journeys-reverse") @reason("Journeys take back what they did")
permit (principal in Role::"journey", action == Action::"billing.reverse_credit", resource);

@id("people-credit") @reason("The desk credits up to 100.00")
permit (principal in Role::"supervisor", action == Action::"billing.issue_credit", resource)
when { context.input.amount <= 10000 };
"""

CREDIT_STEP = "with: {account_id: input.account_id, dispute_id: input.dispute_id, amount: input.amount}"

DISPUTE = f"""
journey: dispute
version: 1
summary: Credit a dispute
owner: care
input:
  type: object
  required: [account_id, dispute_id, amount]
  properties: {{account_id: {{type: string}}, dispute_id: {{type: string}}, amount: {{type: integer}}}}
start:
  - signal: dispute.opened
    customer: signal.data.customer
    with: {{account_id: signal.data.account, dispute_id: signal.key, amount: signal.data.amount}}
key: [dispute_id]
do:
  - look:
      call: billing.get_account
      with: {{account_id: input.account_id}}
  - credit:
      call: billing.issue_credit
      {CREDIT_STEP}
  - settled:
      goal: {{name: settled, achieved: "steps.credit.credit_id != ''", evidence: {{credit: steps.credit.credit_id}}}}
"""


def journeys(**texts: str) -> dict[str, str]:
    """The files of a control repo with these journeys beside the catalog of `tests.loop.world`."""
    files = control(
        plane=PLANE.replace(
            "record: [supervisor]",
            "record: [supervisor]\n  journeys: [supervisor, integration]\n  signals: [integration]",
        ),
        people__people=PEOPLE.replace("  - {role: integration}", "  - {role: integration}\n  - {role: journey}"),
        policies__billing=POLICY + JOURNEY_POLICY,
        catalog__billing__issue_credit=CREDIT.replace(
            'undo: {none: "a credit is spent at once"}',
            "undo: {call: billing.reverse_credit, with: {credit_id: output.credit_id}}",
        ),
    )
    files["catalog/billing/reverse_credit.yaml"] = REVERSE
    for name, text in ({"dispute": DISPUTE} | texts).items():
        files[f"journeys/{name}/journey.yaml"] = text
        files[f"journeys/{name}/charter.md"] = CHARTER.format(name=name)
    return files


class Country:
    """A plane with journeys, its billing system, and ways to look at runs."""

    def __init__(self, plane: Plane, billing: FakeSystem, settings: Settings) -> None:
        self.plane, self.billing, self.settings = plane, billing, settings

    @property
    def crm(self) -> Any:
        return self.plane.caller("system:crm")

    @property
    def maria(self) -> Any:
        return self.plane.caller("person:maria")

    async def know(self, customer: str = "c1") -> None:
        await self.plane.put_customer(self.crm, customer, attributes={}, identities=[])
        await self.plane.assure(self.crm, customer, level=2, method="otp", lifetime="30m")
        await self.plane.consent(self.crm, customer, purpose="service", granted=True, source="test")

    async def start(self, journey: str, **input: Any) -> str:
        customer = input.pop("customer", "c1")
        view = await self.plane.start_run(self.crm, journey, input, customer=customer)
        return view.run.id

    async def dispute(self, dispute: str = "d1", amount: int = 1000, journey: str = "dispute") -> str:
        return await self.start(journey, account_id="a1", dispute_id=dispute, amount=amount)

    async def view(self, run: str) -> RunView:
        return await self.plane.run(self.maria, run)

    async def until(self, run: str, *statuses: str, within_s: float = 15) -> RunView:
        end = time.monotonic() + within_s
        while True:
            view = await self.view(run)
            if view.run.status in (statuses or tuple(s for s in RunStatus if s.final)):
                return view
            assert time.monotonic() < end, f"{run} is {view.run.status}: {view}"
            await asyncio.sleep(0.02)

    async def signal(self, type: str, key: str, id: str = "1", **data: Any) -> Any:
        return await self.plane.signal(self.crm, type=type, source="test", id=id, key=key, data=data)


@asynccontextmanager
async def country(dsn: str, **texts: str) -> AsyncIterator[Country]:
    billing = await FakeSystem().start()
    settings = Settings(dsn=dsn, work=True, system_urls={"billing": billing.url})
    try:
        await release(settings, journeys(**texts))
        async with open_plane(settings) as plane:
            found = Country(plane, billing, settings)
            await found.know()
            yield found
            odd = await differing(plane.store, plane.tenant, plane.replays)
            assert not odd, odd[0]
    finally:
        await billing.stop()
