"""A control repo whose journeys use every task word, for tests that break one thing of it at a time."""

from __future__ import annotations

from collections.abc import Mapping

from tests.control.world import CHARTER, FILES

LATE = "journeys/late_order/journey.yaml"
LATE_CHARTER = "journeys/late_order/charter.md"
APOLOGY = "journeys/apology/journey.yaml"
APOLOGY_CHARTER = "journeys/apology/charter.md"
VOUCHER = "catalog/shop/voucher.yaml"
TAKE_BACK = "catalog/shop/take_voucher_back.yaml"
SEND = "catalog/shop/send_message.yaml"

_VOUCHER = """\
action: shop.voucher
version: 1
summary: Give a voucher.
owner: service-team
effect: write
risk: low
data: [orders]
input: {type: object, required: [order_id], properties: {order_id: {type: string}}}
output: {type: object, required: [voucher_id], properties: {voucher_id: {type: string}}}
key: [order_id]
confirm: {none: the shop tells nobody}
undo: {call: shop.take_voucher_back, with: {voucher_id: output.voucher_id}}
via: {http: {system: shop, method: POST, path: /vouchers, body: {order_id: input.order_id}}}
"""

_TAKE_BACK = """\
action: shop.take_voucher_back
version: 1
summary: A voucher counts no longer.
owner: service-team
effect: write
risk: low
data: [orders]
input: {type: object, required: [voucher_id], properties: {voucher_id: {type: string}}}
output: {type: object}
key: [voucher_id]
confirm: {none: the shop tells nobody}
undo: {none: "another voucher is given instead"}
via: {http: {system: shop, method: DELETE, path: "/vouchers/{voucher_id}"}}
"""

_SEND = """\
action: shop.send_message
version: 1
summary: Tell the customer something.
owner: service-team
effect: write
risk: low
data: [orders]
input: {type: object, required: [text], properties: {text: {type: string}}}
output: {type: object}
key: [customer, text]
confirm: {none: mail is not confirmed}
undo: {none: what was read was read}
via: {http: {system: shop, method: POST, path: /messages, body: {text: input.text}}}
"""

_LATE = """\
journey: late_order
version: 2
summary: An order that is late is made good.
owner: service-team
input:
  type: object
  required: [order_id, amount]
  properties:
    order_id: {type: string}
    amount: {type: integer}
    why: {type: string}
start:
  - signal: shop.order_late
    when: signal.data.days > 3
    with: {order_id: signal.data.order_id, amount: 500}
    customer: signal.data.customer_id
key: [order_id]
say: shop.send_message
patience: 4h
on_failure: compensate
do:
  - order:
      call: shop.get_order
      with: {order_id: input.order_id}
  - paid:
      checkpoint: {check: steps.order.paid > 0, text: Only what was paid comes back., before: [shop.refund_order]}
  - how_much:
      switch:
        - little: {when: input.amount <= 5000, do: [{noted: {set: {little: true, tries: 2, nobody: null}}}]}
        - much: {then: may_i}
  - may_i:
      ask:
        team: service-team
        approve: "'Refund ' + input.order_id + '?'"
        show: {order: steps.order}
        due: 2d
        remind: 1d
        escalate: {after: 1d, to: service-team}
        default: false
  - pay_back:
      try:
        - voucher: {call: shop.voucher, with: {order_id: input.order_id}, reason: "'late'", patience: 1h}
        - refund:
            call: shop.refund_order
            with: {order_id: input.order_id, amount: input.amount}
            recorded: {days: 4}
            mode: person
            team: service-team
      catch:
        errors: [refused, too_late]
        when: error.step == 'refund'
        retry: {times: 2, delay: 1m, backoff: 3, longest: 10m}
        compensate: true
        do:
          - over: {hand_over: {team: service-team, text: "'See ' + error.text", wait: false}}
  - meanwhile:
      fork:
        until: any
        branches:
          - heard: {do: [{reply: {listen: {signal: shop.reply, key: input.order_id, where: signal.data.ok, within: 2d}}}]}
          - waited: {do: [{a_day: {wait: 1d}}]}
  - sorry:
      run: apology
      with: {order_id: input.order_id}
      wait: true
  - each_line:
      for: {each: number, in: "[1, 2]", while: number < 9}
      do:
        - told: {say: {text: "'Line ' + string(number)"}}
        - later: {wait: {until: now}}
  - choice:
      ask: {person: sam, choose: "'Which?'", choices: [gift, none], due: 1d, default: none}
  - form:
      ask: {team: service-team, fill: "'Why?'", form: {type: object, properties: {why: {type: string}}, required: [why]}}
  - back: {if: false == true, undo: voucher}
  - told_others: {emit: {signal: shop.made_good, key: input.order_id, data: {amount: input.amount}}}
  - both: {listen: {all: [{signal: shop.a}, {signal: shop.b}]}}
  - block: {summary: A block., do: [{oops: {raise: {error: too_late, text: "'x'"}}}]}
  - made_good: {goal: {name: made_good, achieved: has(steps.refund), evidence: {amount: input.amount}}, then: end}
"""

_LATE_CHARTER = """\
---
journey: late_order
owner: service-team
actions: [shop.get_order, shop.refund_order, shop.send_message, shop.voucher, shop.take_voucher_back]
data: [orders]
roles: [service-agent]
approvals: {shop.refund_order: "above 50.00 a supervisor"}
exceptions: service-team
success: [{measure: made_good, target: ">= 0.9"}]
counter: [{measure: refunds, target: "<= 0.1"}]
---

For customers who wait.
"""

_APOLOGY = """\
journey: apology
version: 1
summary: Say sorry.
owner: service-team
say: shop.send_message
input: {type: object, required: [order_id], properties: {order_id: {type: string}}}
start:
  - signal: shop.made_good
do:
  - sorry: {say: {text: "'Sorry'"}}
"""

_APOLOGY_CHARTER = """\
---
journey: apology
owner: service-team
actions: [shop.send_message]
data: [orders]
roles: [service-agent]
approvals: {}
exceptions: service-team
success: [{measure: sorry, target: "> 0"}]
counter: [{measure: complaints, target: "< 3"}]
---
"""

JOURNEYS: Mapping[str, str] = {
    **FILES,
    VOUCHER: _VOUCHER,
    TAKE_BACK: _TAKE_BACK,
    SEND: _SEND,
    LATE: _LATE,
    LATE_CHARTER: _LATE_CHARTER,
    APOLOGY: _APOLOGY,
    APOLOGY_CHARTER: _APOLOGY_CHARTER,
}

__all__ = ["APOLOGY", "APOLOGY_CHARTER", "CHARTER", "JOURNEYS", "LATE", "LATE_CHARTER", "SEND", "TAKE_BACK", "VOUCHER"]
