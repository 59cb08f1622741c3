"""Orders, line tests, technician visits and replacement routers."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from .estate import households
from .service import Call, Done, Refusal, State, again, by_key, next_id, public, reads, reverse, row, writes

WINDOWS = ("08-12", "12-16", "16-20")


def seed(today: date) -> State:
    orders, lines = {}, {}
    for home in households():
        shipped = home.n % 3
        orders[f"or-{home.n}"] = {
            "order_id": f"or-{home.n}",
            "customer_id": home.customer_id,
            "item": "installation" if home.started_days_ago < 30 else "router upgrade",
            "status": ("placed", "shipped", "delivered")[shipped],
            "expected_on": (today + timedelta(days=3 - shipped)).isoformat(),
        }
        lines[home.customer_id] = {"customer_id": home.customer_id, "result": home.line}
    # What the conformance test takes back.
    visit = {
        "customer_id": "c-1900",
        "day": "2020-01-07",
        "window": "08-12",
        "status": "booked",
        "cancelled_as": "",
    }
    shipment = {"customer_id": "c-1900", "status": "packed", "ordered_on": "2020-01-07", "stopped_as": ""}
    visits = {f"vi-{n}": {"visit_id": f"vi-{n}", **visit, "keys": []} for n in range(1, 6)}
    shipments = {f"sh-{n}": {"shipment_id": f"sh-{n}", **shipment, "keys": []} for n in range(1, 6)}
    return {"orders": orders, "lines": lines, "visits": visits, "shipments": shipments, "undone": {}}


def get_order(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "orders", call.path["order_id"]))


def test_line(state: State, call: Call) -> dict[str, Any]:
    """What the line test finds, and how many routers went out to this customer in the last 365 days."""
    line = row(state, "lines", call.path["customer_id"])
    since = (call.today - timedelta(days=365)).isoformat()
    sent = [
        found
        for found in state["shipments"].values()
        if found["customer_id"] == line["customer_id"] and found["status"] != "stopped" and found["ordered_on"] >= since
    ]
    return {**line, "fault_found": line["result"] != "ok", "routers_sent_12m": len(sent)}


def list_slots(state: State, call: Call) -> dict[str, Any]:
    """Free windows on the next five days, at most three visits a window."""
    days = [(call.today + timedelta(days=n)).isoformat() for n in range(1, 6)]
    free = [f"{day} {window}" for day in days for window in WINDOWS if _booked(state, day, window) < 3]
    return {"slots": free}


def _booked(state: State, day: str, window: str) -> int:
    return sum(
        1
        for found in state["visits"].values()
        if (found["day"], found["window"], found["status"]) == (day, window, "booked")
    )


def schedule_technician(state: State, call: Call) -> Done:
    day, window = call.text("day"), call.text("window")
    if window not in WINDOWS:
        raise Refusal(422, "invalid", f"window must be one of {', '.join(WINDOWS)}")
    if call.text("customer_id") != "c-1900" and _booked(state, day, window) >= 3:
        raise Refusal(409, "window_full", "this window is full; ask for the free ones")
    visit_id = next_id(state, "vi")
    visit = {"visit_id": visit_id, "customer_id": call.text("customer_id"), "day": day, "window": window}
    state["visits"][visit_id] = {**visit, "status": "booked", "cancelled_as": "", "keys": [call.key]}
    return Done(visit, visit_id)


def cancel_visit(state: State, call: Call) -> Done:
    visit = row(state, "visits", call.path["visit_id"])
    if visit["cancelled_as"]:
        return again(state, "undone", visit["cancelled_as"], call)
    visit["status"] = "cancelled"
    return reverse(state, "undone", "vc", visit, "cancelled_as", {"visit_id": visit["visit_id"]}, call)


def send_router(state: State, call: Call) -> Done:
    line = row(state, "lines", call.text("customer_id"))
    shipment_id = next_id(state, "sh")
    shipment = {"shipment_id": shipment_id, "customer_id": line["customer_id"], "status": "packed"}
    state["shipments"][shipment_id] = {
        **shipment,
        "ordered_on": call.today.isoformat(),
        "stopped_as": "",
        "keys": [call.key],
    }
    return Done(shipment, shipment_id)


def stop_shipment(state: State, call: Call) -> Done:
    shipment = row(state, "shipments", call.path["shipment_id"])
    if shipment["stopped_as"]:
        return again(state, "undone", shipment["stopped_as"], call)
    shipment["status"] = "stopped"
    return reverse(state, "undone", "ss", shipment, "stopped_as", {"shipment_id": shipment["shipment_id"]}, call)


ROUTES = (
    reads("/orders/{order_id}", "get_order_status", get_order),
    reads("/lines/{customer_id}/test", "test_line", test_line),
    reads("/slots", "list_slots", list_slots),
    writes("/visits", "schedule_technician", schedule_technician),
    writes("/visits/{visit_id}/cancel", "cancel_visit", cancel_visit),
    writes("/shipments", "send_router", send_router),
    writes("/shipments/{shipment_id}/stop", "stop_shipment", stop_shipment),
    reads("/visits", "find_visit", by_key("visits")),
    reads("/shipments", "find_shipment", by_key("shipments")),
    reads("/undone", "find_undone", by_key("undone")),
)
