"""An allowing decision tells the intent; an approval is decided only while it is open."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.entries import approval_decided, is_intent, key_from, request_of
from cxplane.domain.record import Appended, KeyClaim, Moved, NewEntry, Write
from tests.contracts.writes import ACTION, NOW, T, asked, held, opened

DUE = NOW + timedelta(seconds=30)


def meant(id: str, **more: str) -> NewEntry:
    """An allowing decision that will be carried out."""
    body = {"verdict": "allow", "status": "running", "determined_by": "policy", "due": DUE.isoformat(), **more}
    return NewEntry("decision", id, NOW, "cxplane", body, release="rel1")


def done(id: str) -> NewEntry:
    return NewEntry("outcome", id, NOW + timedelta(seconds=1), "cxplane", {"status": "done"})


def ends(id: str, approval: str, status: str) -> NewEntry:
    return approval_decided(approval, id, status=status, by="person:maria", at=NOW, subject="c1")


async def test_a_decision_with_a_time_opens_an_intent_and_the_outcome_closes_it(store: PostgresStore) -> None:
    claim = KeyClaim(ACTION, "k", "r1")
    write = Write(T, (asked("r1", key="k"), meant("r1")), new_request="r1", claim=claim)
    assert isinstance(await store.append(write), Appended)
    (intent,) = await store.take_due_intents(T, DUE, lease_until=DUE)
    assert (intent.request, intent.action, intent.key, intent.due) == ("r1", ACTION, "k", DUE)
    assert isinstance(await store.append(Write(T, (done("r1"),), expect=("r1", "running"))), Appended)
    row = await store.request(T, "r1")
    assert row is not None and (row.status, row.key, row.verdict) == ("done", "k", "allow")
    assert await store.take_due_intents(T, DUE, lease_until=DUE) == []
    entries = await store.stream(T, "r1")
    assert [is_intent(e) for e in entries] == [False, True, False]
    assert [request_of(e) for e in entries] == ["r1"] * 3
    assert key_from(entries) == "k"


async def test_a_failed_outcome_gives_back_the_key_that_only_the_request_tells(store: PostgresStore) -> None:
    claim = KeyClaim(ACTION, "k", "r1")
    await store.append(Write(T, (asked("r1", key="k"), meant("r1")), new_request="r1", claim=claim))
    failed = NewEntry("outcome", "r1", NOW, "cxplane", {"status": "failed"})
    assert isinstance(await store.append(Write(T, (failed,), expect=("r1", "running"))), Appended)
    assert await store.claimed(T, ACTION, "k") is None


async def test_the_key_of_the_last_decision_counts_before_that_of_the_request(store: PostgresStore) -> None:
    entries = (asked("r1", key="k"), meant("r1", key="k2"))
    await store.append(Write(T, entries, new_request="r1", claim=KeyClaim(ACTION, "k2", "r1")))
    assert key_from(await store.stream(T, "r1")) == "k2"
    (intent,) = await store.take_due_intents(T, DUE, lease_until=DUE)
    assert intent.key == "k2"


async def test_an_approval_that_was_decided_is_not_decided_again(store: PostgresStore) -> None:
    """Approved, stopped by a budget and held anew: who answers the first approval comes too late."""
    await store.append(held("r1", "apr_1"))
    again = NewEntry("decision", "r1", NOW, "cxplane", {"verdict": "hold", "status": "held", "determined_by": "rule"})
    anew = Write(T, (ends("r1", "apr_1", "approved"), again, opened("r1", "apr_2")), expect=("r1", "held"))
    assert isinstance(await store.append(anew), Appended)
    late = Write(T, (ends("r1", "apr_1", "rejected"),), expect=("r1", "held"))
    assert await store.append(late) == Moved("r1", "decided")
    row = await store.request(T, "r1")
    assert row is not None and (row.status, row.approval) == ("held", "apr_2")
    assert isinstance(await store.append(Write(T, (ends("r1", "apr_2", "rejected"),), expect=("r1", "held"))), Appended)


async def test_of_two_answers_at_once_one_is_taken(store: PostgresStore) -> None:
    await store.append(held("r1", "apr_1"))
    both = [Write(T, (ends("r1", "apr_1", how),), expect=("r1", "held")) for how in ("rejected", "expired")]
    results = await asyncio.gather(*map(store.append, both))
    assert sorted(type(r).__name__ for r in results) == ["Appended", "Moved"]


async def test_what_an_older_plane_wrote_is_folded_as_it_was(store: PostgresStore) -> None:
    """The intent as an entry of its own, and the request's id in every body."""
    verdict = {"request": "r1", "verdict": "allow", "status": "running", "determined_by": "policy", "key": "k"}
    will = {"request": "r1", "action": ACTION, "key": "k", "due": DUE.isoformat()}
    entries = (
        asked("r1", key="k"),
        NewEntry("decision", "r1", NOW, "cxplane", verdict, release="rel1"),
        NewEntry("intent", "r1", NOW, "cxplane", will, release="rel1"),
    )
    claim = KeyClaim(ACTION, "k", "r1")
    assert isinstance(await store.append(Write(T, entries, new_request="r1", claim=claim)), Appended)
    (intent,) = await store.take_due_intents(T, DUE, lease_until=DUE)
    assert (intent.request, intent.action, intent.key, intent.due) == ("r1", ACTION, "k", DUE)
    ended = NewEntry("outcome", "r1", NOW, "cxplane", {"request": "r1", "status": "failed"})
    assert isinstance(await store.append(Write(T, (ended,), expect=("r1", "running"))), Appended)
    assert await store.claimed(T, ACTION, "k") is None
    found = await store.stream(T, "r1")
    assert [is_intent(e) for e in found] == [False, False, True, False]
    assert (key_from(found), {request_of(e) for e in found}) == ("k", {"r1"})
