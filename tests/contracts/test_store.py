"""What every store must do; run on the real one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cxplane.adapters.postgres.access import live_tenants
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.budget import Reservation
from cxplane.domain.customer import Assurance, Identity
from cxplane.domain.customer_entries import (
    conversation_opened,
    customer_assured,
    customer_changed,
    customer_consented,
    fact_recorded,
)
from cxplane.domain.entries import approval_decided, release_live, release_made
from cxplane.domain.errors import Malformed
from cxplane.domain.key_entries import key_created, key_revoked
from cxplane.domain.record import (
    Appended,
    BudgetExhausted,
    BudgetUse,
    KeyClaim,
    KeyTaken,
    Moved,
    NewEntry,
    RequestTaken,
    Wanted,
    Write,
)
from cxplane.ports.store import Store

T = "northwind"
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
ACTION = "billing.issue_credit"


def asked(id: str, *, key: str | None = None, customer: str | None = "c1", at: datetime = NOW, **more: Any) -> NewEntry:
    body = {"id": id, "action": ACTION, "version": 1, "caller": "agent:fin", "input_hash": f"h-{id}", "channel": "chat"}
    if key:
        body["key"] = key
    if customer:
        body["customer"] = customer
    return NewEntry("request", id, at, "agent:fin", body | more, {"input": {"amount": 5}})


def decided(id: str, verdict: str = "allow", *, key: str | None = None, at: datetime = NOW) -> NewEntry:
    status = {"allow": "running", "hold": "held", "refuse": "refused"}[verdict]
    body = {"request": id, "verdict": verdict, "status": status, "determined_by": "policy"}
    return NewEntry("decision", id, at, "cxplane", body | ({"key": key} if key else {}), release="rel1")


def intended(id: str, *, key: str | None = None, due: datetime = NOW + timedelta(seconds=30)) -> NewEntry:
    body = {"request": id, "action": ACTION, "due": due.isoformat()} | ({"key": key} if key else {})
    return NewEntry("intent", id, NOW, "cxplane", body, release="rel1")


def came_out(id: str, status: str, *, due: datetime | None = None, error: str | None = None) -> NewEntry:
    body: dict[str, Any] = {"request": id, "status": status}
    if due:
        body["due"] = due.isoformat()
    if error:
        body["error"] = error
    return NewEntry("outcome", id, NOW + timedelta(seconds=1), "cxplane", body, {"output": {"credit": 1}})


def opened(id: str, approval: str, *, expires_at: datetime = NOW + timedelta(hours=4)) -> NewEntry:
    body = {
        "approval": approval,
        "request": id,
        "action": ACTION,
        "customer": "c1",
        "proposed_by": "agent:fin",
        "approver_sets": [["supervisor"], ["billing", "care"]],
        "four_eyes": True,
        "expires_at": expires_at.isoformat(),
        "default": "refuse",
    }
    return NewEntry("approval.opened", id, NOW, "cxplane", body)


def allowed(id: str, key: str | None = None, *reservations: Reservation, tenant: str = T, **more: Any) -> Write:
    """A write that is asked for, allowed and about to be done."""
    return Write(
        tenant,
        (asked(id, key=key, **more), decided(id, key=key), intended(id, key=key)),
        new_request=id,
        claim=KeyClaim(ACTION, key, id) if key else None,
        reservations=reservations,
    )


def held(id: str, approval: str, key: str | None = None, **more: Any) -> Write:
    return Write(
        T,
        (asked(id, key=key), decided(id, "hold", key=key), opened(id, approval, **more)),
        new_request=id,
        claim=KeyClaim(ACTION, key, id) if key else None,
    )


def told(id: str, status: str, standing: str = "running", **more: Any) -> Write:
    return Write(T, (came_out(id, status, **more),), expect=(id, standing))


def takes(money: int = 1, count: int = 1, *, scope: str = "agent:fin", **more: Any) -> Reservation:
    return Reservation("daily", scope, "2026-03-05T00:00:00+01:00", money, count, 1, **more)


async def used(store: Store) -> tuple[int, int, int]:
    uses = await store.budget_uses(T)
    return sum(u.money for u in uses), sum(u.count for u in uses), sum(u.risk for u in uses)


# appending -------------------------------------------------------------------------------------------


async def test_what_is_appended_is_read_back_whole(store: PostgresStore) -> None:
    entry = NewEntry(
        "note", "s1", NOW, "person:maria", {"a": [1, 2.5, None, "ü€𝄞"]}, {"p": {"q": True}}, "rel1", "because"
    )
    result = await store.append(Write(T, (entry, replace(entry, private=None, release=None, cause=None))))
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
    assert len(await store.stream(T, "r1")) == 3


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
        await store.append(replace(write, reservations=(takes(40),)))
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
    await store.append(replace(held("r1", "a1", "k"), reservations=(takes(40, limit_money=50),)))
    edit = approval_decided(
        "a1", "r1", status="edited", by="person:maria", at=NOW, subject="c1", comment="less", replaced_by="r2"
    )
    write = allowed("r2", "k", takes(45, limit_money=50), replaces="r1")
    result = await store.append(replace(write, entries=(edit, *write.entries), expect=("r1", "held")))
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
            decided("r1", key="k"),
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


# budgets ---------------------------------------------------------------------------------------------


async def test_a_limit_is_inclusive_and_says_which_one_was_met(store: PostgresStore) -> None:
    assert isinstance(await store.append(allowed("r1", None, takes(60, limit_money=100))), Appended)
    assert await store.append(allowed("r2", None, takes(41, limit_money=100))) == BudgetExhausted(
        "daily", "money", 60, 41, 100
    )
    assert isinstance(await store.append(allowed("r3", None, takes(40, limit_money=100))), Appended)
    assert await store.append(allowed("r4", None, takes(0, limit_count=2))) == BudgetExhausted(
        "daily", "count", 2, 1, 2
    )
    assert await store.append(allowed("r5", None, takes(0, 0, limit_risk=2))) == BudgetExhausted(
        "daily", "risk", 2, 1, 2
    )
    assert isinstance(await store.append(allowed("r6", None, takes(1, scope="agent:other", limit_money=1))), Appended)


async def test_a_budget_of_100_lets_exactly_100_go(store: PostgresStore) -> None:
    asks = [store.append(allowed(f"r{n}", None, takes(1, limit_money=100))) for n in range(300)]
    results = await asyncio.gather(*asks)
    assert sum(isinstance(r, Appended) for r in results) == 100
    assert sum(isinstance(r, BudgetExhausted) for r in results) == 200
    assert await used(store) == (100, 100, 100)


async def test_force_counts_and_does_not_refuse(store: PostgresStore) -> None:
    await store.append(allowed("r1", None, takes(100, limit_money=100)))
    assert isinstance(await store.append(allowed("r2", None, takes(5, limit_money=100, force=True))), Appended)
    assert await used(store) == (105, 2, 2)


async def test_two_reservations_of_one_write_on_one_counter_add_up(store: PostgresStore) -> None:
    both = (takes(60, limit_money=100), takes(60, limit_money=100))
    assert await store.append(allowed("r1", None, *both)) == BudgetExhausted("daily", "money", 0, 120, 100)
    assert await used(store) == (0, 0, 0)
    both = (takes(50, limit_money=100), takes(50, limit_money=100))
    assert isinstance(await store.append(allowed("r1", None, *both)), Appended)
    assert await used(store) == (100, 2, 2)


async def test_a_write_that_fails_its_check_changes_nothing(store: PostgresStore) -> None:
    await store.append(allowed("r0", "taken"))
    before = await store.stats()
    writes = [
        allowed("r0", "k1", takes(5)),
        allowed("r1", "taken", takes(5)),
        allowed("r2", "k2", takes(5), takes(5, scope="x", limit_money=4)),
        replace(allowed("r3", "k3", takes(5)), expect=("r0", "held")),
    ]
    good = allowed("r4", "k4", takes(1))
    results = await asyncio.gather(*(store.append(w) for w in [*writes, good]))
    assert [type(r) for r in results] == [RequestTaken, KeyTaken, BudgetExhausted, Moved, Appended]
    assert await used(store) == (1, 1, 1)
    assert [await store.claimed(T, ACTION, k) for k in ("k1", "k2", "k3")] == [None, None, None]
    assert [await store.request(T, r) for r in ("r1", "r2", "r3")] == [None, None, None]
    assert (await store.stats())["entries"] == before["entries"] + 3


async def test_budget_uses_can_be_listed_from_a_window_on(store: PostgresStore) -> None:
    await store.append(allowed("r1", None, replace(takes(5), window="2026-03-04T00:00:00+01:00")))
    await store.append(allowed("r2", None, takes(6)))
    assert await store.budget_uses(T, since="2026-03-05") == [
        BudgetUse("daily", "agent:fin", "2026-03-05T00:00:00+01:00", 6, 1, 1)
    ]
    assert len(await store.budget_uses(T)) == 2
    assert await store.budget_uses("other") == []


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
    wrong = Write(T, (came_out("r0", "unknown"), replace(intended("r0"), body={"request": "r0", "due": "no time"})))
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
    assert [e.kind for e in await store.entries(T, stream="r1")] == ["request", "decision", "intent", "note"]
    assert [e.kind for e in await store.entries(T, stream="r1", kind="note")] == ["note"]
    seen: list[int] = []
    while page := await store.entries(T, after=seen[-1] if seen else 0, limit=3):
        seen += [e.position for e in page]
    assert len(seen) == 13
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


# customers -------------------------------------------------------------------------------------------


def about(*entries: NewEntry, tenant: str = T) -> Write:
    return Write(tenant, entries)


async def test_a_customer_is_what_was_said_of_them(store: PostgresStore) -> None:
    said = {"at": NOW, "actor": "system:crm"}
    await store.append(
        about(
            customer_changed(
                "c1", attributes={"segment": "gold", "old": 1}, identities=[{"kind": "email", "value": "a@b.c"}], **said
            )
        )
    )
    await store.append(
        about(
            customer_changed(
                "c1",
                attributes={"old": None, "vip": True},
                identities=[{"kind": "email", "value": "a@b.c"}, {"kind": "phone", "value": "1"}],
                **said,
            )
        )
    )
    customer = await store.customer(T, "c1")
    assert customer is not None
    assert customer.attributes == {"segment": "gold", "vip": True}
    assert customer.identities == (Identity("email", "a@b.c"), Identity("phone", "1"))
    assert await store.customer("other", "c1") is None
    assert await store.customer(T, "c2") is None


async def test_assurance_and_consent_are_kept_by_their_last_word(store: PostgresStore) -> None:
    until = NOW + timedelta(minutes=30)
    said = {"actor": "system:crm"}
    await store.append(about(customer_changed("c1", attributes={}, identities=[], at=NOW, **said)))
    await store.append(about(customer_assured("c1", level=1, method="otp", until=until, at=NOW, **said)))
    await store.append(about(customer_assured("c1", level=2, method="otp", until=until, at=NOW, **said)))
    await store.append(about(customer_assured("c1", level=2, method="otp", until=until + timedelta(1), at=NOW, **said)))
    for n, (granted, channel, data) in enumerate(
        [(True, None, []), (False, "chat", []), (True, "chat", ["billing"]), (False, None, [])]
    ):
        at = NOW + timedelta(seconds=n)
        await store.append(
            about(
                customer_consented(
                    "c1", purpose="service", granted=granted, source="form", at=at, channel=channel, data=data, **said
                )
            )
        )
    customer = await store.customer(T, "c1")
    assert customer is not None
    assert customer.assurances == (Assurance(1, "otp", until), Assurance(2, "otp", until + timedelta(1)))
    assert [(c.granted, c.channel, sorted(c.data), c.at) for c in customer.consents] == [
        (False, None, [], NOW + timedelta(seconds=3)),
        (True, "chat", ["billing"], NOW + timedelta(seconds=2)),
        (False, "chat", [], NOW + timedelta(seconds=1)),
    ]


async def test_customers_are_listed_page_by_page(store: PostgresStore) -> None:
    for n in range(5):
        await store.append(about(customer_changed(f"c{n}", attributes={}, identities=[], at=NOW, actor="x")))
    first, cursor = await store.customers(T, limit=3)
    rest, end = await store.customers(T, limit=3, cursor=cursor)
    assert ([c.id for c in [*first, *rest]], end) == ([f"c{n}" for n in range(5)], None)


async def test_the_situation_is_read_at_once(store: PostgresStore) -> None:
    nothing = await store.situation(T, "c1", None)
    assert (nothing.customer, nothing.conversation_known) == (None, True)
    assert not (await store.situation(T, None, "con1")).conversation_known
    await store.append(about(customer_changed("c1", attributes={"segment": "gold"}, identities=[], at=NOW, actor="x")))
    await store.append(about(conversation_opened("con1", customer=None, channel="chat", at=NOW, actor="x")))
    await store.append(about(conversation_opened("con1", customer="c1", channel="chat", at=NOW, actor="x")))
    await store.append(
        about(fact_recorded("con1", name="reason", value="late", at=NOW, actor="agent:fin", customer=None))
    )
    await store.append(
        about(fact_recorded("con1", name="reason", value={"x": [1]}, at=NOW, actor="agent:pia", customer=None))
    )
    there = await store.situation(T, "c1", "con1")
    assert there.customer is not None
    assert (there.customer.attributes, there.conversation_known, there.conversation_customer) == (
        {"segment": "gold"},
        True,
        "c1",
    )
    assert (there.recorded["reason"].value, there.recorded["reason"].by, there.recorded["reason"].at) == (
        {"x": [1]},
        "agent:pia",
        NOW,
    )
    assert (await store.situation("other", "c1", "con1")).customer is None


# releases, keys, conformance -------------------------------------------------------------------------


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
    await store.append(Write(T, (asked("r1", key="k"), decided("r1", key="k"), intended("r1", key="k"))))
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
