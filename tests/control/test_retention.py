"""How long personal data is kept is said in plane.yaml, class by class."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cxplane.control.load import load
from cxplane.domain.errors import ControlError
from cxplane.domain.retention import class_of, kept_for, shelf
from tests.loop.world import PLANE, control

KEEP = {"billing": timedelta(days=3653), "orders": timedelta(days=400), "signals": timedelta(days=30)}
NOW = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)


def test_classes_of_actions_and_kinds_are_taken() -> None:
    repo = load(control(plane=PLANE + "retention: {conversation: 90d, billing: 10y, signals: 6w, default: 2y}\n"))
    assert repo.plane.retention == {
        "conversation": timedelta(days=90),
        "billing": timedelta(days=3653),
        "signals": timedelta(days=42),
        "default": timedelta(days=731),
    }


@pytest.mark.parametrize(
    ("said", "what"),
    [("{biling: 10y}", "data class"), ("{billing: 10 years}", "retention"), ("{billing: 0d}", "retention"), ("30d", "retention")],
)  # fmt: skip
def test_a_slip_of_the_pen_is_a_mistake(said: str, what: str) -> None:
    with pytest.raises(ControlError, match=what):
        load(control(plane=f"{PLANE}retention: {said}\n"))


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("request", ("billing",), "billing"),
        ("outcome", ("orders", "billing"), "billing"),  # the longest counts
        ("request", ("contact",), None),
        ("signal", (), "signals"),
        ("run.advanced", (), None),  # neither `journeys` nor `default` is said
        ("customer.changed", ("billing",), None),
    ],
)
def test_an_entry_belongs_to_one_class(kind: str, data: tuple[str, ...], expected: str | None) -> None:
    assert class_of(kind, data, KEEP) == expected


def test_what_is_kept_short_is_put_away_by_the_day_and_the_rest_by_the_month() -> None:
    first = datetime(2027, 1, 1, tzinfo=UTC)
    assert shelf("signal", (), KEEP, NOW) == ("signals/2026-12-31", first)
    assert shelf("request", ("billing",), KEEP, NOW) == ("billing/2026-12", first)
    assert shelf("customer.changed", (), KEEP, NOW) == ("", None)


@pytest.mark.parametrize("text", ["", "10", "1m", "-1d", "1.5y", "d", "0y"])
def test_other_spans_are_not_taken(text: str) -> None:
    with pytest.raises(ValueError, match="90d"):
        kept_for(text)
