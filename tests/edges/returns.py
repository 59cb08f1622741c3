"""A journey beside the one of the first control repo: it waits for a parcel and a person, and can get stuck."""

from __future__ import annotations

JOURNEY = """\
journey: goods_back
version: 1
summary: Goods come back; when they are here and somebody agrees, the money is paid back.
owner: service-team
input:
  type: object
  required: [order_id, amount]
  properties: {order_id: {type: string}, amount: {type: integer}}
start:
  - signal: shop.return_wanted
    when: signal.data.amount > 0
    with: {order_id: signal.data.order_id, amount: signal.data.amount}
    customer: signal.data.customer_id
key: [order_id]
do:
  - order:
      call: shop.get_order
      with: {order_id: input.order_id}
  - parcel:
      listen: {signal: shop.parcel_arrived, key: input.order_id, within: 30d}
  - agree:
      ask: {team: service-team, approve: "'Pay back ' + input.order_id + '?'", show: {paid: steps.order.paid}, due: 2d}
  - pay_back:
      if: steps.agree.approved
      call: shop.refund_order
      with: {order_id: input.order_id, amount: input.amount}
  - settled:
      goal: {name: settled, achieved: steps.agree.approved, evidence: {order: input.order_id}}
"""

CHARTER = """\
---
journey: goods_back
owner: service-team
actions: [shop.get_order, shop.refund_order]
data: [orders]
roles: [service-agent]
approvals: {shop.refund_order: above 50 euros a supervisor}
exceptions: service-team
success: [{measure: refunds_settled, target: ">= 0.95"}]
counter: [{measure: refunds_disputed, target: "<= 0.01"}]
---

For goods that come back to the shop.
"""

FILES = {"journeys/goods_back/journey.yaml": JOURNEY, "journeys/goods_back/charter.md": CHARTER}
