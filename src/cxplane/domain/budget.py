"""Money, count and risk limits of autonomy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Window(StrEnum):
    """A calendar window in the plane's time zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits are inclusive: a budget of 100 lets exactly 100 go. None = not limited."""

    id: str
    owner: str
    window: Window
    money: int | None = None  # minor units
    count: int | None = None
    risk: int | None = None  # risk points
    per: tuple[str, ...] = ()  # caller | customer | action
    actions: frozenset[str] = frozenset()  # empty = every write
    kinds: frozenset[str] = frozenset()  # caller kinds; empty = all
    callers: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    exhausted: str = "hold"  # hold | refuse
    approvers: tuple[str, ...] = ()
    file: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one request takes from one budget's counter. The store refuses what would pass a limit."""

    budget: str
    scope: str  # "agent:fin|c1": the values of `per`, joined; "" for one counter
    window: str  # ISO start of the window
    money: int
    count: int
    risk: int
    limit_money: int | None = None
    limit_count: int | None = None
    limit_risk: int | None = None
    force: bool = False  # a person with authority went over the limit: count, do not refuse
