from __future__ import annotations

import json

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.control.diff import Change, diff
from cxplane.control.load import load
from tests.control.world import AGENT, BUDGET, FILES, ORDER, PEOPLE, PLANE, POLICIES, REFUND, SYSTEM, TESTS, changed

ENGINE = CedarEngine()


def changes(files: dict[str, str]) -> tuple[Change, ...]:
    return diff(load(FILES), load(files), ENGINE)


def test_the_same_repo_has_no_changes() -> None:
    assert changes(dict(FILES)) == ()


def test_other_words_order_and_place_change_nothing() -> None:
    files = changed(REFUND, "effect: write\nrisk: high", "# a remark\nrisk: high\n\neffect: write")
    files = changed(REFUND, "timeout: 5s", "timeout: 5000ms", files)
    files["policies/moved.cedar"] = files.pop(POLICIES)
    files["budgets/moved.yaml"] = files.pop(BUDGET)
    files["policies/tests/moved.yaml"] = files.pop(TESTS)
    assert changes(files) == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "kind", "id", "field", "before", "after"),
    [
        (PLANE, "confidence: 0.7", "confidence: 0.9", "plane", "plane.yaml", "confidence", 0.7, 0.9),
        (PLANE, "  facts: [service-agent]\n", "", "plane", "plane.yaml", "access.facts", ["service-agent"], None),
        (REFUND, "risk: high", "risk: irreversible", "action", "shop.refund_order", "risk", "high", "irreversible"),
        (REFUND, "minimum: 1", "minimum: 2", "action", "shop.refund_order", "input.properties.amount.minimum", 1, 2),
        (REFUND, "timeout: 5s", "timeout: 6s", "action", "shop.refund_order", "limits.timeout", "5s", "6s"),
        (
            REFUND,
            "cel: order.paid - order.refunded",
            "cel: order.paid",
            "action",
            "shop.refund_order",
            "facts.left.cel",
            "order.paid - order.refunded",
            "order.paid",
        ),
        (SYSTEM, "rate: 50/s", "rate: 60/s", "system", "shop", "rate", 50.0, 60.0),
        (BUDGET, "money: 50000", "money: 40000", "budget", "refunds-by-ai", "money", 50000, 40000),
        (
            PEOPLE,
            "[supervisor, service-agent]",
            "[supervisor]",
            "caller",
            "person:sam",
            "roles",
            ["service-agent", "supervisor"],
            ["supervisor"],
        ),
        (
            PEOPLE,
            "decides what was held",
            "decides",
            "role",
            "supervisor",
            "summary",
            "decides what was held",
            "decides",
        ),
        (AGENT, "version: 1", "version: 2", "caller", "agent:helper", "version", 1, 2),
        (
            TESTS,
            "amount: 2500",
            "amount: 2600",
            "test",
            "a small refund of the customer's own order goes ahead",
            "request.input.amount",
            2500,
            2600,
        ),
    ],
)
def test_a_change_is_told_by_thing_and_field(
    file: str, old: str, new: str, kind: str, id: str, field: str, before: object, after: object
) -> None:
    (change,) = changes(changed(file, old, new))
    assert (change.kind, change.id, change.change) == (kind, id, "changed")
    assert change.fields == {field: (before, after)}
    assert json.loads(json.dumps(change.as_json()))["fields"][field] == {"before": before, "after": after}


def test_a_changed_policy_is_told_by_its_id_with_both_texts() -> None:
    (change,) = changes(changed(POLICIES, "<= 5000", "<= 6000"))
    assert (change.kind, change.id) == ("policy", "small-refund")
    before, after = change.fields["text"]
    assert "<= 5000" in before and "<= 6000" in after
    assert "large-refund" not in before
    assert "→" in change.words()


def test_what_is_new_and_what_is_gone_is_told() -> None:
    files = dict(FILES)
    files["catalog/shop/other.yaml"] = files[ORDER].replace("shop.get_order", "shop.other")
    del files[BUDGET]
    assert [(c.kind, c.id, c.change) for c in changes(files)] == [
        ("action", "shop.other", "added"),
        ("budget", "refunds-by-ai", "removed"),
    ]


def test_a_new_contract_says_that_conformance_must_be_run_again() -> None:
    assert changes(changed(REFUND, "minimum: 1", "minimum: 2"))[0].contract
    assert not changes(changed(REFUND, "timeout: 5s", "timeout: 6s"))[0].contract
    assert not changes(changed(ORDER, "status: {type: string}", "status: {type: string, minLength: 1}"))[
        0
    ].contract  # a read
