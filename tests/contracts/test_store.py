"""What every store must do; run on the real one."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.entries import approval_decided
from cxplane.domain.errors import Malformed
from cxplane.domain.record import (
    Appended,
    KeyClaim,
    KeyTaken,
    Moved,
    NewEntry,
    RequestTaken,
    Wanted,
    Write,
)
from cxplane.ports.store import Store
from tests.contracts.writes import (
    ACTION,
    NOW,
    T,
    allowed,
    asked,
    came_out,
    decided,
    held,
    intended,
    opened,
    takes,
    told,
    used,
)

# appending -------------------------------------------------------------------------------------------


async def test_what_is_appended_is_read_back_whole(store: PostgresStore) -> None:
    entry = NewEntry(
        "note", "s1", NOW, "person:maria", {"a": [1, 2.5, None, "ü€𝄞"]}, {"p": {"q": True}}, "rel1", "because"
    )
    result = await store.append(Write(T, (entry, entry.changed(private=None, release=None, cause=None))))
    assert isinstance(result, Appended)
    first, second = await store.stream(T, "s1")
    assert (first.position, second.position) == result.positions
    assert (first.kind, first.stream, first.at, first.actor) == ("note", "s1", NOW, "person:maria")
    assert (first.body, first.private) == ({"a": [1, 2.5, None, "ü€𝄞"]}, {"p": {"q": True}})
    assert (first.release, first.cause, first.tenant) == ("rel1", "because", T)
    assert (second.private, second.release, second.cause) == (None, None, None)


async def test_positions_grow_and_streams_keep_their_order(store: PostgresStore) -> None:
    await asyncio.gather(
        *(store.append(Write(T, (NewEntry("note", f"s{n % 7}", NOW, "x", {"n": n}),))) for n in range(300))
    )
    entries = await store.entries(T, limit=1000)
    assert [e.position for e in entries] == sorted({e.position for e in entries})
    assert len(entries) == 300
    assert sorted(e.body["n"] for e in entries) == list(range(300))
    for e in range(7):
        positions = [x.position for x in await store.stream(T, f"s{e}")]
        assert positions == sorted(positions)


async def test_a_request_is_taken_once(store: PostgresStore) -> None:
    assert isinstance(await store.append(allowed("r1")), Appended)
    assert await store.append(allowed("r1")) == RequestTaken("r1")
    assert len(await store.stream(T, "r1")) == 2


async def test_the_same_request_at_the_same_moment_is_taken_once(store: PostgresStore) -> None:
    results = await asyncio.gather(*(store.append(allowed("r1")) for _ in range(20)))
    assert sum(isinstance(r, Appended) for r in results) == 1
    assert results.count(RequestTaken("r1")) == 19


async def test_a_request_that_moved_is_not_moved_again(store: PostgresStore) -> None:
    await store.append(allowed("r1"))
    assert await store.append(told("r1", "done", standing="held")) == Moved("r1", "running")
    assert await store.append(told("r9", "done")) == Moved("r9", None)
    assert isinstance(await store.append(told("r1", "done")), Appended)
    assert await store.append(told("r1", "failed")) == Moved("r1", "done")


async def test_a_key_belongs_to_one_request(store: PostgresStore, elsewhere: PostgresStore) -> None:
    await store.append(allowed("r1", "k"))
    assert await store.append(allowed("r2", "k")) == KeyTaken("r1", "h-r1")
    assert await store.claimed(T, ACTION, "k") == KeyTaken("r1", "h-r1")
    assert await store.claimed(T, ACTION, "other") is None
    assert await store.request(T, "r2") is None
    assert isinstance(await elsewhere.append(allowed("r3", "k", tenant="other")), Appended)


async def test_two_of_one_batch_compete_for_a_key(store: PostgresStore) -> None:
    results = await asyncio.gather(*(store.append(allowed(f"r{n}", "k")) for n in range(50)))
    winners = [n for n, r in enumerate(results) if isinstance(r, Appended)]
    assert len(winners) == 1
    assert all(r == KeyTaken(f"r{winners[0]}", f"h-r{winners[0]}") for n, r in enumerate(results) if n not in winners)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("failed", "failed"),
        ("rejected", "rejected"),
        ("edited", "replaced"),
        ("expired", "expired"),
        ("refused", "refused"),
    ],
)
async def test_what_did_not_happen_frees_its_key_and_budget(store: PostgresStore, how: str, status: str) -> None:
    if how == "failed":
        await store.append(allowed("r1", "k", takes(40, limit_money=50)))
        assert await used(store) == (40, 1, 1)
        await store.append(told("r1", "failed", error="billing said no"))
    else:
        write = held("r1", "a1", "k")
        await store.append(write.changed(reservations=(takes(40),)))
        assert await used(store) == (40, 1, 1)
        end = (
            decided("r1", "refuse")
            if how == "refused"
            else approval_decided("a1", "r1", status=how, by="person:maria", at=NOW, subject="c1")
        )
        await store.append(Write(T, (end,), expect=("r1", "held")))
    assert await used(store) == (0, 0, 0)
    assert await store.claimed(T, ACTION, "k") is None
    row = await store.request(T, "r1")
    assert row is not None
    assert row.status == status
    assert isinstance(await store.append(allowed("r2", "k", takes(50, limit_money=50))), Appended)


async def test_what_is_unknown_or_done_keeps_its_key_and_budget(store: PostgresStore) -> None:
    await store.append(allowed("r1", "k", takes(40)))
    await store.append(told("r1", "unknown", due=NOW))
    assert isinstance(await store.append(allowed("r2", "k")), KeyTaken)
    await store.append(told("r1", "stuck", standing="unknown"))
    assert isinstance(await store.append(allowed("r2", "k")), KeyTaken)
    await store.append(told("r1", "done", standing="stuck"))
    assert isinstance(await store.append(allowed("r2", "k")), KeyTaken)
    assert await used(store) == (40, 1, 1)


async def test_what_stood_on_a_counter_at_a_position_is_summed_up_from_the_entries(
    store: PostgresStore, elsewhere: PostgresStore
) -> None:
    day = ("daily", "agent:fin", "2026-03-05T00:00:00+01:00")

    async def spent(before: int, *counters: tuple[str, str, str], **more: Any) -> list[tuple[int, int]]:
        return [(u.money, u.count) for u in await store.spent(T, counters or (day,), before=before, **more)]

    first = await store.append(allowed("r1", "k1", takes(40)))
    await store.append(told("r1", "failed"))  # gives its 40 back
    second = await store.append(allowed("r2", "k2", takes(10), takes(5), takes(7, scope="agent:other")))
    await elsewhere.append(allowed("r3", "k3", takes(100), tenant="other"))
    third = await store.append(allowed("r4", "k4", takes(1)))
    assert isinstance(first, Appended)
    assert isinstance(second, Appended)
    assert isinstance(third, Appended)
    assert await spent(first.positions[0]) == []
    assert await spent(first.positions[-1] + 1) == [(40, 1)]
    assert await spent(second.positions[0]) == []
    assert await spent(third.positions[0]) == [(15, 2)]
    assert await spent(third.positions[-1] + 1) == [(16, 3)]
    assert await spent(third.positions[0], (day[0], "agent:other", day[2])) == [(7, 1)]
    assert await spent(third.positions[0], since=NOW + timedelta(hours=1)) == []
    assert await store.spent(T, (), before=10**9) == []


async def test_an_edit_takes_over_key_and_budget_in_one_write(store: PostgresStore) -> None:
    await store.append(held("r1", "a1", "k").changed(reservations=(takes(40, limit_money=50),)))
    edit = approval_decided(
        "a1", "r1", status="edited", by="person:maria", at=NOW, subject="c1", comment="less", replaced_by="r2"
    )
    write = allowed("r2", "k", takes(45, limit_money=50), replaces="r1")
    result = await store.append(write.changed(entries=(edit, *write.entries), expect=("r1", "held")))
    assert isinstance(result, Appended)
    old, new, approval = await store.request(T, "r1"), await store.request(T, "r2"), await store.approval(T, "a1")
    assert old is not None
    assert new is not None
    assert approval is not None
    assert (old.status, old.replaced_by, new.status) == ("replaced", "r2", "running")
    assert await store.claimed(T, ACTION, "k") == KeyTaken("r2", "h-r2")
    assert await used(store) == (45, 1, 1)
    assert (approval.status, approval.decided_by, approval.comment, approval.replaced_by) == (
        "edited",
        "person:maria",
        "less",
        "r2",
    )


async def test_an_approved_request_keeps_its_own_key(store: PostgresStore) -> None:
    await store.append(held("r1", "a1", "k"))
    write = Write(
        T,
        (
            approval_decided("a1", "r1", status="approved", by="person:maria", at=NOW, subject="c1"),
            intended("r1", key="k"),
        ),
        expect=("r1", "held"),
        claim=KeyClaim(ACTION, "k", "r1"),
        reservations=(takes(7),),
    )
    assert isinstance(await store.append(write), Appended)
    row = await store.request(T, "r1")
    assert row is not None
    assert (row.status, row.verdict, row.release, row.approval, row.key) == ("running", "allow", "rel1", "a1", "k")
    await store.append(told("r1", "failed"))
    assert await store.claimed(T, ACTION, "k") is None
    assert await used(store) == (0, 0, 0)


# poison ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["a\x00b", "\ud800", "\\\x00"])
async def test_a_text_that_cannot_be_kept_fails_alone(store: PostgresStore, bad: str) -> None:
    poison = Write(T, (NewEntry("note", "s", NOW, "x", {"text": bad}),))
    results = await asyncio.gather(
        *(store.append(allowed(f"r{n}")) for n in range(5)),
        store.append(poison),
        *(store.append(allowed(f"r{n}")) for n in range(5, 10)),
        return_exceptions=True,
    )
    assert isinstance(results.pop(5), Malformed)
    assert all(isinstance(r, Appended) for r in results)


async def test_a_text_about_nul_is_no_nul(store: PostgresStore) -> None:
    text = "write \\u0000 or \\\\u0000"
    await store.append(Write(T, (NewEntry("note", "s", NOW, "x", {"text": text}),)))
    assert (await store.stream(T, "s"))[0].body["text"] == text


async def test_what_only_postgres_finds_wrong_fails_alone(store: PostgresStore) -> None:
    poison = Write(T, (NewEntry("note", "nul\x00stream", NOW, "x", {}),))
    wrong = Write(T, (came_out("r0", "unknown"), intended("r0").changed(body={"verdict": "allow", "due": "no time"})))
    results = await asyncio.gather(
        store.append(allowed("r1")),
        store.append(wrong),
        store.append(poison),
        store.append(allowed("r2")),
        return_exceptions=True,
    )
    assert [type(r) for r in results] == [Appended, Malformed, Malformed, Appended]
    assert await store.stream(T, "r0") == []


async def test_a_question_that_cannot_be_asked_is_malformed(store: PostgresStore) -> None:
    with pytest.raises(Malformed):
        await store.request(T, "a\x00b")


async def test_what_waits_is_written_before_the_store_closes(dsn: str) -> None:
    store = await open_store(dsn, tenant="northwind")
    asks = [asyncio.create_task(store.append(allowed(f"r{n}"))) for n in range(500)]
    await asyncio.sleep(0)
    await store.aclose()
    assert all(isinstance(r, Appended) for r in await asyncio.gather(*asks))


async def test_the_store_tells_what_time_it_is(store: PostgresStore) -> None:
    first, second = await store.now(), await store.now()
    assert first < second and first.utcoffset() == timedelta(0)


async def test_lines_are_the_entries_as_they_are_exported(store: Store, elsewhere: Store) -> None:
    await store.append(Write(T, (asked("r1", key="k"), intended("r1", key="k"))))
    await elsewhere.append(Write("other", (asked("r2"),)))
    await store.append(Write(T, (came_out("r1", "done"),)))
    top = await store.settled()
    lines = await store.lines(T, after=0, upto=top)
    entries = await store.entries(T, limit=100)
    assert [line.position for line in lines] == [e.position for e in entries]
    for line, entry in zip(lines, entries, strict=True):
        told = json.loads(line.text)
        assert (told["id"], told["type"], told["subject"]) == (
            str(entry.position),
            f"cxplane.{entry.kind}",
            entry.stream,
        )
        assert told["data"]["body"] == entry.body
        assert (line.kind, line.at) == (entry.kind, entry.at)


async def test_lines_come_by_position_kind_and_time(store: Store) -> None:
    for n in range(6):
        await store.append(Write(T, (asked(f"r{n}", at=NOW + timedelta(days=n)), opened(f"r{n}", f"a{n}"))))
    top = await store.settled()

    async def got(after: int = 0, limit: int = 100, **wanted: Any) -> list[int]:
        found = await store.lines(T, after=after, upto=top, wanted=Wanted(**wanted), limit=limit)
        return [line.position for line in found]

    everything = await got()
    assert len(everything) == 12
    assert await got(after=everything[3], limit=2) == everything[4:6]
    assert await got(kinds=("request",)) == everything[::2]
    assert await got(kinds=("approval.opened",)) == everything[1::2]
    assert await got(kinds=("approval.opened", "request")) == everything
    assert await got(kinds=("request",), since=NOW + timedelta(days=2), until=NOW + timedelta(days=4)) == [
        everything[4],
        everything[6],
    ]
    assert [line.position for line in await store.lines(T, after=0, upto=everything[2])] == everything[:3]
