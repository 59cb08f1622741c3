from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cxplane.decide.budgets import reservations, window_start
from cxplane.domain.budget import Window
from tests.decide import world as w

BERLIN = ZoneInfo("Europe/Berlin")


def taken(now: datetime = w.NOW, **changes: Any) -> tuple[Any, ...]:
    rules = w.rulebook(budgets=(w.daily(**changes),))
    return reservations(rules, w.request(), 1500, now)


@pytest.mark.parametrize(
    ("window", "at", "start"),
    [
        (Window.HOUR, "2026-01-05T10:59:59+00:00", "2026-01-05T11:00:00+01:00"),
        (Window.DAY, "2026-01-05T22:59:59+00:00", "2026-01-05T00:00:00+01:00"),
        (Window.DAY, "2026-01-05T23:00:00+00:00", "2026-01-06T00:00:00+01:00"),
        (Window.WEEK, "2026-01-04T12:00:00+00:00", "2025-12-29T00:00:00+01:00"),
        (Window.WEEK, "2026-03-29T12:00:00+00:00", "2026-03-23T00:00:00+01:00"),
        (Window.DAY, "2026-03-29T12:00:00+00:00", "2026-03-29T00:00:00+01:00"),
        (Window.DAY, "2026-10-25T12:00:00+00:00", "2026-10-25T00:00:00+02:00"),
        (Window.MONTH, "2026-03-31T22:30:00+00:00", "2026-04-01T00:00:00+02:00"),
        (Window.HOUR, "2026-10-25T00:30:00+00:00", "2026-10-25T02:00:00+02:00"),
        (Window.HOUR, "2026-10-25T01:30:00+00:00", "2026-10-25T02:00:00+01:00"),
    ],
)
def test_windows_are_calendar_windows_in_the_plane_s_time_zone(window: Window, at: str, start: str) -> None:
    assert window_start(window, datetime.fromisoformat(at).astimezone(BERLIN)).isoformat() == start


@pytest.mark.parametrize(
    ("per", "scope"),
    [
        ((), ""),
        (("caller",), "agent:fin"),
        (("caller", "customer"), "agent:fin|c1"),
        (("action",), "billing.issue_credit"),
    ],
)
def test_a_counter_is_kept_for_what_the_budget_is_per(per: tuple[str, ...], scope: str) -> None:
    (one,) = taken(per=per)
    assert (one.scope, one.money, one.count, one.risk, one.limit_money) == (scope, 1500, 1, 3, 50_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"actions": frozenset({"billing.other"})},
        {"kinds": frozenset({"person"})},
        {"callers": frozenset({"agent:other"})},
        {"roles": frozenset({"supervisor"})},
        {"kinds": frozenset({"agent"}), "roles": frozenset({"supervisor"})},
    ],
)
def test_a_budget_for_others_is_not_touched(changes: dict[str, Any]) -> None:
    assert taken(**changes) == ()


@pytest.mark.parametrize("callers", [frozenset({"agent:fin"}), frozenset({"fin"}), frozenset()])
def test_a_budget_names_callers_with_or_without_their_kind(callers: frozenset[str]) -> None:
    assert len(taken(callers=callers)) == 1


def test_a_read_takes_nothing() -> None:
    rules = w.rulebook(budgets=(w.daily(actions=frozenset()),))
    assert reservations(rules, w.request(action="billing.get_account"), None, w.NOW) == ()


def test_a_person_may_answer_for_going_over_unless_the_budget_is_final() -> None:
    for exhausted, forced in (("hold", True), ("refuse", False)):
        rules = w.rulebook(budgets=(w.daily(exhausted=exhausted),))
        (one,) = reservations(rules, w.request(), 1500, w.NOW, force=True)
        assert one.force is forced
