"""The payment agent: holds an amount on what the customer pays with, collects it, gives it back. Whole cents.

Two versions of one agent. They mean the same and are called differently: version 2 has other addresses, other names and
answers one level deeper. Version 2 takes over the ledger of version 1, a JSON file; the keys under which something
was done stand in the ledger's rows, so what version 1 did under a key, version 2 does not do again.

Who asked version 1 and never heard the answer may still look it up by its key at version 2 under the old address. Who
wants something done under an old address is told to come again (503), and nothing is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from examples.broadband.systems.service import (
    Call,
    Done,
    Read,
    Refusal,
    Service,
    State,
    Write,
    again,
    by_key,
    next_id,
    public,
    reads,
    reverse,
    row,
    writes,
)

from .order_agent import SENT
from .shop import BUYERS, ITEMS

LEDGER = ("authorisations", "payments", "refunds", "reversals")


def seed(today: date) -> State:
    state: State = {name: {} for name in LEDGER}
    state["payers"] = {b.customer_id: {"customer_id": b.customer_id, "card": b.card} for b in BUYERS}
    for n, (who, sku, pieces) in SENT.items():
        _seed_payment(state, n, f"or-{n}", f"c-{who}", pieces * ITEMS[sku][1])
    for n in range(1, 20):  # what the conformance test collects, refunds and takes back
        amount = ITEMS["mug"][1]
        state["authorisations"][f"au-{n}"] = _authorisation(f"au-{n}", f"or-{n}", "c-2900", amount)
        _seed_payment(state, 20 + n, f"or-{20 + n}", "c-2900", amount)
    return state


def _authorisation(authorisation_id: str, order_id: str, customer_id: str, amount: int) -> dict[str, Any]:
    return {
        "authorisation_id": authorisation_id,
        "order_id": order_id,
        "customer_id": customer_id,
        "amount": amount,
        "status": "held",
        "released_as": "",
        "keys": [],
    }


def _payment(payment_id: str, authorisation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "payment_id": payment_id,
        "authorisation_id": authorisation["authorisation_id"],
        "order_id": authorisation["order_id"],
        "customer_id": authorisation["customer_id"],
        "amount": authorisation["amount"],
        "refunded": 0,
        "cancelled_as": "",
        "keys": [],
    }


def _seed_payment(state: State, n: int, order_id: str, customer_id: str, amount: int) -> None:
    held = _authorisation(f"au-{n}", order_id, customer_id, amount) | {"status": "captured"}
    state["authorisations"][f"au-{n}"] = held
    state["payments"][f"pm-{n}"] = _payment(f"pm-{n}", held)


def _done_before(state: State, table: str, call: Call) -> Done | None:
    """What was done under this key, also by the version before."""
    for found_id, found in state[table].items():
        if call.key in found["keys"]:
            return again(state, table, found_id, call)
    return None


def authorise(state: State, call: Call) -> Done:
    if (before := _done_before(state, "authorisations", call)) is not None:
        return before
    payer = row(state, "payers", call.text("customer_id"))
    if payer["card"] == "declined":
        raise Refusal(409, "declined", "the card was declined")
    authorisation_id = next_id(state, "au")
    held = _authorisation(authorisation_id, call.text("order_id"), payer["customer_id"], call.cents("amount"))
    state["authorisations"][authorisation_id] = held | {"keys": [call.key], "method": call.text("method")}
    return Done(public(held), authorisation_id)


def capture(state: State, call: Call) -> Done:
    if (before := _done_before(state, "payments", call)) is not None:
        return before
    held = row(state, "authorisations", call.path["authorisation_id"])
    if held["status"] != "held":
        raise Refusal(409, "not_held", f"the authorisation is {held['status']}")
    if row(state, "payers", held["customer_id"])["card"] == "lapses":
        raise Refusal(409, "lapsed", "the bank no longer stands by the authorisation")
    if call.cents("amount") != held["amount"]:
        raise Refusal(409, "other_amount", "what was authorised is captured, no more and no less")
    payment_id = next_id(state, "pm")
    payment = _payment(payment_id, held)
    state["payments"][payment_id] = payment | {"keys": [call.key]}
    held["status"] = "captured"
    return Done(public(payment), payment_id)


def release(state: State, call: Call) -> Done:
    """Undo of an authorisation."""
    held = row(state, "authorisations", call.path["authorisation_id"])
    if held["released_as"]:
        return again(state, "reversals", held["released_as"], call)
    if held["status"] != "held":
        raise Refusal(409, "not_held", f"the authorisation is {held['status']}")
    held["status"] = "released"
    return reverse(state, "reversals", "rv", held, "released_as", {"authorisation_id": held["authorisation_id"]}, call)


def cancel_payment(state: State, call: Call) -> Done:
    """Undo of a capture: all of it goes back, and so does the authorisation."""
    payment = row(state, "payments", call.path["payment_id"])
    if payment["cancelled_as"]:
        return again(state, "reversals", payment["cancelled_as"], call)
    if payment["refunded"]:
        raise Refusal(409, "refunded", "a refunded payment cannot be cancelled")
    row(state, "authorisations", payment["authorisation_id"])["status"] = "held"
    return reverse(state, "reversals", "rv", payment, "cancelled_as", {"payment_id": payment["payment_id"]}, call)


def refund(state: State, call: Call) -> Done:
    if (before := _done_before(state, "refunds", call)) is not None:
        return before
    payment, amount = row(state, "payments", call.path["payment_id"]), call.cents("amount")
    if payment["cancelled_as"] or payment["refunded"] + amount > payment["amount"]:
        raise Refusal(409, "more_than_paid", "the refunds would exceed what was paid")
    payment["refunded"] += amount
    refund_id = next_id(state, "rf")
    given = {"refund_id": refund_id, "payment_id": payment["payment_id"], "amount": amount}
    state["refunds"][refund_id] = given | {"reference": call.text("reference"), "keys": [call.key]}
    return Done(given, refund_id)


def payment_of_order(state: State, call: Call) -> dict[str, Any]:
    """The payment of an order that was not cancelled; 404 when there is none."""
    for found in state["payments"].values():
        if found["order_id"] == call.path["order_id"] and not found["cancelled_as"]:
            return public(found)
    raise Refusal(404, "not_found", "this order was not paid")


V1 = (
    writes("/v1/authorisations", "authorise", authorise),
    writes("/v1/authorisations/{authorisation_id}/captures", "capture", capture),
    writes("/v1/authorisations/{authorisation_id}/void", "release", release),
    writes("/v1/payments/{payment_id}/cancel", "cancel_payment", cancel_payment),
    writes("/v1/payments/{payment_id}/refunds", "refund", refund),
    reads("/v1/orders/{order_id}/payment", "get_payment", payment_of_order),
    reads("/v1/authorisations", "find_authorisation", by_key("authorisations")),
    reads("/v1/payments", "find_payment", by_key("payments")),
    reads("/v1/refunds", "find_refund", by_key("refunds")),
    reads("/v1/reversals", "find_reversal", by_key("reversals")),
)

_NAMES = {  # version 2's name -> ours
    "order_ref": "order_id",
    "buyer": "customer_id",
    "minor_units": "amount",
    "instrument": "method",
    "note": "reference",
    "hold_id": "authorisation_id",
    "settlement_id": "payment_id",
    "payback_id": "refund_id",
    "paid_back": "refunded",
}
_OURS = {ours: theirs for theirs, ours in _NAMES.items()}


def _in(call: Call) -> Call:
    def renamed(names: Mapping[str, Any]) -> dict[str, Any]:
        return {_NAMES.get(name, name): value for name, value in names.items()}

    return replace(call, path=renamed(call.path), body=renamed(call.body))


def _out(what: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": 2, what: {_OURS.get(name, name): value for name, value in answer.items()}}


def _reads(path: str, operation: str, what: str, read: Read) -> Any:
    return reads(path, operation, lambda state, call: _out(what, read(state, _in(call))))


def _writes(path: str, operation: str, what: str, write: Write) -> Any:
    def written(state: State, call: Call) -> Done:
        done = write(state, _in(call))
        return Done(_out(what, done.body), done.effect)

    return writes(path, operation, written, method="PUT" if operation == "refund" else "POST")


def _moved(state: State, call: Call) -> Done:
    raise Refusal(503, "moved", "version 1 is gone; nothing was done")


V2 = (
    _writes("/v2/holds", "authorise", "hold", authorise),
    _writes("/v2/holds/{hold_id}/settle", "capture", "settlement", capture),
    _writes("/v2/holds/{hold_id}/release", "release", "reversal", release),
    _writes("/v2/settlements/{settlement_id}/reverse", "cancel_payment", "reversal", cancel_payment),
    _writes("/v2/settlements/{settlement_id}/payback", "refund", "payback", refund),
    _reads("/v2/settlements/of/{order_ref}", "get_payment", "settlement", payment_of_order),
    _reads("/v2/lookup/holds", "find_authorisation", "hold", by_key("authorisations")),
    _reads("/v2/lookup/settlements", "find_payment", "settlement", by_key("payments")),
    _reads("/v2/lookup/paybacks", "find_refund", "payback", by_key("refunds")),
    _reads("/v2/lookup/reversals", "find_reversal", "reversal", by_key("reversals")),
    *(route for route in V1 if route.operation.startswith("find_")),
    *(writes(route.path, route.operation, _moved) for route in V1 if route.write is not None),
)


def take_over(service: Service) -> None:
    """The ledger of version 1, from now on version 2's. The answers that version 1 gave are not ours to repeat."""
    if service.state.get("ledger") != 2:
        service.state.update(ledger=2, _answers={})
        service.save()
