"""What a request takes from which budget counters. The store refuses what would pass a limit."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cxplane.decide.rulebook import Rulebook
from cxplane.decide.standing import caller_of
from cxplane.domain.budget import Budget, Reservation, Window
from cxplane.domain.catalog import Action
from cxplane.domain.people import Caller
from cxplane.domain.request import ActionRequest


def reservations(
    rulebook: Rulebook, request: ActionRequest, money: int | None, now: datetime, *, force: bool = False
) -> tuple[Reservation, ...]:
    """One reservation for each budget that covers the request; none for reads.

    `money`: minor units (`Facts.money`). `force`: a person with authority answers for going over; a budget that says
    `exhausted: refuse` cannot be passed by anybody.
    """
    action = rulebook.action(request.action)
    if action is None or not action.writes:
        return ()
    repo = rulebook.release.repo
    caller = caller_of(rulebook, request) or request.caller
    covering = [budget for budget in repo.budgets if _covers(budget, action, caller)]
    if not covering:
        return ()
    local = now.astimezone(ZoneInfo(repo.plane.time_zone))
    return tuple(
        Reservation(
            budget=budget.id,
            scope=_scope(budget, request),
            window=window_start(budget.window, local).isoformat(),
            money=money or 0,
            count=1,
            risk=action.risk.points,
            limit_money=budget.money,
            limit_count=budget.count,
            limit_risk=budget.risk,
            force=force and budget.exhausted != "refuse",
        )
        for budget in covering
    )


def window_start(window: Window, local: datetime) -> datetime:
    """The start of the calendar window that a local time lies in; weeks start on Monday."""
    hour = local.replace(minute=0, second=0, microsecond=0)
    if window is Window.HOUR:
        return hour
    day = hour.replace(hour=0, fold=0)
    if window is Window.DAY:
        return day
    if window is Window.WEEK:
        return day - timedelta(
            days=day.weekday()
        )  # wall-clock arithmetic: midnight stays midnight across a clock change
    return day.replace(day=1)


def _covers(budget: Budget, action: Action, caller: Caller) -> bool:
    """Every key that the budget names must match; one that it does not name matches all."""
    return (
        (not budget.actions or action.id in budget.actions)
        and (not budget.kinds or caller.kind.value in budget.kinds)
        and (not budget.callers or caller.name in budget.callers or caller.id in budget.callers)
        and (not budget.roles or bool(budget.roles & caller.roles))
    )


def _scope(budget: Budget, request: ActionRequest) -> str:
    values = {"caller": request.caller.name, "customer": request.customer or "", "action": request.action}
    return "|".join(values[name] for name in budget.per)
