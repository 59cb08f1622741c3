"""After a store was set back: what an export knows of the time that was lost is done again, once, and only for this store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.customer_entries import customer_changed, customer_consented
from cxplane.domain.erasure import customer_hold
from cxplane.domain.errors import ExportFailed
from cxplane.domain.key_entries import key_created, key_revoked
from cxplane.domain.record import NewEntry, Write
from cxplane.loop import redoing
from cxplane.record.lost import Lost, lost_in
from tests.contracts.test_store import T, allowed

NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
BY = "operator:sam"


async def put(store: PostgresStore, *entries: NewEntry) -> None:
    for entry in entries:
        await store.append(Write(T, (entry,)))


def known(customer: str) -> NewEntry:
    return customer_changed(customer, attributes={"name": "Ada"}, identities=(), at=NOW, actor="system:crm")


def consent(customer: str, purpose: str, granted: bool) -> NewEntry:
    return customer_consented(customer, purpose=purpose, granted=granted, source="phone", at=NOW, actor="system:crm")


async def begin(store: PostgresStore) -> None:
    """What both pasts share."""
    await put(store, *(known(f"c-{n}") for n in range(1, 5)))
    await put(store, *(consent(f"c-{n}", "service", True) for n in range(1, 5)), consent("c-3", "ads", True))
    await put(store, key_created("k1", caller="agent:a", hash="11", expires_at=None, at=NOW, actor=BY))
    await put(store, key_created("k2", caller="agent:a", hash="22", expires_at=None, at=NOW, actor=BY))


async def lines(store: PostgresStore) -> list[bytes]:
    return [line.text for line in await store.lines(T, after=0, upto=await store.settled(), limit=10_000)]


async def restored(store: PostgresStore) -> None:
    """Here it is not the same database, so a jump of positions is not needed: nothing is written past what was lost."""
    last = await store.last(T, await store.settled())
    for _ in range(40):
        await put(store, NewEntry("note", "s", NOW, BY, {}))
    await put(store, NewEntry("store.restored", "store", NOW, BY, {"position": last}))


async def redone(store: PostgresStore, lost: Lost) -> redoing.Redone:
    return await redoing.redo(store, lost, await redoing.set_back(store), by=BY, now=NOW)


async def test_what_was_taken_away_is_taken_away_again_once(
    store: PostgresStore, empty_dsn: str, tmp_path: Path
) -> None:
    await begin(store)
    again = await open_store(empty_dsn, tenant=T)
    try:
        await begin(again)
        # lost:
        await put(
            store, consent("c-2", "service", False), consent("c-3", "ads", False), consent("c-3", "service", False)
        )
        await put(store, consent("c-3", "service", True), consent("c-new", "service", False))
        await put(store, key_revoked("k1", at=NOW, actor=BY), key_revoked("kx", at=NOW, actor=BY))
        await put(store, customer_hold("c-4", on=True, reason="case 1", at=NOW, actor=BY))
        await put(store, customer_hold("c-2", on=True, reason="", at=NOW, actor=BY))
        await put(store, customer_hold("c-2", on=False, reason="", at=NOW, actor=BY))
        for customer in ("c-1", "c-3"):
            await store.erasing.erase(T, customer, at=NOW, by=BY, reason="")
        await restored(again)
        await put(again, NewEntry("request.x", "s", NOW, BY, {}))
        set_back = await redoing.set_back(again)
        lost = lost_in(await lines(store), redoing.spans(set_back))
        await redoing.must_be_of_this_store(again, "record", lost)
        await again.append(allowed("r1", "k-1", customer="c-1"))  # under way for c-1
        first = await redone(again, lost)
        assert first.done == [
            "held      c-4",
            "withdrawn service of c-2",
            "revoked   key k1 of agent:a",
            "erased    c-3",
        ]
        assert len(first.left) == 1 and "c-1 has work under way: request r1" in first.left[0]
        assert (await redone(again, lost)).done == []
        assert await redoing.set_back(again) == set_back
        await redoing.looked_after(again, set_back, lost, by=BY, now=NOW)
        assert await redoing.set_back(again) == []
        (told,) = await again.entries(T, kind="store.redone")
        assert told.body == {"restored": set_back[-1].position, "upto": lost.last} and told.actor == BY
        assert (await again.erasing.left(T, "c-3")).living_keys == 0
        two = await again.customer(T, "c-2")
        assert two is not None and not two.purposes_allowed("chat", frozenset())
        assert [k.id for k in await again.keys(T) if k.revoked_at] == ["k1"]
    finally:
        await again.aclose()


async def test_what_was_said_anew_since_then_counts(store: PostgresStore) -> None:
    await begin(store)
    await restored(store)
    await put(store, consent("c-2", "service", True), customer_hold("c-4", on=False, reason="", at=NOW, actor=BY))
    await store.erasing.erase(T, "c-1", at=NOW, by=BY, reason="")
    await put(store, known("c-1"))  # who came back after that
    lost = Lost(
        erased={"c-1": None},
        withdrawn={("c-2", "service", None, ()): "x", ("c-3", "ads", None, ()): "x"},
        held={"c-4": ""},
    )
    assert (await redone(store, lost)).done == ["withdrawn ads of c-3"]


async def test_an_export_of_another_store_or_one_that_knows_nothing_is_refused(
    store: PostgresStore, empty_dsn: str
) -> None:
    await begin(store)
    before = await lines(store)
    again = await open_store(empty_dsn, tenant=T)
    try:
        await begin(again)
        theirs = await lines(again)
    finally:
        await again.aclose()
    await restored(store)
    spans = redoing.spans(await redoing.set_back(store))
    after = b'{"specversion":"1.0","id":"%d","type":"cxplane.note","time":"x"}' % (spans[0][0] + 1)
    for export, words in (
        (before, "nothing of the time that was lost"),
        ([after], "nothing from before it was lost"),
        ([*theirs[:-1], theirs[-1].replace(b'"k2"', b'"k9"'), after], "is not of this store"),
    ):
        with pytest.raises(ExportFailed, match=words) as told:
            await redoing.must_be_of_this_store(store, "record", lost_in(export, spans))
        assert "export" in told.value.next or "--by-hand" in told.value.next
    await redoing.must_be_of_this_store(store, "record", lost_in([*before, after], spans))
    with pytest.raises(ValueError, match="no CloudEvent"):
        lost_in([b"x"], spans)
