"""The order-entry agent: takes orders, holds stock for them, writes to the customer. Amounts are whole cents.

It says which orders were sent (`or-1001` …) and knows nothing of money or parcels.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from examples.broadband.systems.service import (
    Call,
    Done,
    Refusal,
    State,
    again,
    by_key,
    next_id,
    public,
    reads,
    reverse,
    row,
    writes,
)

from .shop import BUYERS, ITEMS

SENT = {  # orders of the last weeks: number -> (customer number, sku, pieces)
    1001: (2001, "boots", 1),
    1002: (2002, "mug", 4),
    1003: (2005, "stove", 1),
    1004: (2006, "rope", 1),
    1005: (2007, "boots", 2),
    1006: (2008, "kayak", 1),
}


def seed(today: date) -> State:
    items = {
        sku: {"sku": sku, "name": name, "price": price, "stock": stock} for sku, (name, price, stock) in ITEMS.items()
    }
    orders = {f"or-{n}": _order(f"or-{n}", f"c-{who}", sku, pieces) for n, (who, sku, pieces) in SENT.items()}
    orders |= {f"or-{n}": _order(f"or-{n}", "c-2900", "mug", 1) for n in range(1, 60)}  # for the conformance test
    customers = {b.customer_id: {"customer_id": b.customer_id, "name": b.name} for b in BUYERS}
    return {"items": items, "orders": orders, "customers": customers, "withdrawals": {}, "messages": {}}


def _order(order_id: str, customer_id: str, sku: str, pieces: int) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "customer_id": customer_id,
        "reference": f"web-{order_id[3:]}",
        "sku": sku,
        "quantity": pieces,
        "amount": pieces * ITEMS[sku][1],
        "status": "entered",
        "withdrawn_as": "",
        "keys": [],
    }


def get_item(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "items", call.path["sku"]))


def get_order(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "orders", call.path["order_id"]))


def enter_order(state: State, call: Call) -> Done:
    item, pieces = row(state, "items", call.text("sku")), call.cents("quantity")
    customer = row(state, "customers", call.text("customer_id"))
    if item["stock"] < pieces:
        raise Refusal(409, "out_of_stock", "there are not so many left")
    item["stock"] -= pieces
    order_id = next_id(state, "or")
    order = _order(order_id, customer["customer_id"], item["sku"], pieces) | {"reference": call.text("reference")}
    state["orders"][order_id] = order | {"keys": [call.key]}
    return Done(public(order), order_id)


def withdraw_order(state: State, call: Call) -> Done:
    order = row(state, "orders", call.path["order_id"])
    if order["withdrawn_as"]:
        return again(state, "withdrawals", order["withdrawn_as"], call)
    row(state, "items", order["sku"])["stock"] += order["quantity"]
    order["status"] = "withdrawn"
    return reverse(state, "withdrawals", "wd", order, "withdrawn_as", {"order_id": order["order_id"]}, call)


def send_message(state: State, call: Call) -> Done:
    customer = row(state, "customers", call.text("customer_id"))
    message_id = next_id(state, "ms")
    message = {"message_id": message_id, "customer_id": customer["customer_id"], "reference": call.text("reference")}
    state["messages"][message_id] = {**message, "text": call.text("text"), "keys": [call.key]}
    return Done(message, message_id)


ROUTES = (
    reads("/items/{sku}", "get_item", get_item),
    reads("/orders/{order_id}", "get_order", get_order),
    writes("/orders", "enter_order", enter_order),
    writes("/orders/{order_id}/withdraw", "withdraw_order", withdraw_order),
    writes("/messages", "send_message", send_message),
    reads("/orders", "find_order", by_key("orders")),
    reads("/withdrawals", "find_withdrawal", by_key("withdrawals")),
    reads("/messages", "find_message", by_key("messages")),
)
