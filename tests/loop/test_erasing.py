"""A customer is erased: nobody reads them any more, the record says who did it, and nothing new goes under their key."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.operator_key import OperatorKey
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.customer_entries import customer_changed, fact_recorded
from cxplane.domain.erasure import CustomerErased, UnderWay, customer_hold
from cxplane.domain.errors import Conflict, Forbidden, KeyDestroyed, Malformed, NotFound, StoreError
from cxplane.domain.record import NewEntry, Write
from tests.loop.journeys import country
from tests.loop.world import PLANE, world

T = "northwind"
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
MAY_ERASE = PLANE.replace("record: [supervisor]", "record: [supervisor]\n  erase: [supervisor]")


async def erase(store: PostgresStore, customer: str = "c1") -> CustomerErased | UnderWay:
    return await store.erasing.erase(T, customer, at=NOW, by="person:maria", reason="asked")


def note(n: int = 1, subject: str = "c1", text: str = "secret") -> Write:
    return Write(T, (NewEntry("note", f"s{n}", NOW, "person:m", {}, {"text": text}, subject=subject),))


async def test_an_erased_case_says_so_and_nothing_is_left(dsn: str) -> None:
    async with world(dsn, plane=MAY_ERASE) as w:
        maria, fin = w.plane.caller("person:maria"), w.plane.caller("agent:fin")
        await w.know(segment="gold")
        view = await w.ask(1000, reason="the marker of Ursula")
        told = await w.plane.erase(maria, "c1", reason="letter of 5 March")
        assert told.entries == 4  # what is known of them, request, decision, outcome
        assert all(len(key.proof) == 64 for key in told.keys)
        text = (await w.plane.explain(maria, view.id)).text
        assert f"erased on {told.at:%Y-%m-%d %H:%M} UTC by person:maria" in text
        assert "Ursula" not in text
        again = (await w.plane.replay(maria, view.id)).text
        assert again.startswith("It cannot be made once more.")
        assert (
            f"It cannot be made once more: personal data was erased on {told.at:%Y-%m-%d %H:%M} UTC by person:maria"
            in again
        )
        assert "was made once more under" not in again
        assert (await w.plane.request(fin, view.id)).status == "done"
        left = await w.plane.left_of(maria, "c1")
        assert (left.nothing, left.unreadable, left.readable, left.rows) == (True, 4, 0, 0)
        with pytest.raises(NotFound):
            await w.plane.customer(w.plane.caller("system:crm"), "c1")
        assert (await w.ask(1000, dispute="d2")).decision == "refuse"
        with pytest.raises(NotFound, match="never erased"):
            await w.plane.left_of(maria, "c2")


async def test_only_whom_plane_yaml_names_may_erase(dsn: str) -> None:
    async with world(dsn, plane=MAY_ERASE) as w:
        await w.know()
        for name in ("agent:fin", "system:crm", "person:ben"):
            for attempt in (w.plane.erase, w.plane.left_of, lambda c, id: w.plane.hold(c, id, on=True)):
                with pytest.raises(Forbidden):
                    await attempt(w.plane.caller(name), "c1")


async def test_a_customer_that_nobody_heard_of_is_not_said_to_be_erased(dsn: str) -> None:
    async with world(dsn, plane=MAY_ERASE) as w:
        await w.know(customer="c2")
        maria = w.plane.caller("person:maria")
        with pytest.raises(NotFound, match="nothing was ever kept of a customer c-1"):
            await w.plane.erase(maria, "c-1")
        assert await w.plane.entries(maria, kind="customer.erased") == []
        for _ in range(2):  # of whom nothing personal is kept, or who is erased already, it is said
            assert (await w.plane.erase(maria, "c2")).entries == 0


async def test_a_reason_that_holds_personal_data_is_not_put_on_record_for_good(dsn: str) -> None:
    async with world(dsn, plane=MAY_ERASE) as w:
        await w.know(segment="gold")
        maria = w.plane.caller("person:maria")
        with pytest.raises(Malformed, match=r"asked for by \[email\]") as told:
            await w.plane.erase(maria, "c1", reason="asked for by ursula@example.org")
        assert told.value.where == "/reason"
        with pytest.raises(Malformed):
            await w.plane.hold(maria, "c1", on=True, reason="claim of DE89370400440532013000")
        assert (await w.plane.erase(maria, "c1", reason="letter of 5 March, case 12 O 345/26")).entries == 1


async def test_what_is_under_way_is_named_and_keeps_the_customer(dsn: str) -> None:
    async with world(dsn, plane=MAY_ERASE) as w:
        maria = w.plane.caller("person:maria")
        await w.know()
        held = await w.ask(6000)
        with pytest.raises(Conflict, match=f"{held.id} .billing.issue_credit, held"):
            await w.plane.erase(maria, "c1")
        await w.plane.reject(maria, str(held.approval), comment="no")
        assert (await w.plane.erase(maria, "c1")).entries >= 3


async def test_a_run_that_waits_keeps_the_customer_until_it_ends(dsn: str) -> None:
    async with country(dsn) as c:
        await c.know()
        run = await c.dispute(amount=6000)
        await c.until(run, "waiting")
        store: Any = c.plane.store
        told = await store.erasing.erase("acme", "c1", at=datetime.now(UTC), by="person:maria", reason="")
        assert isinstance(told, UnderWay)
        assert [id for id, _, _ in told.runs] == [run]
        await c.plane.steer(c.maria, run, "cancel")
        await c.until(run)
        told = await store.erasing.erase("acme", "c1", at=datetime.now(UTC), by="person:maria", reason="")
        assert isinstance(told, CustomerErased)
        items = await c.plane.timeline(c.maria, run)
        assert items[-1]["text"].startswith("Personal data was erased on")
        view = await c.view(run)
        assert (dict(view.input), view.run.status) == ({}, "cancelled")
        left = await store.erasing.left("acme", "c1")
        assert left.nothing, left


async def test_nothing_new_goes_under_a_destroyed_key_however_fresh_it_is_in_memory(dsn: str) -> None:
    one, other = await open_store(dsn, tenant=T), await open_store(dsn, tenant=T)
    try:
        await one.append(note(1))
        await other.append(note(2))  # both hold the key in memory now
        assert isinstance(await erase(one), CustomerErased)
        with pytest.raises(KeyDestroyed):
            await other.append(note(3))
        assert await other.stream(T, "s3") == []
        await other.append(note(4, text="told after the erasure"))  # asked again: a new key
        (kept,) = await one.stream(T, "s4")
        assert kept.private == {"text": "told after the erasure"}
        left = await one.erasing.left(T, "c1")
        assert (left.unreadable, left.readable, left.living_keys, left.nothing) == (2, 1, 1, False)
    finally:
        await asyncio.gather(one.aclose(), other.aclose())


async def test_one_write_that_may_not_be_does_not_harm_its_neighbours(dsn: str) -> None:
    one, other = await open_store(dsn, tenant=T), await open_store(dsn, tenant=T)
    try:
        await asyncio.gather(*(other.append(note(n, f"c{n % 3}")) for n in range(6)))
        await erase(one, "c1")
        done = await asyncio.gather(
            *(other.append(note(10 + n, f"c{n % 3}")) for n in range(12)), return_exceptions=True
        )
        assert [isinstance(d, KeyDestroyed) for d in done] == [n % 3 == 1 for n in range(12)]
    finally:
        await asyncio.gather(one.aclose(), other.aclose())


async def test_erasing_while_many_write_leaves_nothing_readable_from_before(dsn: str) -> None:
    stores = [await open_store(dsn, tenant=T) for _ in range(2)]
    try:
        await stores[0].append(note(0))

        async def writes(store: PostgresStore, start: int) -> None:
            for n in range(start, start + 40):
                try:
                    await store.append(note(n))
                except KeyDestroyed:
                    return

        working = [asyncio.create_task(writes(store, 100 * n)) for n, store in enumerate(stores, 1)]
        await asyncio.sleep(0.02)
        told = await erase(stores[0])
        await asyncio.gather(*working)
        assert isinstance(told, CustomerErased)
        left = await stores[1].erasing.left(T, "c1")
        assert left.readable == 0 or left.living_keys == 1  # a new key only for what was written afterwards
        dead = {key.id for key in told.keys}
        link = await asyncpg.connect(dsn)
        wrapped = await link.fetch("select wrapped from cxplane.subject_key where id = any($1)", list(dead))
        late = await link.fetchval(
            "select count(*) from cxplane.entry where position > $1 and private::text ~ any($2)",
            told.position,
            list(dead),
        )
        await link.close()
        assert ([row["wrapped"] for row in wrapped], late) == ([None], 0)
    finally:
        await asyncio.gather(*(store.aclose() for store in stores))


async def test_an_erased_customer_stays_erased_when_projections_are_folded_again(
    store: PostgresStore, dsn: str
) -> None:
    await store.append(
        Write(T, (customer_changed("c1", attributes={"name": "Ursula"}, identities=[], at=NOW, actor="system:crm"),))
    )
    await store.append(
        Write(T, (fact_recorded("v1", name="mood", value="sad", at=NOW, actor="agent:fin", customer=None),))
    )
    await erase(store)
    await store.rebuild(T)
    assert await store.customer(T, "c1") is None
    assert (await store.situation(T, None, "v1")).recorded["mood"].value == "sad"  # somebody else's, as far as is known


async def test_what_was_said_before_the_customer_was_known_is_erased_with_them(store: PostgresStore) -> None:
    from cxplane.domain.customer_entries import conversation_opened

    await store.append(
        Write(T, (fact_recorded("v1", name="mood", value="sad", at=NOW, actor="agent:fin", customer=None),))
    )
    await store.append(Write(T, (conversation_opened("v1", customer="c1", channel="chat", at=NOW, actor="agent:fin"),)))
    assert isinstance(told := await erase(store), CustomerErased)
    assert told.entries == 1
    assert [e.private for e in await store.stream(T, "v1")] == [None, None]
    assert (await store.situation(T, None, "v1")).recorded == {}


async def test_a_hold_keeps_a_customer_until_it_is_lifted(store: PostgresStore) -> None:
    await store.append(note())
    await store.append(Write(T, (customer_hold("c1", on=True, reason="case", at=NOW, actor="person:maria"),)))
    assert await erase(store) == UnderWay(on_hold=True)
    await store.append(Write(T, (customer_hold("c1", on=False, reason="", at=NOW, actor="person:maria"),)))
    assert isinstance(await erase(store), CustomerErased)


# retention --------------------------------------------------------------------------------------------------

KEEP = {"billing": timedelta(days=3653), "signals": timedelta(days=30), "default": timedelta(days=731)}


async def test_what_was_kept_long_enough_is_put_away_class_by_class(store: PostgresStore) -> None:
    store.keep(T, KEEP)
    now = datetime.now(UTC)
    data = {"s1": (), "s2": ("billing",), "s3": ("orders", "billing")}
    for stream, classes in data.items():
        entry = NewEntry("note", stream, now, "x", {}, {"n": 1}, subject="c1", data=classes)
        await store.append(Write(T, (entry,)))
    signal = NewEntry("note", "s4", now, "x", {}, {"n": 1}, subject="c1")
    await store.append(Write(T, (signal,)))
    await store.append(Write(T, (NewEntry("signal", "g1", now, "x", {"type": "t", "key": "k"}, {"data": 1}),)))
    readable = lambda: _readable(store, "s1", "s2", "s3", "g1")  # noqa: E731
    assert await store.erasing.retain(T, KEEP, now=now + timedelta(days=29), by="cxplane") == 0
    assert await readable() == ["s1", "s2", "s3", "g1"]
    assert await store.erasing.retain(T, KEEP, now=now + timedelta(days=32), by="cxplane") == 1
    store.subject_keys._by_id.clear()  # as a minute later
    assert await readable() == ["s1", "s2", "s3"]
    assert await store.erasing.retain(T, KEEP, now=now + timedelta(days=800), by="cxplane") == 1
    store.subject_keys._by_id.clear()
    assert await readable() == ["s2", "s3"]
    told = await store.entries(T, kind="retention.applied")
    assert [e.body["classes"] for e in told] == [{"signals": 1}, {"default": 1}]
    (gone,) = await store.stream(T, "s1")
    assert gone.erased is not None
    assert (gone.erased.why, gone.erased.by) == ("retention", "cxplane")


async def test_the_time_begins_when_an_entry_says_it_was_not_when_this_machine_thinks_it_is(
    store: PostgresStore,
) -> None:
    store.keep(T, KEEP)
    now = datetime.now(UTC)
    for stream, at in (("g1", now - timedelta(days=40)), ("g2", now)):
        await store.append(Write(T, (NewEntry("signal", stream, at, "x", {"type": "t", "key": "k"}, {"data": 1}),)))
    assert await store.erasing.retain(T, KEEP, now=now, by="cxplane") == 1
    store.subject_keys._by_id.clear()
    assert await _readable(store, "g1", "g2") == ["g2"]


async def _readable(store: PostgresStore, *streams: str) -> list[str]:
    return [stream for stream in streams if (await store.stream(T, stream))[0].private is not None]


async def test_what_is_known_of_a_customer_now_has_no_end(store: PostgresStore) -> None:
    store.keep(T, KEEP)
    await store.append(
        Write(T, (customer_changed("c1", attributes={"name": "Ursula"}, identities=[], at=NOW, actor="system:crm"),))
    )
    assert await store.erasing.retain(T, KEEP, now=datetime.now(UTC) + timedelta(days=9999), by="cxplane") == 0
    assert (known := await store.customer(T, "c1")) is not None
    assert known.attributes == {"name": "Ursula"}
    assert isinstance(await erase(store), CustomerErased)


async def test_work_under_way_and_a_hold_outlast_the_time(dsn: str) -> None:
    plane = MAY_ERASE + "retention: {default: 1d}\n"
    async with world(dsn, plane=plane) as w:
        maria = w.plane.caller("person:maria")
        await w.know()
        held = await w.ask(6000)
        later = datetime.now(UTC) + timedelta(days=50)
        retain: Any = lambda: w.plane.store.erasing.retain("acme", {"default": timedelta(days=1)}, now=later, by="x")  # noqa: E731
        assert await retain() == 0
        await w.plane.reject(maria, str(held.approval), comment="no")
        await w.plane.hold(maria, "c1", on=True)
        assert await retain() == 0
        await w.plane.hold(maria, "c1", on=False)
        assert await retain() == 1


# the operator's key -----------------------------------------------------------------------------------------


async def test_the_operator_key_is_rotated_while_planes_run(dsn: str) -> None:
    old, new = b"o" * 32, b"n" * 32
    before = await open_store(dsn, tenant=T, operator=OperatorKey([old]))
    both = await open_store(dsn, tenant=T, operator=OperatorKey([new, old]))
    try:
        for n in range(25):
            await before.append(note(n, f"c{n}"))
        assert [await both.erasing.rewrap(T, limit=10) for _ in range(4)] == [10, 10, 5, 0]
        await both.append(note(99, "c99"))
        after = await open_store(dsn, tenant=T, operator=OperatorKey([new]))
        try:
            assert all([(await after.stream(T, f"s{n}"))[0].private == {"text": "secret"} for n in [*range(25), 99]])
        finally:
            await after.aclose()
        with pytest.raises(StoreError, match="wrapped by the operator key"):
            await open_store(dsn, tenant=T, operator=OperatorKey([old]))
    finally:
        await asyncio.gather(before.aclose(), both.aclose())


async def opened_and_read(dsn: str, stream: str) -> None:
    fresh = await open_store(dsn, tenant=T)
    try:
        await fresh.stream(T, stream)
    finally:
        await fresh.aclose()


async def test_a_row_that_was_changed_by_hand_is_found_out(store: PostgresStore, dsn: str) -> None:
    await store.append(note(1, "c1"))
    await store.append(note(2, "c2"))
    link = await asyncpg.connect(dsn)
    await link.execute("update cxplane.subject_key set wrapped = sha256(wrapped) where subject = 'c1'")
    await link.close()
    with pytest.raises(StoreError, match="cannot be unwrapped"):
        await opened_and_read(dsn, "s1")
    assert json.dumps((await store.stream(T, "s2"))[0].private)
