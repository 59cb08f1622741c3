"""What a store owes its callers: requests as their entries left them, and the work that waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.entries import approval_decided
from cxplane.domain.errors import Malformed
from cxplane.domain.record import (
    NewEntry,
    Write,
)
from tests.contracts.writes import (
    ACTION,
    NOW,
    T,
    allowed,
    held,
    told,
)

# requests --------------------------------------------------------------------------------------------


async def test_a_request_stands_where_its_entries_left_it(store: PostgresStore) -> None:
    await store.append(allowed("r1", "k", conversation="con1", body_hash="bh"))
    row = await store.request(T, "r1")
    assert row is not None
    assert (row.action, row.caller, row.customer, row.conversation) == (ACTION, "agent:fin", "c1", "con1")
    assert (row.verdict, row.status, row.key, row.input_hash, row.body_hash) == ("allow", "running", "k", "h-r1", "bh")
    assert (row.release, row.at, row.updated_at) == ("rel1", NOW, NOW)
    await store.append(told("r1", "failed", error="billing said no"))
    row = await store.request(T, "r1")
    assert row is not None
    assert (row.status, row.error, row.updated_at) == ("failed", "billing said no", NOW + timedelta(seconds=1))
    assert await store.request("other", "r1") is None


async def test_an_undo_that_is_done_marks_what_it_undid(store: PostgresStore) -> None:
    await store.append(allowed("r1"))
    await store.append(told("r1", "done"))
    await store.append(allowed("r2", undoes="r1"))
    await store.append(told("r2", "done"))
    row = await store.request(T, "r1")
    assert row is not None
    assert (row.status, row.undone_by) == ("done", "r2")


async def test_requests_are_listed_newest_first_page_by_page(store: PostgresStore) -> None:
    for n in range(25):
        await store.append(allowed(f"r{n:02}", at=NOW + timedelta(seconds=n // 3), customer=f"c{n % 2}"))
    seen, cursor = [], None
    while True:
        page, cursor = await store.requests(T, limit=4, cursor=cursor)
        seen += [r.id for r in page]
        if cursor is None:
            break
    assert seen == [f"r{n:02}" for n in reversed(range(25))]
    assert [r.id for r in (await store.requests(T, customer="c1", limit=2))[0]] == ["r23", "r21"]
    await store.append(told("r05", "done"))
    assert [r.id for r in (await store.requests(T, status="done"))[0]] == ["r05"]
    found, more = await store.requests(
        T, status="running", action=ACTION, caller="agent:fin", verdict="allow", limit=24
    )
    assert (len(found), more) == (24, None)
    assert (await store.requests("other"))[0] == []
    times = sorted(r.at for r in (await store.requests(T, limit=200))[0])
    bounded = (await store.requests(T, since=times[3], until=times[8], limit=200))[0]
    assert sorted(r.at for r in bounded) == [at for at in times if times[3] <= at < times[8]]
    assert bounded
    with pytest.raises(Malformed):
        await store.requests(T, cursor="nonsense")


async def test_entries_can_be_followed_by_kind_and_stream(store: PostgresStore, elsewhere: PostgresStore) -> None:
    for n in range(4):
        await store.append(allowed(f"r{n}"))
    await store.append(Write(T, (NewEntry("note", "r1", NOW, "x", {}),)))
    await elsewhere.append(Write("other", (NewEntry("note", "r1", NOW, "x", {}),)))
    assert [e.stream for e in await store.entries(T, kind="decision")] == ["r0", "r1", "r2", "r3"]
    assert [e.stream for e in await store.entries(T, kind="note")] == ["r1"]
    assert [e.kind for e in await store.entries(T, stream="r1")] == ["request", "decision", "note"]
    assert [e.kind for e in await store.entries(T, stream="r1", kind="note")] == ["note"]
    seen: list[int] = []
    while page := await store.entries(T, after=seen[-1] if seen else 0, limit=3):
        seen += [e.position for e in page]
    assert len(seen) == 9
    assert seen == sorted(seen)


# work that waits -------------------------------------------------------------------------------------


async def test_an_intent_is_taken_by_one_worker_until_its_lease_ends(store: PostgresStore) -> None:
    await store.append(allowed("r1", "k"))
    assert await store.take_due_intents(T, NOW, lease_until=NOW) == []
    later, lease = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    taken = await asyncio.gather(*(store.take_due_intents(T, later, lease_until=lease) for _ in range(5)))
    (intent,) = [intent for one in taken for intent in one]
    assert (intent.request, intent.action, intent.key, intent.due, intent.tries) == ("r1", ACTION, "k", lease, 0)
    assert len(await store.take_due_intents(T, lease, lease_until=lease)) == 1


async def test_an_unknown_outcome_leaves_the_intent_open_and_others_close_it(store: PostgresStore) -> None:
    for id in ("r1", "r2", "r3"):
        await store.append(allowed(id))
    due = NOW + timedelta(minutes=9)
    await store.append(told("r1", "unknown", due=due))
    await store.append(told("r2", "done"))
    await store.append(told("r3", "stuck"))
    (intent,) = await store.take_due_intents(T, due, lease_until=due)
    assert (intent.request, intent.tries) == ("r1", 1)
    assert (await store.stats())["open_intents"] == 1
    assert [r.id for r in (await store.requests(T, status="stuck"))[0]] == ["r3"]


async def test_approvals_are_listed_and_come_due(store: PostgresStore) -> None:
    soon = NOW + timedelta(minutes=5)
    await store.append(held("r1", "a1"))
    await store.append(held("r2", "a2", expires_at=soon))
    row = await store.approval(T, "a1")
    assert row is not None
    assert (row.request, row.action, row.customer, row.proposed_by) == ("r1", ACTION, "c1", "agent:fin")
    assert (row.approver_sets, row.four_eyes) == ((("supervisor",), ("billing", "care")), True)
    assert (row.status, row.opened_at, row.default) == ("open", NOW, "refuse")
    assert row.expires_at == NOW + timedelta(hours=4)
    assert await store.approval("other", "a1") is None
    assert [a.id for a in await store.due_approvals(T, soon)] == ["a2"]
    assert await store.due_approvals(T, NOW) == []
    first, cursor = await store.approvals(T, status="open", limit=1)
    second, end = await store.approvals(T, status="open", limit=1, cursor=cursor)
    assert ({first[0].id, second[0].id}, end) == ({"a1", "a2"}, None)
    await store.append(
        Write(
            T,
            (approval_decided("a2", "r2", status="expired", by="cxplane", at=soon, subject="c1"),),
            expect=("r2", "held"),
        )
    )
    assert await store.due_approvals(T, soon) == []
    assert [a.id for a in (await store.approvals(T, status="open"))[0]] == ["a1"]
    assert [a.id for a in (await store.approvals(T, status="expired"))[0]] == ["a2"]
