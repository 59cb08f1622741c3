"""A small plane on a real store, in front of a real (if small) business system."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxplane.control.release import build, go_live, make_release, run_gates
from cxplane.domain.views import Ask, RequestView
from cxplane.loop import Plane
from cxplane.wiring import Settings, expressions, open_plane, open_store, policy_engine
from tests.connectors.fake import FakeSystem
from tests.replayed import differing

TENANT = "acme"

PLANE = """
plane: acme
tenant: acme
owner: care
time_zone: Europe/Berlin
currency: EUR
customer: {attributes: {segment: String, fraud: Bool}}
access:
  customers: [integration]
  assurance: [integration]
  consents: [integration]
  facts: [integration, service-agent]
  record: [supervisor]
sources: {"system:crm": [test]}
release: {gates: [check, test]}
"""

PEOPLE = """
roles:
  - {role: service-agent}
  - {role: supervisor}
  - {role: integration}
teams:
  - {team: care, lead: maria}
persons:
  - {id: maria, roles: [supervisor], team: care}
  - {id: otto, roles: [supervisor], team: care}
  - {id: ben, roles: [service-agent], team: care}
services:
  - {id: crm, roles: [integration]}
"""

AGENT = """---
agent: {name}
version: 1
owner: care
roles: [service-agent]
data: [{data}]
---
Helps.
"""

ACCOUNT = """
action: billing.get_account
version: 1
summary: Show an account
owner: care
effect: read
risk: low
customer: none
input: {type: object, required: [account_id], properties: {account_id: {type: string}}}
output: {type: object, required: [account_id, balance], properties: {account_id: {type: string}, balance: {type: integer}}}
via: {http: {system: billing, method: GET, path: "/accounts/{account_id}"}}
limits: {timeout: 1s, attempts: 2}
"""

FIND = """
action: billing.get_credit
version: 1
summary: Find a credit by its key
owner: care
effect: read
risk: low
customer: none
input: {type: object, required: [key], properties: {key: {type: string}}}
output: {type: object, properties: {credit_id: {type: string}, amount: {type: integer}}}
via: {http: {system: billing, method: GET, path: /credits}}
limits: {timeout: 1s, attempts: 2}
"""

CREDIT = """
action: billing.issue_credit
version: 1
summary: Credit an amount to an account
owner: care
effect: write
risk: medium
input:
  type: object
  required: [account_id, dispute_id, amount]
  properties:
    account_id: {type: string}
    dispute_id: {type: string}
    amount: {type: integer, minimum: 1}
output: {type: object, required: [credit_id], properties: {credit_id: {type: string}, amount: {type: integer}}}
key: [account_id, dispute_id]
facts:
  account: {read: billing.get_account, with: {account_id: input.account_id}}
  balance: {cel: account.balance, type: Long}
money: input.amount
data: [billing]
confirm: {read: billing.get_credit, with: {key: request.key}, expect: "result.amount == input.amount"}
undo: {none: "a credit is spent at once"}
via: {http: {system: billing, method: POST, path: /credits}}
limits: {timeout: 1s, attempts: 2}
"""

SYSTEM = """
system: billing
owner: care
http: {base_url: "http://127.0.0.1:1"}
breaker: {failures: 50, open_for: 1s}
"""

BUDGET = """
budget: daily
owner: care
applies: {actions: [billing.issue_credit], kinds: [agent]}
per: [caller]
window: day
limit: {money: 10000}
exhausted: hold
approvers: [supervisor]
"""

POLICY = """
@id("look") @reason("Whoever serves may look")
permit (principal in Role::"service-agent", action in Action::"read", resource);

@id("small") @reason("Up to 50.00 goes ahead for customers we know")
permit (principal in Role::"service-agent", action == Action::"billing.issue_credit", resource)
when { context.input.amount <= 5000 && context.assurance.level >= 1 && context.facts.balance >= 0 };

@id("large") @reason("Up to 500.00 may be asked for") @approvers("supervisor") @require("four-eyes") @expires("1h")
permit (principal in Role::"service-agent", action == Action::"billing.issue_credit:request", resource)
when { context.input.amount <= 50000 };

@id("people-too") @reason("Supervisors credit what agents may ask for") @approvers("supervisor") @require("four-eyes")
permit (principal in Role::"supervisor", action == Action::"billing.issue_credit:request", resource)
when { context.input.amount <= 50000 };

@id("fraud") @reason("Nothing leaves an account under suspicion")
forbid (principal, action in Action::"billing.issue_credit:any", resource)
when { resource has fraud && resource.fraud };
"""


def control(**changes: str) -> dict[str, str]:
    """The files of the control repo; `changes` by path with `__` for `/` and no ending."""
    files = {
        "plane.yaml": PLANE,
        "people/people.yaml": PEOPLE,
        "agents/fin.md": AGENT.format(name="fin", data="billing"),
        "agents/nosy.md": AGENT.format(name="nosy", data="orders"),
        "catalog/billing/get_account.yaml": ACCOUNT,
        "catalog/billing/get_credit.yaml": FIND,
        "catalog/billing/issue_credit.yaml": CREDIT,
        "systems/billing.yaml": SYSTEM,
        "budgets/daily.yaml": BUDGET,
        "policies/billing.cedar": POLICY,
    }
    for name, text in changes.items():
        path = next(p for p in files if p.rsplit(".", 1)[0] == name.replace("__", "/"))
        files[path] = text
    return files


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


async def release(settings: Settings, files: Mapping[str, str]) -> str:
    """Make a release of these files and let it decide."""
    made = build(files)
    async with open_store(settings, tenant=made.repo.plane.tenant) as store:
        gates = await run_gates(made, policy_engine(), expressions(), store=store)
        now = datetime.now(UTC)
        await make_release(store, made, gates, by="person:maria", at=now)
        await go_live(store, made, by="person:maria", at=now)
    return made.hash


@dataclass
class World:
    plane: Plane
    billing: FakeSystem
    settings: Settings

    async def ask(
        self, amount: int = 1000, *, by: str = "agent:fin", dispute: str = "d1", customer: str = "c1", **more: Any
    ) -> RequestView:
        input = {"account_id": "a1", "dispute_id": dispute, "amount": amount}
        ask = Ask("billing.issue_credit", more.pop("input", input), customer=customer, channel="chat", **more)
        return await self.plane.ask(self.plane.caller(by), ask)

    async def know(self, customer: str = "c1", *, level: int = 2, consent: bool = True, **attributes: Any) -> None:
        crm = self.plane.caller("system:crm")
        await self.plane.put_customer(crm, customer, attributes=attributes, identities=[])
        if level:
            await self.plane.assure(crm, customer, level=level, method="otp", lifetime="30m")
        if consent:
            await self.plane.consent(crm, customer, purpose="service", granted=True, source="test")


@asynccontextmanager
async def world(dsn: str, *, work: bool = False, **changes: str) -> AsyncIterator[World]:
    billing = await FakeSystem().start()
    settings = Settings(dsn=dsn, work=work, system_urls={"billing": billing.url})
    try:
        await release(settings, control(**changes))
        async with open_plane(settings) as plane:
            yield World(plane, billing, settings)
            found = await differing(plane.store, TENANT, plane.replays)
            assert not found, found[0]
    finally:
        await billing.stop()
