"""A control repo with one governed write, a hundred policies and a budget."""

from __future__ import annotations

from pathlib import Path

POLICIES = 100

FILES = {
    "plane.yaml": """
plane: bench
tenant: bench
owner: care
time_zone: UTC
currency: EUR
access: {customers: [integration], assurance: [integration], consents: [integration]}
release: {gates: [check]}
""",
    "people/people.yaml": """
roles: [{role: service-agent}, {role: integration}]
teams: [{team: care, lead: maria}]
persons: [{id: maria, roles: [service-agent], team: care}]
services: [{id: crm, roles: [integration]}]
""",
    "agents/fin.md": """---
agent: fin
version: 1
owner: care
roles: [service-agent]
data: [billing]
---
Asks.
""",
    "systems/billing.yaml": """
system: billing
owner: care
http: {base_url: "http://127.0.0.1:1"}
limits: {concurrency: 300, rate: 100000/s}
""",
    "catalog/billing/find.yaml": """
action: billing.find
version: 1
summary: Find a credit
owner: care
effect: read
risk: low
customer: none
input: {type: object, required: [key], properties: {key: {type: string}}}
output: {type: object}
via: {http: {system: billing, method: GET, path: /credits}}
""",
    "catalog/billing/credit.yaml": """
action: billing.credit
version: 1
summary: Credit an amount
owner: care
effect: write
risk: low
input:
  type: object
  required: [account_id, dispute_id, amount]
  properties: {account_id: {type: string}, dispute_id: {type: string}, amount: {type: integer}}
output: {type: object, required: [credit_id], properties: {credit_id: {type: string}}}
key: [account_id, dispute_id]
money: input.amount
data: [billing]
confirm: {read: billing.find, with: {key: request.key}, expect: "true", when: unknown}
undo: {none: spent at once}
via: {http: {system: billing, method: POST, path: /credits}}
limits: {timeout: 5s, attempts: 2, concurrency: 300}
""",
    "budgets/daily.yaml": """
budget: daily
owner: care
applies: {kinds: [agent]}
per: [caller]
window: day
limit: {money: 100000000000}
exhausted: hold
approvers: [service-agent]
""",
}


def write(folder: Path) -> Path:
    """The files, in a folder."""
    policies = [
        f"""@id("p{n}") @reason("Accounts of band {n}")
permit (principal in Role::"service-agent", action == Action::"billing.credit", resource)
when {{ context.input.amount == {n} && context.assurance.level >= 1 }};
"""
        for n in range(POLICIES - 1)
    ]
    policies.append(
        """@id("never") @reason("Nobody credits a million")
forbid (principal, action in Action::"billing.credit:any", resource) when { context.input.amount >= 100000000 };
"""
    )
    for name, text in {**FILES, "policies/all.cedar": "\n".join(policies)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
