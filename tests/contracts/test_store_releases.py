"""What a store owes its callers: releases, keys and conformance."""

from __future__ import annotations

from datetime import timedelta

from cxplane.adapters.postgres.access import live_tenants
from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.entries import release_live, release_made
from cxplane.domain.key_entries import key_created, key_revoked
from tests.contracts.writes import (
    ACTION,
    NOW,
    T,
    about,
)


async def test_one_release_is_live_and_old_ones_keep_their_files(store: PostgresStore, dsn: str) -> None:
    assert (await store.live_release(T), await live_tenants(dsn)) == (None, [])
    for n, hash in enumerate(("aa", "bb")):
        at = NOW + timedelta(seconds=n)
        await store.save_release(T, hash, {"plane.yaml": hash})
        await store.save_release(T, hash, {"plane.yaml": "changed"})
        await store.append(
            about(release_made(hash, note=f"note {n}", gates={"check": "passed"}, at=at, actor="person:maria"))
        )
        await store.append(about(release_live(hash, previous=None, at=at, actor="person:maria")))
    assert await store.live_release(T) == "bb"
    assert [(r.hash, r.live, r.note, r.by, r.gates) for r in await store.releases(T)] == [
        ("bb", True, "note 1", "person:maria", {"check": "passed"}),
        ("aa", False, "note 0", "person:maria", {"check": "passed"}),
    ]
    assert await store.release_files(T, "aa") == {"plane.yaml": "aa"}
    assert await store.release_files(T, "cc") is None
    await store.append(about(release_live("aa", previous="bb", at=NOW + timedelta(minutes=1), actor="person:maria")))
    assert await store.live_release(T) == "aa"
    assert await live_tenants(dsn) == [T]


async def test_an_api_key_is_found_by_hash_in_its_own_tenant(store: PostgresStore, elsewhere: PostgresStore) -> None:
    await store.append(
        about(key_created("k1", caller="agent:fin", hash="h1", expires_at=None, at=NOW, actor="person:maria"))
    )
    await elsewhere.append(
        about(
            key_created("k2", caller="agent:fin", hash="h2", expires_at=NOW, at=NOW, actor="person:maria"),
            tenant="other",
        )
    )
    await store.append(about(key_revoked("k1", at=NOW, actor="person:maria")))
    found = await store.key_by_hash(T, "h1")
    assert found is not None
    assert (found.id, found.caller, found.created_by, found.revoked_at) == ("k1", "agent:fin", "person:maria", NOW)
    other = await elsewhere.key_by_hash("other", "h2")
    assert other is not None
    assert (other.expires_at, other.revoked_at) == (NOW, None)
    for tenant in (T, "other"):
        assert await store.key_by_hash(tenant, "h2") is None
    assert await store.key_by_hash(T, "h3") is None
    assert [k.id for k in await store.keys(T)] == ["k1"]


async def test_conformance_evidence_is_kept_by_contract(store: PostgresStore) -> None:
    await store.save_conformance(T, ACTION, "v1", {"passed": False}, NOW)
    await store.save_conformance(T, ACTION, "v1", {"passed": True}, NOW)
    await store.save_conformance(T, ACTION, "v2", {"passed": False}, NOW)
    assert await store.conformance(T) == {(ACTION, "v1"): {"passed": True}, (ACTION, "v2"): {"passed": False}}
    assert await store.conformance("other") == {}
