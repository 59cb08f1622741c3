"""Entries of API keys. What each carries is in `domain/entries.py`."""

from __future__ import annotations

from datetime import datetime

from cxplane.domain.decision_body import lean
from cxplane.domain.record import NewEntry


def key_created(id: str, *, caller: str, hash: str, expires_at: datetime | None, at: datetime, actor: str) -> NewEntry:
    """`hash`: SHA-256 of the key, hex."""
    expires = expires_at.isoformat() if expires_at else None
    return NewEntry(
        "key.created", id, at, actor, lean({"id": id, "caller": caller, "hash": hash, "expires_at": expires})
    )


def key_revoked(id: str, *, at: datetime, actor: str) -> NewEntry:
    return NewEntry("key.revoked", id, at, actor, {"id": id})
