"""The control repo of the benchmark: one system with one governed write, and the journeys that call it."""

from __future__ import annotations

from pathlib import Path

TENANT = "bench"
CALLER = "system:desk"
CUSTOMERS = 50

_FILES = {
    "plane.yaml": """
plane: bench
tenant: bench
owner: care
time_zone: UTC
currency: EUR
access:
  {customers: [desk], assurance: [desk], consents: [desk], record: [desk], journeys: [desk], signals: [desk]}
release: {gates: [check]}
""",
    "people/people.yaml": """
roles: [{role: desk}, {role: worker}]
teams: [{team: care, lead: maria}]
persons: [{id: maria, roles: [desk], team: care}]
services: [{id: desk, roles: [desk]}]
""",
    "systems/shop.yaml": """
system: shop
owner: care
http: {base_url: "http://127.0.0.1:1"}
limits: {concurrency: 400, rate: 100000/s}
""",
    "catalog/shop/find_effect.yaml": """
action: shop.find_effect
version: 1
summary: Find an effect by its key
owner: care
effect: read
risk: low
customer: none
input: {type: object, required: [key], properties: {key: {type: string}}}
output: {type: object}
via: {http: {system: shop, method: GET, path: /effects}}
""",
    "catalog/shop/do_effect.yaml": """
action: shop.do_effect
version: 1
summary: Do an effect
owner: care
effect: write
risk: low
input:
  type: object
  required: [ref, number]
  properties: {ref: {type: string}, number: {type: integer}}
output: {type: object, required: [effect_id], properties: {effect_id: {type: string}}}
key: [ref, number]
data: [orders]
confirm: {read: shop.find_effect, with: {key: request.key}, expect: "has(result.effect_id)", when: unknown}
undo: {none: spent at once}
via: {http: {system: shop, method: POST, path: /effects}}
limits: {timeout: 10s, attempts: 2, concurrency: 400}
""",
    "policies/shop.cedar": """
@id("effects") @reason("The journeys of the bench may do effects for a customer whom we know")
permit (principal in Role::"worker", action == Action::"shop.do_effect", resource)
when { context.input.number <= 100 && context.assurance.level >= 1 };

@id("never") @reason("Nobody does effect 1000")
forbid (principal, action in Action::"shop.do_effect:any", resource)
when { context.input.number == 1000 };
""",
}

_CHARTER = """---
journey: {name}
owner: care
actions: [shop.do_effect]
data: [orders]
roles: [worker]
approvals: {{}}
exceptions: care
success: [{{measure: legs_done, target: ">= 0.99"}}]
counter: [{{measure: legs_stuck, target: "<= 0.01"}}]
---
A leg of the benchmark.
"""

_HEAD = """
journey: {name}
version: {version}
summary: {name}
owner: care
input: {{type: object, required: [ref], properties: {{ref: {{type: string}}}}}}
start:
  - signal: bench.{name}
    with: {{ref: signal.data.ref}}
    customer: signal.data.customer
do:
"""

_CALL = """  - effect_{n}:
      call: shop.do_effect
      with: {{ref: input.ref, number: {n}}}
"""

_LISTEN = """  - {name}:
      listen: {{signal: bench.wake, key: input.ref, within: 21d}}
"""

THREE = _HEAD.format(name="three", version=1) + "".join(_CALL.format(n=n) for n in (1, 2, 3))
ONE = _HEAD.format(name="one", version=1) + _CALL.format(n=1)
PARKED = _HEAD.format(name="parked", version=1) + _LISTEN.format(name="document") + _CALL.format(n=1)
MOVED = (  # what `parked` is migrated to: the step has another name, and one comes before it
    _HEAD.format(name="parked", version=2)
    + "  - noted:\n      set: {note: input.ref}\n"
    + _LISTEN.format(name="papers")
    + _CALL.format(n=1)
)


def _twenty() -> str:
    """Twenty steps of many kinds that go round in nothing but `advance`, with one call in the middle."""
    steps = ["  - begun:\n      set: {total: '0', ref: input.ref}\n"]
    for n in range(1, 5):
        steps.append(f"  - count_{n}:\n      set: {{total: vars.total + {n}}}\n")
    steps.append(
        "  - which:\n      switch:\n        - large: {when: vars.total > 9, do: [{big: {set: {size: \"'big'\"}}}]}"
    )
    steps.append("\n        - other: {do: [{small: {set: {size: \"'small'\"}}}]}\n")
    steps.append(_CALL.format(n=1))
    for n in range(5, 14):
        steps.append(f"  - count_{n}:\n      if: vars.total > 0\n      set: {{total: vars.total + {n}}}\n")
    steps.append(
        "  - reached:\n      goal: {name: counted, achieved: vars.total > 70, evidence: {total: vars.total}}\n"
    )
    steps.append("  - told:\n      emit: {signal: bench.counted, key: input.ref, data: {total: vars.total}}\n")
    return _HEAD.format(name="twenty", version=1) + "".join(steps)


TWENTY = _twenty()


def files(parked: str = PARKED) -> dict[str, str]:
    """The texts of the repo by path."""
    found = dict(_FILES)
    for name, text in {"three": THREE, "one": ONE, "parked": parked, "twenty": TWENTY}.items():
        found[f"journeys/{name}/journey.yaml"] = text
        found[f"journeys/{name}/charter.md"] = _CHARTER.format(name=name)
    return found


def write(folder: Path, parked: str = PARKED) -> Path:
    for path, text in files(parked).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder
