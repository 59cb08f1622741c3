"""Entries and writes as tests of the store make them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.domain.budget import Reservation
from cxplane.domain.record import (
    KeyClaim,
    NewEntry,
    Write,
)
from cxplane.ports.store import Store

T = "northwind"
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
ACTION = "billing.issue_credit"


def asked(id: str, *, key: str | None = None, customer: str | None = "c1", at: datetime = NOW, **more: Any) -> NewEntry:
    body = {"id": id, "action": ACTION, "version": 1, "caller": "agent:fin", "input_hash": f"h-{id}", "channel": "chat"}
    if key:
        body["key"] = key
    if customer:
        body["customer"] = customer
    return NewEntry("request", id, at, "agent:fin", body | more, {"input": {"amount": 5}})


def decided(id: str, verdict: str = "allow", *, key: str | None = None, at: datetime = NOW) -> NewEntry:
    status = {"allow": "running", "hold": "held", "refuse": "refused"}[verdict]
    body = {"verdict": verdict, "status": status, "determined_by": "policy"}
    return NewEntry("decision", id, at, "cxplane", body | ({"key": key} if key else {}), release="rel1")


def intended(id: str, *, key: str | None = None, due: datetime = NOW + timedelta(seconds=30)) -> NewEntry:
    """An allowing decision, which will be carried out."""
    one = decided(id, key=key)
    return one.changed(body={**one.body, "due": due.isoformat()})


def came_out(id: str, status: str, *, due: datetime | None = None, error: str | None = None) -> NewEntry:
    body: dict[str, Any] = {"status": status}
    if due:
        body["due"] = due.isoformat()
    if error:
        body["error"] = error
    return NewEntry("outcome", id, NOW + timedelta(seconds=1), "cxplane", body, {"output": {"credit": 1}})


def opened(id: str, approval: str, *, expires_at: datetime = NOW + timedelta(hours=4)) -> NewEntry:
    body = {
        "approval": approval,
        "request": id,
        "action": ACTION,
        "customer": "c1",
        "proposed_by": "agent:fin",
        "approver_sets": [["supervisor"], ["billing", "care"]],
        "four_eyes": True,
        "expires_at": expires_at.isoformat(),
        "default": "refuse",
    }
    return NewEntry("approval.opened", id, NOW, "cxplane", body)


def allowed(id: str, key: str | None = None, *reservations: Reservation, tenant: str = T, **more: Any) -> Write:
    """A write that is asked for, allowed and about to be done."""
    return Write(
        tenant,
        (asked(id, key=key, **more), intended(id)),
        new_request=id,
        claim=KeyClaim(ACTION, key, id) if key else None,
        reservations=reservations,
    )


def held(id: str, approval: str, key: str | None = None, **more: Any) -> Write:
    return Write(
        T,
        (asked(id, key=key), decided(id, "hold"), opened(id, approval, **more)),
        new_request=id,
        claim=KeyClaim(ACTION, key, id) if key else None,
    )


def told(id: str, status: str, standing: str = "running", **more: Any) -> Write:
    return Write(T, (came_out(id, status, **more),), expect=(id, standing))


def takes(money: int = 1, count: int = 1, *, scope: str = "agent:fin", **more: Any) -> Reservation:
    return Reservation("daily", scope, "2026-03-05T00:00:00+01:00", money, count, 1, **more)


async def used(store: Store) -> tuple[int, int, int]:
    uses = await store.budget_uses(T)
    return sum(u.money for u in uses), sum(u.count for u in uses), sum(u.risk for u in uses)


def about(*entries: NewEntry, tenant: str = T) -> Write:
    return Write(tenant, entries)
