"""The warehouse: parcels out, labels for parcels back, and what was found in those."""

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

from .order_agent import SENT

LOST = {1002, 1003, 1004}
"""Numbers of orders whose parcel does not turn up any more."""


def seed(today: date) -> State:
    shipments = {
        f"sh-{n}": _shipment(f"sh-{n}", f"or-{n}", "first", "lost" if n in LOST else "delivered") for n in SENT
    }
    shipments |= {f"sh-{n}": _shipment(f"sh-{n}", f"or-{n}", "first", "packed") for n in range(1, 20)}
    labels = {f"lb-{n}": _label(f"lb-{n}", f"or-{n}", f"ret-{n}") for n in range(1, 20)}
    return {"shipments": shipments, "labels": labels, "inspections": {}, "undone": {}}


def _shipment(shipment_id: str, order_id: str, replaces: str, status: str) -> dict[str, Any]:
    return {
        "shipment_id": shipment_id,
        "order_id": order_id,
        "replaces": replaces,
        "status": status,
        "stopped_as": "",
        "keys": [],
    }


def _label(label_id: str, order_id: str, return_id: str) -> dict[str, Any]:
    return {"label_id": label_id, "order_id": order_id, "return_id": return_id, "voided_as": "", "keys": []}


def get_shipment(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "shipments", call.path["shipment_id"]))


def ship_order(state: State, call: Call) -> Done:
    shipment_id = next_id(state, "sh")
    shipment = _shipment(shipment_id, call.text("order_id"), call.text("replaces"), "packed")
    state["shipments"][shipment_id] = shipment | {"keys": [call.key]}
    return Done(public(shipment), shipment_id)


def stop_shipment(state: State, call: Call) -> Done:
    shipment = row(state, "shipments", call.path["shipment_id"])
    if shipment["stopped_as"]:
        return again(state, "undone", shipment["stopped_as"], call)
    if shipment["status"] != "packed":
        raise Refusal(409, "gone", "the parcel has left")
    shipment["status"] = "stopped"
    return reverse(state, "undone", "un", shipment, "stopped_as", {"shipment_id": shipment["shipment_id"]}, call)


def make_label(state: State, call: Call) -> Done:
    label_id = next_id(state, "lb")
    label = _label(label_id, call.text("order_id"), call.text("return_id"))
    state["labels"][label_id] = label | {"keys": [call.key]}
    return Done(public(label), label_id)


def void_label(state: State, call: Call) -> Done:
    label = row(state, "labels", call.path["label_id"])
    if label["voided_as"]:
        return again(state, "undone", label["voided_as"], call)
    return reverse(state, "undone", "un", label, "voided_as", {"label_id": label["label_id"]}, call)


def record_inspection(state: State, call: Call) -> Done:
    inspection_id = next_id(state, "ip")
    found = {
        "inspection_id": inspection_id,
        "return_id": call.text("return_id"),
        "condition": call.text("condition"),
        "quantity": call.cents("quantity"),
    }
    state["inspections"][inspection_id] = found | {"keys": [call.key]}
    return Done(found, inspection_id)


ROUTES = (
    reads("/shipments/{shipment_id}", "get_shipment", get_shipment),
    writes("/shipments", "ship_order", ship_order),
    writes("/shipments/{shipment_id}/stop", "stop_shipment", stop_shipment),
    writes("/labels", "make_label", make_label),
    writes("/labels/{label_id}/void", "void_label", void_label),
    writes("/inspections", "record_inspection", record_inspection),
    reads("/shipments", "find_shipment", by_key("shipments")),
    reads("/labels", "find_label", by_key("labels")),
    reads("/inspections", "find_inspection", by_key("inspections")),
    reads("/undone", "find_undone", by_key("undone")),
)
