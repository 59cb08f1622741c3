"""Entries of API keys, and of the keys that sign the record. What each carries is in `domain/entries.py`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cxplane.domain.decision_body import lean
from cxplane.domain.record import NewEntry


def key_created(
    id: str,
    *,
    caller: str,
    hash: str,
    expires_at: datetime | None,
    at: datetime,
    actor: str,
    scope: Iterable[str] | None = None,
    actions: Iterable[str] | None = None,
    replaces: tuple[str, datetime] | None = None,
) -> NewEntry:
    """`hash`: SHA-256 of the key, hex. `replaces`: the key whose place it takes, and when that one ends."""
    body = {
        "id": id,
        "caller": caller,
        "hash": hash,
        "expires_at": expires_at.isoformat() if expires_at else None,
        "scope": sorted(scope) if scope is not None else None,
        "actions": sorted(actions) if actions is not None else None,
        "replaces": replaces[0] if replaces else None,
        "replaced_ends": replaces[1].isoformat() if replaces else None,
    }
    return NewEntry("key.created", id, at, actor, lean(body))


def key_revoked(id: str, *, at: datetime, actor: str) -> NewEntry:
    return NewEntry("key.revoked", id, at, actor, {"id": id})


def seal_key(key: str, *, endorsed: str | None, at: datetime) -> NewEntry:
    """`key`: the public key, as a verifier key; `endorsed`: a note in which the keys before it say so."""
    return NewEntry("seal.key", "seal", at, "cxplane", lean({"key": key, "endorsed": endorsed}))
