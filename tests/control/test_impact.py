from __future__ import annotations

import json

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.control.impact import Impact, impact
from cxplane.control.load import load
from cxplane.domain.errors import NotFound
from tests.control.world import BUDGET, CHARTER, FILES, JOURNEY, ORDER, POLICIES, REFUND, SYSTEM, TESTS, changed

ENGINE = CedarEngine()


def of(target: str, files: dict[str, str] | None = None) -> Impact:
    return impact(load(files or FILES), target, ENGINE)


def test_a_read_reaches_what_rests_on_it_and_on_that() -> None:
    files = changed(
        REFUND,
        "undo: {none: money that was paid out comes back only if the customer sends it}",
        "undo: {call: shop.take_back, with: {order_id: input.order_id}}",
    )
    files["catalog/shop/take_back.yaml"] = (
        FILES[REFUND]
        .replace("shop.refund_order", "shop.take_back")
        .replace(", amount]", "]")
        .replace("money: input.amount\n", "")
    )
    files["catalog/shop/take_back.yaml"] = (
        files["catalog/shop/take_back.yaml"]
        .replace(
            "  order: {read: shop.get_order, with: {order_id: input.order_id}}\n  own_order: {cel: order.customer_id == customer, type: Bool}\n  left: {cel: order.paid - order.refunded, type: Long}\n",
            "  none_yet: {cel: 'true', type: Bool}\n",
        )
        .replace(
            "confirm: {read: shop.get_order, with: {order_id: input.order_id}, expect: request.key in result.refund_keys}",
            "confirm: {none: no}",
        )
    )
    files = changed(CHARTER, "shop.refund_order]", "shop.refund_order, shop.take_back]", files)
    assert set(of("shop.take_back", files).actions) == {"shop.take_back", "shop.refund_order"}
    found = of("shop.get_order", files)
    assert set(found.actions) == {"shop.get_order", "shop.refund_order"}
    assert found.actions["shop.refund_order"] == "its fact order reads shop.get_order"


def test_an_action_reaches_everything_that_governs_it() -> None:
    found = of(REFUND)
    assert found.things == ("action shop.refund_order",)
    assert set(found.policies) == {"small-refund", "large-refund-asks", "no-more-than-paid"}
    assert set(found.budgets) == {"refunds-by-ai"}
    assert set(found.callers) == {"agent:helper", "journey:refund", "person:sam"}
    assert set(found.systems) == {"shop"}
    assert set(found.teams) == {"service-team"}
    assert set(found.journeys) == {"refund"}
    assert len(found.tests) == 5


def test_a_policy_reaches_the_actions_that_it_covers() -> None:
    assert set(of("orders-may-be-read").actions) == {"shop.get_order"}
    assert set(of("no-more-than-paid").actions) == {"shop.refund_order"}
    assert len(of(POLICIES).things) == 4


@pytest.mark.parametrize(
    ("target", "part", "expected"),
    [
        (SYSTEM, "actions", {"shop.get_order", "shop.refund_order"}),
        ("shop", "actions", {"shop.get_order", "shop.refund_order"}),
        (BUDGET, "actions", {"shop.refund_order"}),
        ("plane.yaml", "actions", {"shop.get_order", "shop.refund_order"}),
        ("agents/helper.md", "actions", {"shop.get_order", "shop.refund_order"}),
        ("crm-sync", "actions", set()),
        ("agent:helper", "tests", {f"{TESTS}:{n}" for n in (3, 9, 15, 21, 27)}),
        ("supervisor", "policies", {"large-refund-asks"}),
        ("role supervisor", "budgets", {"refunds-by-ai"}),
        ("service-team", "budgets", {"refunds-by-ai"}),
        (
            "people/people.yaml",
            "callers",
            {"person:kim", "person:sam", "system:crm-sync", "agent:helper", "journey:refund"},
        ),
        (TESTS, "tests", {f"{TESTS}:{n}" for n in (3, 9, 15, 21, 27, 32)}),
        (SYSTEM, "journeys", {"refund"}),
        ("small-refund", "journeys", {"refund"}),
        ("service-agent", "journeys", {"refund"}),
        ("service-team", "journeys", {"refund"}),
        (JOURNEY, "actions", {"shop.get_order", "shop.refund_order"}),
        (CHARTER, "systems", {"shop"}),
        (
            "journey refund",
            "policies",
            {"orders-may-be-read", "small-refund", "large-refund-asks", "no-more-than-paid"},
        ),
        ("journey:refund", "systems", {"shop"}),
        ("refund", "teams", {"service-team"}),
        ("refund", "callers", {"journey:refund"}),
        ("refund", "tests", {f"{TESTS}:32"}),
    ],
)
def test_each_kind_of_thing_has_its_reach(target: str, part: str, expected: set[str]) -> None:
    assert set(getattr(of(target), part)) == expected


def test_a_table_reaches_the_actions_that_look_it_up() -> None:
    files = changed(REFUND, "  left:", "  fee: {table: fees, row: order.status, column: channel, type: Long}\n  left:")
    files["catalog/shop/tables/fees.yaml"] = "table: fees\nrows: {shipped: {chat: 0}}\n"
    assert of("catalog/shop/tables/fees.yaml", files).actions == {"shop.refund_order": "a fact looks fees up"}


def test_a_name_that_is_not_there_gets_the_nearest() -> None:
    with pytest.raises(NotFound) as error:
        of("shop.get_ordr")
    assert "shop.get_order" in error.value.next


def test_it_can_be_read_and_sent() -> None:
    found = of(ORDER)
    assert json.loads(json.dumps(found.as_json()))["actions"]["shop.get_order"] == "it is the target"
    assert found.words().startswith(f"{ORDER} is action shop.get_order")
