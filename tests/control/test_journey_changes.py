"""What a change of a journey is told as, what it reaches, and how long it took to go live."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.control.diff import Change, diff
from cxplane.control.impact import Impact, impact
from cxplane.control.load import load
from cxplane.control.release import last_commit
from tests.control.journey_world import APOLOGY, APOLOGY_CHARTER, JOURNEYS, LATE, LATE_CHARTER, VOUCHER
from tests.control.world import changed

ENGINE = CedarEngine()
BACK = "  - back: {if: false == true, undo: voucher}\n"
BOTH = "  - both: {listen: {all: [{signal: shop.a}, {signal: shop.b}]}}\n"


def changes(files: dict[str, str]) -> tuple[Change, ...]:
    return diff(load(JOURNEYS), load(files), ENGINE)


def of(target: str) -> Impact:
    return impact(load(JOURNEYS), target, ENGINE)


@pytest.mark.parametrize(
    ("file", "old", "new", "field", "before", "after"),
    [
        (LATE, "version: 2", "version: 3", "version", 2, 3),
        (LATE, "patience: 4h", "patience: 5h", "patience", "4h", "5h"),
        (LATE, "patience: 1h", "patience: 2h", "steps.voucher.patience", "1h", "2h"),
        (LATE, "on_failure: compensate\n", "", "on_failure", "compensate", None),
        (LATE, "recorded: {days: 4}", "recorded: {days: 5}", "steps.refund.recorded.days", "4", "5"),
        (LATE, "input.amount <= 5000", "input.amount <= 6000", "steps.how_much.cases.little.when", "input.amount <= 5000", "input.amount <= 6000"),
        (LATE, "retry: {times: 2,", "retry: {times: 4,", "steps.pay_back.retry.times", 2, 4),
        (LATE, "        compensate: true\n", "", "steps.pay_back.compensate", True, None),
        (LATE, BACK, "", "steps.back", {"is": "undo", "when": "false == true", "steps": ["voucher"]}, None),
        (LATE, "undo: voucher", "undo: all", "steps.back.steps", ["voucher"], "all"),
        (LATE, BACK, "  - back: {wait: 1h}\n", "steps.back.is", "undo", "wait"),
        (LATE, "why: {type: string}\nstart", "why: {type: integer}\nstart", "input.properties.why.type", "string", "integer"),
        (LATE_CHARTER, "above 50.00 a", "always a", "charter.approvals.shop.refund_order", "above 50.00 a supervisor", "always a supervisor"),
        (LATE_CHARTER, "For customers who wait.", "For all.", "charter.text", "For customers who wait.", "For all."),
        (LATE_CHARTER, "roles: [service-agent]", "roles: [supervisor]", "charter.roles", ["service-agent"], ["supervisor"]),
    ],
)  # fmt: skip
def test_a_journey_is_compared_step_by_step(
    file: str, old: str, new: str, field: str, before: object, after: object
) -> None:
    found = changes(changed(file, old, new, JOURNEYS))
    assert [(c.kind, c.id, c.change) for c in found] == [("journey", "late_order", "changed")]
    assert found[0].fields[field] == (before, after)
    assert found[0].file == LATE


def test_a_step_that_is_new_is_told_with_what_it_says() -> None:
    (change,) = changes(changed(LATE, BACK, BACK + "  - rest: {wait: 1h}\n", JOURNEYS))
    assert change.fields == {"steps.rest": (None, {"is": "wait", "for": "1h"})}
    assert "steps.rest: nothing → {is: wait, for: 1h}" in change.words()


def test_only_the_step_that_moved_is_told_as_moved() -> None:
    files = changed(LATE, BOTH, "", JOURNEYS)
    (change,) = changes(changed(LATE, "  - choice:\n", BOTH + "  - choice:\n", files))
    assert change.fields == {"steps.both.place": ("in do, after told_others", "in do, after each_line")}
    (change,) = changes(changed(LATE, "do: [{oops:", "do: [{both: {listen: {all: [{signal: shop.a}, {signal: shop.b}]}}}, {oops:", files))  # fmt: skip
    assert change.fields == {"steps.both.place": ("in do, after told_others", "in block.do, first")}


def test_moved_lines_and_other_words_change_nothing() -> None:
    files = changed(LATE, "mode: person\n            team: service-team", "team: service-team\n            mode: person", JOURNEYS)  # fmt: skip
    assert changes(changed(LATE, "do:\n", "# what is done\ndo:\n", files)) == ()


def test_a_journey_that_comes_or_goes_is_one_change() -> None:
    without = {path: text for path, text in JOURNEYS.items() if path not in (APOLOGY, APOLOGY_CHARTER)}
    without = changed(LATE, "  - sorry:\n      run: apology\n      with: {order_id: input.order_id}\n      wait: true\n", "", without)  # fmt: skip
    told = {(c.kind, c.id, c.change) for c in changes(without)}
    assert told == {("journey", "apology", "removed"), ("journey", "late_order", "changed")}


@pytest.mark.parametrize(
    ("target", "part", "expected"),
    [
        (LATE, "actions", {"shop.get_order", "shop.refund_order", "shop.send_message", "shop.voucher", "shop.take_voucher_back"}),
        ("late_order", "systems", {"shop"}),
        ("late_order", "teams", {"service-team"}),
        ("late_order", "budgets", set()),  # the one there is counts agents
        ("late_order", "callers", {"journey:late_order"}),
        ("late_order", "journeys", {"late_order", "apology"}),
        (APOLOGY_CHARTER, "journeys", {"apology", "late_order"}),
        (VOUCHER, "journeys", {"late_order"}),
        ("shop.send_message", "journeys", {"apology", "late_order"}),
        ("shop", "journeys", {"refund", "apology", "late_order"}),
        ("small-refund", "journeys", {"refund", "late_order"}),
        ("service-team", "journeys", {"refund", "apology", "late_order"}),
        ("plane.yaml", "journeys", {"refund", "apology", "late_order"}),
    ],
)  # fmt: skip
def test_a_journey_reaches_and_is_reached(target: str, part: str, expected: set[str]) -> None:
    assert set(getattr(of(target), part)) == expected


def test_why_is_said_in_words() -> None:
    found = of("journey late_order")
    assert found.things == ("journey late_order",)
    assert found.actions["shop.take_voucher_back"] == "the charter allows it"
    assert found.journeys["apology"] == "late_order starts it at sorry"
    assert of("apology").journeys["late_order"] == "it starts apology"
    assert of("shop.voucher").journeys["late_order"] == "calls shop.voucher"
    assert "journeys:\n  late_order: it is the target" in found.words()


def test_the_last_commit_says_when_a_change_was_written(tmp_path: Path) -> None:
    assert last_commit(tmp_path) is None
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "plane.yaml").write_text("plane: x\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for said in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x", "--date", "2026-01-05T10:00:00Z")):
        subprocess.run(["git", "-C", str(tmp_path), *said], check=True, env={"GIT_COMMITTER_DATE": "2026-01-05T11:00:00+01:00", "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)})  # fmt: skip
    found = last_commit(tmp_path / "control")
    assert found is not None and found.isoformat() == "2026-01-05T10:00:00+00:00"
    assert last_commit(tmp_path / "nowhere") is None
