"""Tries to reach an action around the gate, over real HTTP: refused or harmless, on record, and no effect in the system."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.redteam.gate_world import CRM, HELPER, PAT, SAM, SCOUT, Gate, accounted_for, gate


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with gate(tmp_path_factory.mktemp("gate")) as found:
        yield found


# a context that was forged -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"facts": {"own_order": True, "left": 10**6}},
        {"assurance": {"level": 9}},
        {"consents": ["service"]},
        {"context": {"assurance": {"level": 9}}},
        {"caller": "person:sam"},
        {"approver": "person:sam"},
        {"roles": ["supervisor"]},
        {"tenant": "other"},
        {"release": "0" * 64},
        {"id": "req_1"},
        {"decision": "allow"},
        {"grounds": {}},
        {"key": "mine"},
        {"at": "2020-01-01T00:00:00Z"},
        {"__proto__": {"decision": "allow"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_caller_does_not_write_its_own_context(here: Gate, more: dict[str, Any]) -> None:
    order = here.order(f"forged-{next(iter(more))}")
    reply = here.ask(order, **more)
    assert (reply.status_code, here.done(order)) == (422, [])


@pytest.mark.parametrize(
    "input",
    [{"own_order": True}, {"facts": {"own_order": True}}, {"customer": "c-1"}, {"order": {"customer_id": "c-1"}}],
    ids=lambda input: next(iter(input)),
)
def test_what_is_in_the_input_is_never_taken_for_a_fact(here: Gate, input: dict[str, Any]) -> None:
    order = here.order(f"theirs-{next(iter(input))}", customer_id="c-2")
    told = here.ask(order, input={"order_id": order, "amount": 100, **input}).json()
    assert told["decision"] == "refuse"
    assert "request" in here.on_record(told["id"])
    assert here.done(order) == []


@pytest.mark.parametrize("name", ["own_order", "left", "order", "assurance", "customer_confirmed"])
def test_who_may_record_no_facts_does_not_bring_them_along(here: Gate, name: str) -> None:
    order = here.order(f"brought-{name}")
    told = here.ask(order, by=SCOUT, recorded={name: True})
    assert told.status_code == 403 or told.json()["decision"] == "refuse", told.text
    assert here.done(order) == []


def test_a_recorded_fact_does_not_stand_in_for_one_that_is_read(here: Gate) -> None:
    order = here.order("stand-in", customer_id="c-2")
    told = here.ask(order, recorded={"own_order": True, "order": {"customer_id": "c-1"}})
    assert told.status_code >= 400 or told.json()["decision"] == "refuse", told.text
    assert here.done(order) == []


@pytest.mark.parametrize("by", [HELPER, SCOUT, SAM])
def test_nobody_but_the_integration_vouches_for_a_customer(here: Gate, by: str) -> None:
    for path, body in (
        ("assurance", {"level": 3, "method": "otp", "lifetime": "1h"}),
        ("consents", {"purpose": "service", "granted": True, "source": "me"}),
    ):
        assert here.call("POST", f"/v1/customers/c-2/{path}", by, json=body).status_code == 403


# a deputy that is confused -----------------------------------------------------------------------------------


def test_a_conversation_of_one_customer_opens_nothing_of_another(here: Gate) -> None:
    order = here.order("talk")
    opened = here.call("POST", "/v1/conversations", HELPER, json={"customer": "c-2", "channel": "chat"})
    assert opened.status_code == 201, opened.text
    told = here.ask(order, conversation=opened.json()["id"])
    assert told.status_code >= 400 or told.json()["decision"] == "refuse", told.text
    assert here.done(order) == []


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-User", "X-Remote-User", "X-Cxplane-Caller", "X-Caller", "Remote-User", "X-Original-URL", "X-Tenant"],
)
def test_a_header_that_names_somebody_else_changes_nothing(here: Gate, header: str) -> None:
    order = here.order(f"deputy-{header}")
    assert here.ask(order, by=None, headers={header: "person:sam"}).status_code == 401
    told = here.ask(order, 9000, headers={header: "person:sam", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=sam"})
    assert (told.json()["caller"], told.json()["decision"], here.done(order)) == (HELPER, "hold", [])


def test_an_agent_sees_and_steers_nothing_that_another_caller_asked_for(here: Gate) -> None:
    order = here.order("others")
    id = here.ask(order, by=SAM).json()["id"]
    for method, path, body in (
        ("GET", f"/v1/requests/{id}", None),
        ("GET", f"/v1/decisions/{id}/explain", None),
        ("POST", f"/v1/requests/{id}/undo", {"reason": "mine"}),
        ("POST", f"/v1/requests/{id}/settle", {"done": False, "comment": "no"}),
        ("GET", f"/v1/entries?stream={id}", None),
        ("GET", "/v1/requests?caller=person:sam", None),
    ):
        assert here.call(method, path, HELPER, json=body).status_code in (403, 404), path
    assert here.done(order) == [1000]


# what a system says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        {"paid": 10**30},
        {"paid": "20000"},
        {"paid": 1e300},
        {"paid": float("inf")},
        {"paid": None},
        {"refunded": -(2**63)},
        {"customer_id": ["c-1"]},
        {"customer_id": {"c-1": True}},
        {"refund_keys": ["k" * 50] * 100_000},
        {"more": "x" * 6_000_000},
    ],
    ids=lambda order: f"{next(iter(order))} {str(next(iter(order.values())))[:8]}",
)
def test_what_a_system_says_beyond_its_contract_is_no_fact(here: Gate, order: dict[str, Any]) -> None:
    """A fact that cannot be had refuses; it does not allow, and does not bring the plane down."""
    id = here.order(f"says-{abs(hash(str(order)))}", **order)
    reply = here.ask(id)
    assert reply.status_code in (200, 503), reply.text
    assert reply.status_code == 503 or reply.json()["decision"] == "refuse", reply.text
    assert here.done(id) == []


@pytest.mark.parametrize("items", [[1] * 400, list(range(3000)), [10**15] * 2000], ids=["400", "3000", "large"])
def test_an_input_that_makes_facts_compute_for_ever_is_refused(here: Gate, items: list[int]) -> None:
    id = here.order(f"bomb-{len(items)}-{items[0]}")
    told = here.line(id, "1", items=items)
    assert told["decision"] == "refuse", told
    assert here.on_record(told["id"])[:2] == ["request", "decision"]
    assert here.done(id) == []
    assert here.line(id, "1", items=[1, 2])["status"] == "done"


# business keys -----------------------------------------------------------------------------------------------

COLLIDING = [
    (("a/b", "c"), ("a", "b/c")),
    (("a|b", "c"), ("a", "b|c")),
    (("a,b", "c"), ("a", "b,c")),
    (("a:b", "c"), ("a", "b:c")),
    (('a","b', "c"), ("a", 'b","c')),
    (("a\x1fb", "c"), ("a", "b\x1fc")),
    (("a b", ""), ("a", "b")),
    (("null", "1"), ("1", "null")),
    (("\u00e9", "x"), ("e\u0301", "x")),
    (("A", "x"), ("a", "x")),
    (("1", "x"), ("1.0", "x")),
    (("01", "x"), ("1", "x")),
]


@pytest.mark.parametrize("pair", COLLIDING, ids=str)
def test_two_business_keys_are_never_taken_for_one(here: Gate, pair: tuple[tuple[str, str], tuple[str, str]]) -> None:
    """Else one request would be answered with another's outcome; and what the system takes for two, we do not join."""
    seen = []
    for order, line in pair:
        id = here.order(f"{COLLIDING.index(pair)}{order}")
        told = here.line(id, line)
        assert told.get("repeated") is not True, told
        seen.append(told.get("id"))
    assert seen[0] != seen[1] or seen == [None, None]
    keys = [key for _, _, key in here.plane.shop.effects]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("amount", [1000.0, "1000", True, [1000], {"value": 1000}, None], ids=repr)
def test_a_number_in_another_dress_is_not_another_request(here: Gate, amount: Any) -> None:
    """Neither a second effect by another spelling, nor money that is no whole number."""
    order = here.order(f"dress-{amount!r}")
    reply = here.ask(order, amount)
    assert reply.status_code == 422 or reply.json()["decision"] == "refuse", reply.text
    assert here.done(order) == []
    assert here.ask(order, 1000).json()["status"] == "done"
    here.ask(order, amount)
    assert here.done(order) == [1000]


@pytest.mark.parametrize("order", ["o%2d1", "o-1 ", " o-1", "o-1\u200b", "o-1/", "../orders/o-1", "o-1?x=", "o-1#"])
def test_an_id_in_another_spelling_reaches_no_other_order(here: Gate, order: str) -> None:
    """What names the key is what is sent: never one order in the key and another in the system."""
    here.order("o-1")
    before = here.done("o-1")
    here.ask(order)
    assert here.done("o-1") == before


# idempotency keys --------------------------------------------------------------------------------------------


def test_an_idempotency_key_of_another_caller_opens_nothing_of_its(here: Gate) -> None:
    mine, yours = here.order("idem-mine"), here.order("idem-yours")
    key = {"Idempotency-Key": "same-for-both"}
    first = here.ask(mine, headers=key).json()
    second = here.ask(yours, by=SAM, headers=key).json()
    assert first["id"] != second["id"]
    assert second["repeated"] is False
    assert here.ask(mine, by=SCOUT, headers=key).json()["decision"] == "refuse"
    assert (here.done(mine), here.done(yours)) == ([1000], [1000])


def test_a_key_whose_request_was_refused_or_dry_is_no_way_in(here: Gate) -> None:
    order = here.order("idem-dry")
    key = {"Idempotency-Key": "dry-first"}
    assert here.ask(order, headers=key, dry_run=True).json()["status"] == "previewed"
    assert here.ask(order, headers=key).status_code == 409
    assert here.done(order) == []


# approvals ---------------------------------------------------------------------------------------------------


def test_an_approval_counts_once_however_often_it_is_sent(here: Gate) -> None:
    approval = here.held("apr-often")
    path = f"/v1/approvals/{approval}/approve"
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda n: here.call("POST", path, SAM if n % 2 else PAT, json={}), range(12)))
    assert sorted(reply.status_code for reply in replies) == [200] + [409] * 11
    assert here.call("POST", path, SAM, json={}).status_code == 409
    assert here.done("apr-often") == [9000]


def test_an_approval_that_was_rejected_or_edited_is_used_up(here: Gate) -> None:
    rejected, edited = here.held("apr-rejected"), here.held("apr-edited")
    assert here.call("POST", f"/v1/approvals/{rejected}/reject", SAM, json={"comment": "no"}).status_code == 200
    smaller = {"input": {"order_id": "apr-edited", "amount": 100}}
    assert here.call("POST", f"/v1/approvals/{edited}/approve", SAM, json=smaller).status_code == 200
    for approval in (rejected, edited):
        for body in ({}, {"input": {"order_id": "apr-edited", "amount": 20_000}}):
            assert here.call("POST", f"/v1/approvals/{approval}/approve", PAT, json=body).status_code == 409
    assert (here.done("apr-rejected"), here.done("apr-edited")) == ([], [100])


def test_an_edit_does_not_carry_an_approval_to_something_else(here: Gate) -> None:
    """Another customer's order, or more than was paid: judged again, and refused."""
    approval, other = here.held("apr-turned"), here.order("apr-other", customer_id="c-2")
    for input in (
        {"order_id": other, "amount": 100},
        {"order_id": "apr-turned", "amount": 10**9},
        {"order_id": "apr-turned", "amount": 100, "action": "shop.get_order"},
    ):
        reply = here.call("POST", f"/v1/approvals/{approval}/approve", SAM, json={"input": input})
        assert reply.status_code >= 400 or reply.json()["decision"] == "refuse", reply.text
    assert (here.done("apr-turned"), here.done(other)) == ([], [])


@pytest.mark.parametrize("by", [HELPER, SCOUT, CRM])
def test_nobody_but_a_supervisor_decides(here: Gate, by: str) -> None:
    order = f"apr-by-{by}"
    approval = here.held(order)
    for what in ("approve", "reject"):
        body = {"comment": "because"}
        assert here.call("POST", f"/v1/approvals/{approval}/{what}", by, json=body).status_code in (403, 404)
    assert here.done(order) == []


def test_whoever_asked_does_not_approve_where_policy_asks_for_four_eyes(here: Gate) -> None:
    """Nor by an edit: the editor becomes the one who asked."""
    order = here.order("apr-own")
    path = f"/v1/approvals/{here.line(order, '1', by=SAM, amount=9000)['approval']}/approve"
    smaller = {"input": {"order_id": order, "line": "1", "amount": 8000}}
    assert [here.call("POST", path, SAM, json=body).status_code for body in ({}, smaller)] == [403, 403]
    edited = here.call("POST", path, PAT, json=smaller).json()
    assert (edited["decision"], here.done(order)) == ("hold", [])
    path = f"/v1/approvals/{edited['approval']}/approve"
    assert here.call("POST", path, PAT, json={}).status_code == 403
    assert here.call("POST", path, SAM, json={}).status_code == 200
    assert here.done(order) == [8000]


# in the end --------------------------------------------------------------------------------------------------


def test_every_effect_has_its_decision_and_the_plane_did_not_fail(here: Gate) -> None:
    accounted_for(here)
