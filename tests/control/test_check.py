from __future__ import annotations

from pathlib import Path

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.control.check import check
from cxplane.domain.errors import Mistake
from tests.control.world import BUDGET, FILES, ORDER, PEOPLE, POLICIES, REFUND, changed, line_of

ENGINE, EXPRESSIONS = CedarEngine(), CelExpressions()


def found(files: dict[str, str]) -> list[Mistake]:
    return check(files, ENGINE, EXPRESSIONS)


def test_a_good_repo_has_no_mistakes() -> None:
    assert found(dict(FILES)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "stands", "what"),
    [
        (REFUND, "{cel: order.paid - order.refunded", "{cel: order.paid - - order.refunded +", "left:", "bad syntax"),
        (REFUND, "{cel: order.paid - order.refunded", "{cel: ordr.paid - order.refunded", "left:", "'ordr'"),
        (REFUND, "{cel: order.paid - order.refunded", "{cel: left + 1", "left:", "in a circle"),
        (REFUND, "money: input.amount", "money: amount(input)", "money:", "unknown function amount"),
        (REFUND, "expect: request.key in", "expect: request.key === in", "confirm:", "bad syntax"),
        (
            REFUND,
            "with: {order_id: input.order_id}, expect",
            "with: {order_id: inptu.order_id}, expect",
            "confirm:",
            "'inptu'",
        ),
        (
            ORDER,
            'path: "/orders/{order_id}"',
            'path: "/orders/{order_id}", output: {paid: respnse.paid}',
            "via:",
            "'respnse'",
        ),
        (POLICIES, "context.input.amount <= 5000", "context.input.amuont <= 5000", "small-refund", "amuont"),
        (
            POLICIES,
            'action == Action::"shop.get_order"',
            'action == Action::"shop.get_ordr"',
            "orders-may-be-read",
            "get_ordr",
        ),
        (POLICIES, '@id("small-refund")\n', "", None, "@id"),
        (POLICIES, "forbid (principal", "forbd (principal", None, ""),
    ],
)
def test_a_mistake_in_a_policy_or_an_expression_has_its_place(
    file: str, old: str, new: str, stands: str | None, what: str
) -> None:
    files = changed(file, old, new)
    if file == POLICIES:  # tests that name a policy that is no longer there are another matter
        files = {path: text for path, text in files.items() if not path.startswith("policies/tests")}
    mistakes = [m for m in found(files) if what in m.what]
    assert mistakes, [str(m) for m in found(files)]
    assert mistakes[0].file == file
    assert mistakes[0].line >= 1
    if stands is not None and file != POLICIES:
        assert mistakes[0].line == line_of(files, file, stands)


def test_files_policies_and_expressions_are_told_together() -> None:
    files = changed(BUDGET, "window: day", "window: daily")
    files = changed(PEOPLE, "lead: sam", "lead: tom", files)
    files = changed(POLICIES, "context.input.amount <= 5000", "context.input.amuont <= 5000", files)
    files = changed(REFUND, "order.paid - order", "ordr.paid - order", files)
    files = changed(REFUND, "owner: service-team", "owner: servce-team", files)
    assert {m.file for m in found(files)} == {BUDGET, PEOPLE, POLICIES, REFUND}
    assert found(files) == sorted(found(files))


def test_a_dangling_reference_is_told_once() -> None:
    mistakes = found(changed(REFUND, "order: {read: shop.get_order", "order: {read: shop.get_ordr"))
    assert len([m for m in mistakes if "get_ordr" in m.what]) == 1


def test_a_catalog_that_cannot_be_read_leaves_policies_for_later() -> None:
    files = changed(REFUND, "risk: high", "risk: higgh")
    assert [m.file for m in found(files)] == [REFUND]


def test_no_folder_is_a_mistake_and_no_crash(tmp_path: Path) -> None:
    (mistake,) = check(tmp_path / "nowhere", ENGINE, EXPRESSIONS)
    assert "no such folder" in mistake.what


def test_a_caller_that_nobody_knows_speaks_for_no_source() -> None:
    files = changed("plane.yaml", "system:crm-sync: [/crm]", "system:crm-snc: [/crm]")
    assert [(m.file, m.line, m.what) for m in found(files)] == [
        ("plane.yaml", line_of(files, "plane.yaml", "crm-snc"), "the caller 'system:crm-snc' is unknown")
    ]
