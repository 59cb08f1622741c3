"""Rows of Postgres as words of the domain, and cursors of lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from cxplane.domain.customer import Assurance, Consent, Customer, Identity, Recorded
from cxplane.domain.errors import Malformed
from cxplane.domain.record import ApprovalRow, Entry, KeyRow, OpenIntent, RequestRow

_RELEASE = "(select n.hash from cxplane.release_name n where n.id = release) as release"
REQUEST = (
    f"id, action, caller, customer, conversation, verdict, status, key, input_hash, body_hash, {_RELEASE}, at,"
    " updated_at, approval, error, replaced_by, undone_by"
)
ENTRY = f"position, tenant, kind, stream, at, actor, body, private, {_RELEASE}, cause"
APPROVAL = (
    "id, request, action, customer, proposed_by, approver_sets, four_eyes, status, opened_at, expires_at, fallback,"
    " decided_by, decided_at, comment, replaced_by"
)
CUSTOMER = "id, attributes, identities, assurances, consents"
KEY = "id, caller, created_at, created_by, expires_at, revoked_at"


def request_row(row: Any) -> RequestRow:
    return RequestRow(*row)


def entry(row: Any) -> Entry:
    return Entry(*row)


def approval_row(row: Any) -> ApprovalRow:
    values = list(row)
    values[5] = tuple(tuple(s) for s in values[5])
    return ApprovalRow(*values)


def intent(row: Any) -> OpenIntent:
    return OpenIntent(row["request"], row["action"], row["key"], row["due"], row["tries"])


def key_row(row: Any) -> KeyRow:
    return KeyRow(*row)


def customer(row: Any) -> Customer:
    return Customer(
        id=row["id"],
        attributes=row["attributes"],
        identities=tuple(Identity(i["kind"], i["value"]) for i in row["identities"]),
        assurances=tuple(
            Assurance(a["level"], a["method"], datetime.fromisoformat(a["until"])) for a in row["assurances"]
        ),
        consents=tuple(
            Consent(
                purpose=c["purpose"],
                granted=c["granted"],
                at=datetime.fromisoformat(c["at"]),
                source=c["source"],
                channel=c["channel"],
                data=frozenset(c["data"]),
            )
            for c in row["consents"]
        ),
    )


def recorded(values: Mapping[str, Any]) -> dict[str, Recorded]:
    return {name: Recorded(name, v["value"], v["by"], datetime.fromisoformat(v["at"])) for name, v in values.items()}


def cursor(*parts: datetime | str) -> str:
    """Where the next page starts; opaque to callers."""
    texts = [p.isoformat() if isinstance(p, datetime) else p for p in parts]
    return base64.urlsafe_b64encode(msgspec.json.encode(texts)).rstrip(b"=").decode()


def from_cursor(text: str, count: int) -> list[str]:
    """Raises Malformed for what is not a cursor of ours."""
    try:
        parts = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=list[str])
        if len(parts) != count:
            raise ValueError(count)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Malformed(
            "the cursor is not one of ours", where="/cursor", next="Start again without a cursor."
        ) from None
    return parts


def time_cursor(text: str) -> tuple[datetime, str]:
    """(time, id) of the last row seen."""
    at, id = from_cursor(text, 2)
    try:
        return datetime.fromisoformat(at), id
    except ValueError:
        raise Malformed(
            "the cursor is not one of ours", where="/cursor", next="Start again without a cursor."
        ) from None
