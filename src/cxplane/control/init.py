"""`cxplane init`: a small control repo that is complete, checks and tests, to be grown from."""

from __future__ import annotations

import re
from pathlib import Path

from cxplane.control.shapes import SHAPED, schema_text
from cxplane.domain.errors import Conflict

_HINT = "# yaml-language-server: $schema={up}schemas/{kind}.schema.json\n"

_PLANE = """\
plane: {name}
tenant: {name}
owner: service-team
time_zone: Europe/Berlin
currency: EUR
languages: [en]
confidence: 0.7 # an AI that says it is less sure than this waits for a person
customer: {{attributes: {{segment: String}}}} # what policies may know of a customer
release: {{gates: [check, test, conformance]}}
access: # who may write what, and who may read everybody's record
  customers: [integration]
  assurance: [integration]
  consents: [integration]
  facts: [service-agent]
  record: [supervisor]
  journeys: [supervisor]
  signals: [integration]
  erase: [supervisor]
sources: # whose signals a caller may bring besides its own
  system:crm-sync: [/crm]
"""

_GET_ORDER = """\
action: shop.get_order
version: 1
summary: One order, with its lines and what was refunded.
owner: service-team
effect: read
risk: low
data: [orders]
input:
  type: object
  required: [order_id]
  properties:
    order_id: {type: string}
output:
  type: object
  required: [order_id, customer_id, paid, refunded, status]
  properties:
    order_id: {type: string}
    customer_id: {type: string}
    paid: {type: integer} # cents
    refunded: {type: integer} # cents
    status: {type: string}
    refund_keys: {type: array, items: {type: string}}
via: {http: {system: shop, method: GET, path: "/orders/{order_id}"}}
"""

_REFUND = """\
action: shop.refund_order
version: 1
summary: Give back part or all of what an order cost.
owner: service-team
effect: write
risk: high
data: [orders]
input:
  type: object
  required: [order_id, amount]
  properties:
    order_id: {type: string, minLength: 1}
    amount: {type: integer, minimum: 1} # cents
output:
  type: object
  properties:
    refund_id: {type: string}
key: [order_id] # one refund an order, whoever asks, however often
facts:
  order: {read: shop.get_order, with: {order_id: input.order_id}}
  own_order: {cel: order.customer_id == customer, type: Bool}
  left: {cel: order.paid - order.refunded, type: Long}
money: input.amount
confirm: {read: shop.get_order, with: {order_id: input.order_id}, expect: request.key in result.refund_keys}
undo: {none: money that was paid out comes back only if the customer sends it}
via: {http: {system: shop, method: POST, path: "/orders/{order_id}/refunds"}}
limits: {timeout: 5s, attempts: 4}
"""

_SYSTEM = """\
system: shop
owner: service-team
http:
  base_url: http://127.0.0.1:9100
  auth: {bearer: SHOP_TOKEN} # the name of a secret, never the secret
  key_header: Idempotency-Key
  health: /health
limits: {rate: 50/s, concurrency: 10}
breaker: {failures: 5, open_for: 10s}
conform: # what `cxplane conform shop` sends to the system, or to its stand-in
  faults: {method: POST, path: /_faults}
  samples:
    shop.refund_order:
      input: {order_id: o-1, amount: 500}
      wrong: {order_id: o-1, amount: -5}
"""

_POLICIES = """\
// What may be done, by whom, and when. Every policy has an @id and a @reason that a customer's advocate could read.

@id("orders-may-be-read")
@reason("Whoever serves customers may look at their orders")
permit (principal in Role::"service-agent", action == Action::"shop.get_order", resource);

@id("small-refund")
@reason("A verified customer gets up to 50 euros of their own order back at once")
permit (principal in Role::"service-agent", action == Action::"shop.refund_order", resource)
when { context.facts.own_order && context.input.amount <= 5000 && context.assurance.level >= 2 };

@id("large-refund-asks")
@reason("More than 50 euros waits for a supervisor")
@approvers("supervisor")
@require("four-eyes") // never the one who asked
@expires("24h")
permit (principal in Role::"service-agent", action == Action::"shop.refund_order:request", resource)
when { context.facts.own_order && context.assurance.level >= 2 };

@id("no-more-than-paid")
@reason("Nobody gives back more than is left of what was paid")
forbid (principal, action in Action::"shop.refund_order:any", resource)
when { context.input.amount > context.facts.left };
"""

_TESTS = """\
tests:
  - name: a small refund of the customer's own order goes ahead
    request: {action: shop.refund_order, by: "agent:helper", customer: c1, input: {order_id: o1, amount: 2500}}
    customer: {assurance: {level: 2, method: code by e-mail}, consents: [service]}
    facts: {order: {order_id: o1, customer_id: c1, paid: 9900, refunded: 0, status: shipped}}
    expect: {decision: allow, reasons: [small-refund]}

  - name: a large refund waits for a supervisor
    request: {action: shop.refund_order, by: "agent:helper", customer: c1, input: {order_id: o1, amount: 9000}}
    customer: {assurance: {level: 2, method: code by e-mail}, consents: [service]}
    facts: {order: {order_id: o1, customer_id: c1, paid: 9900, refunded: 0, status: shipped}}
    expect: {decision: hold, reasons: [large-refund-asks], approvers: [supervisor]}

  - name: nobody gives back more than was paid
    request: {action: shop.refund_order, by: "agent:helper", customer: c1, input: {order_id: o1, amount: 4000}}
    customer: {assurance: {level: 2, method: code by e-mail}, consents: [service]}
    facts: {order: {order_id: o1, customer_id: c1, paid: 9900, refunded: 9000, status: shipped}}
    expect: {decision: refuse, reasons: [no-more-than-paid]}

  - name: somebody else's order is not refunded
    request: {action: shop.refund_order, by: "agent:helper", customer: c2, input: {order_id: o1, amount: 2500}}
    customer: {assurance: {level: 2, method: code by e-mail}, consents: [service]}
    facts: {order: {order_id: o1, customer_id: c1, paid: 9900, refunded: 0, status: shipped}}
    expect: {decision: refuse, reasons: [no_policy]}

  - name: an order may be looked at
    request: {action: shop.get_order, by: "agent:helper", customer: c1, input: {order_id: o1}}
    customer: {consents: [service]}
    expect: {decision: allow, reasons: [orders-may-be-read]}

  - name: a journey asks like anybody else
    request: {action: shop.refund_order, by: "journey:refund", customer: c1, input: {order_id: o1, amount: 9000}}
    customer: {assurance: {level: 2, method: code by e-mail}, consents: [service]}
    facts: {order: {order_id: o1, customer_id: c1, paid: 9900, refunded: 0, status: shipped}}
    expect: {decision: hold, reasons: [large-refund-asks], approvers: [supervisor]}
"""

_BUDGET = """\
budget: refunds-by-ai
owner: service-team
applies: {actions: [shop.refund_order], kinds: [agent]}
per: [caller]
window: day
limit: {money: 50000, count: 100} # cents, and refunds
exhausted: hold
approvers: [supervisor]
"""

_PEOPLE = """\
roles:
  - {role: service-agent, summary: serves customers}
  - {role: supervisor, summary: decides what was held}
  - {role: integration, summary: another system of ours}
teams:
  - {team: service-team, lead: sam}
persons:
  - {id: sam, roles: [supervisor, service-agent], team: service-team}
  - {id: kim, roles: [supervisor], team: service-team}
services:
  - {id: crm-sync, roles: [integration]}
"""

_AGENT = """\
---
agent: helper
version: 1
owner: service-team
team: service-team
roles: [service-agent]
data: [orders]
---

You help customers with their orders. Look the order up before you speak of it. Say what you can do, and hand over to a
person when the customer asks for one.
"""

_JOURNEY = """\
journey: refund
version: 1
summary: A customer wants money back; the refund is made, or a person looks at it.
owner: service-team
input:
  type: object
  required: [order_id, amount]
  properties:
    order_id: {type: string}
    amount: {type: integer} # cents
start:
  - signal: shop.refund_wanted # its data is the input
    customer: signal.data.customer_id
key: [order_id] # one run an order at a time
do:
  - order:
      summary: See what was paid.
      call: shop.get_order
      with: {order_id: input.order_id}
  - pay_back:
      if: steps.order.refunded == 0
      try:
        - refund:
            call: shop.refund_order
            with: {order_id: input.order_id, amount: input.amount}
      catch:
        errors: [refused, rejected, expired]
        do:
          - look_at_it:
              hand_over: {team: service-team, text: "'No refund: ' + error.text"}
  - settled:
      goal: {name: settled, achieved: has(steps.refund) || steps.order.refunded > 0, evidence: {order: input.order_id}}
"""

_CHARTER = """\
---
journey: refund
owner: service-team
actions: [shop.get_order, shop.refund_order] # it may ask for nothing else
data: [orders]
roles: [service-agent]
approvals: {shop.refund_order: above 50 euros a supervisor}
exceptions: service-team # gets what fails
success: [{measure: refunds_settled, target: ">= 0.95"}]
counter: [{measure: refunds_disputed, target: "<= 0.01"}] # what must not get worse meanwhile
---

For customers who want money back for an order of theirs. Goods that come back to the shop are out of scope.
"""

_README = """\
# The control repo of {name}

What may be done to our systems, by whom, and when. `cxplane check` names every mistake with file and line, `cxplane test`
runs the policy tests, `cxplane release` makes these files decide.

| where | what |
|---|---|
| `plane.yaml` | name, time zone, currency, gates of a release |
| `catalog/<system>/<name>.yaml` | one action: contract, owner, risk, facts, key, confirm, undo |
| `systems/` | where systems are reached; secrets by name only |
| `policies/*.cedar` | permit and forbid; `policies/tests/` says what must come out |
| `budgets/` | limits of money, count and risk |
| `people/` | roles, teams, persons, services |
| `journeys/<name>/` | work across steps, people and time (`journey.yaml`), and what bounds it (`charter.md`) |
| `agents/` | one AI agent each: its contract, then its instructions |
| `schemas/` | for editors: completion and checks while typing |

Begin with `catalog/shop/`: put the address of your own system into `systems/shop.yaml`, and describe your calls.
"""


def starter(name: str) -> dict[str, str]:
    """The files of a first control repo: path -> text."""

    def hinted(path: str, kind: str, text: str) -> str:
        return _HINT.format(up="../" * path.count("/"), kind=kind) + text

    files = {
        path: hinted(path, kind, text)
        for path, kind, text in (
            ("plane.yaml", "plane", _PLANE.format(name=name)),
            ("catalog/shop/get_order.yaml", "action", _GET_ORDER),
            ("catalog/shop/refund_order.yaml", "action", _REFUND),
            ("systems/shop.yaml", "system", _SYSTEM),
            ("policies/tests/refunds.yaml", "policy-tests", _TESTS),
            ("budgets/refunds-by-ai.yaml", "budget", _BUDGET),
            ("people/people.yaml", "people", _PEOPLE),
            ("journeys/refund/journey.yaml", "journey", _JOURNEY),
        )
    }
    files["policies/refunds.cedar"] = _POLICIES
    files["agents/helper.md"] = _AGENT
    files["journeys/refund/charter.md"] = _CHARTER
    files["README.md"] = _README.format(name=name)
    for kind in SHAPED:
        files[f"schemas/{kind}.schema.json"] = schema_text(kind)
    return dict(sorted(files.items()))


def init(folder: Path | str, *, name: str | None = None) -> list[Path]:
    """Write a first control repo and give the files written. A README that is there stays.

    Conflict if another of them is there already; nothing is written then.

    `name`: of plane and tenant; else made from the folder's.
    """
    root = Path(folder)
    words = re.sub(r"[^a-z0-9_-]+", "-", (name or root.resolve().name).lower()).strip("-_")
    words = re.sub(r"^[^a-z]+", "", words) or "plane"
    files = starter(words)
    if (root / "README.md").exists():  # a new repository often has one
        del files["README.md"]
    there = [path for path in files if (root / path).exists()]
    if there or (root.exists() and not root.is_dir()):
        what = f"{root} has {', '.join(there[:3])} already" if there else f"{root} is a file"
        raise Conflict(what, next="Name an empty folder.")
    written = []
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="\n")
        written.append(place)
    return written
