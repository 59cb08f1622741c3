"""Entries of customers and conversations. What each carries is in `domain/entries.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cxplane.domain.decision_body import lean
from cxplane.domain.record import NewEntry, subject_of


def customer_changed(
    customer: str,
    *,
    attributes: Mapping[str, Any],
    identities: Sequence[Mapping[str, str]],
    at: datetime,
    actor: str,
) -> NewEntry:
    return NewEntry(
        "customer.changed",
        customer,
        at,
        actor,
        {},
        lean({"attributes": dict(attributes), "identities": [dict(i) for i in identities]}),
        subject=customer,
    )


def customer_assured(customer: str, *, level: int, method: str, until: datetime, at: datetime, actor: str) -> NewEntry:
    return NewEntry(
        "customer.assurance", customer, at, actor, {"level": level, "method": method, "until": until.isoformat()}
    )


def customer_consented(
    customer: str,
    *,
    purpose: str,
    granted: bool,
    source: str,
    at: datetime,
    actor: str,
    channel: str | None = None,
    data: Sequence[str] = (),
) -> NewEntry:
    body = {"purpose": purpose, "granted": granted, "source": source}
    return NewEntry("customer.consent", customer, at, actor, body | lean({"channel": channel, "data": sorted(data)}))


def conversation_opened(conversation: str, *, customer: str | None, channel: str, at: datetime, actor: str) -> NewEntry:
    return NewEntry("conversation.opened", conversation, at, actor, lean({"customer": customer, "channel": channel}))


def fact_recorded(
    conversation: str, *, name: str, value: Any, at: datetime, actor: str, customer: str | None
) -> NewEntry:
    """`customer`: whom the conversation is with, None while that is not known."""
    subject = subject_of(customer, conversation)
    return NewEntry("fact.recorded", conversation, at, actor, {"name": name}, {"value": value}, subject=subject)
