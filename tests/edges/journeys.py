"""Runs on a plane from outside: what starts them, where they stand, what reaches them."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from tests.edges.running import Running, until

CARE, CRM, BOT = "person:sam", "system:crm-sync", "agent:helper"


def start(
    plane: Running, order: str, journey: str = "goods_back", key: str | None = None, **more: Any
) -> httpx.Response:
    body = {"journey": journey, "customer": "c-1", "input": {"order_id": order, "amount": 2500}, **more}
    with plane.http(CARE) as http:
        return http.post("/v1/runs", json=body, headers={"Idempotency-Key": key} if key else {})


def look(plane: Running, id: str, by: str = CARE) -> dict[str, Any]:
    with plane.http(by) as http:
        reply = http.get(f"/v1/runs/{id}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def comes_to(plane: Running, id: str, status: str, at: str | None = None) -> dict[str, Any]:
    """The run, as soon as it stands so."""

    def there() -> bool:
        run = look(plane, id)["run"]
        return run["status"] == status and (at is None or run["at"] == [at])

    until(there)
    return look(plane, id)


def event(type: str, key: str, **changes: Any) -> dict[str, Any]:
    id = f"e-{time.monotonic_ns()}"
    return {"specversion": "1.0", "id": id, "source": "/shop", "type": type, "subject": key, "data": {}, **changes}


def send(plane: Running, event: Any, media: str = "application/cloudevents+json", by: str = CRM) -> httpx.Response:
    with plane.http(by) as http:
        return http.post("/v1/signals", content=json.dumps(event), headers={"Content-Type": media})


def at_parcel(plane: Running, order: str) -> str:
    id: str = start(plane, order).json()["run"]["id"]
    comes_to(plane, id, "waiting", "parcel")
    return id


def at_agree(plane: Running, order: str) -> tuple[str, str]:
    """A run that waits for a person, and the task."""
    id = at_parcel(plane, order)
    assert send(plane, event("shop.parcel_arrived", order)).json()["runs_reached"] == 1
    told = comes_to(plane, id, "waiting", "agree")
    return id, told["tasks"][0]["id"]
