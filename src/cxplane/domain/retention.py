"""How long personal data is kept: which class an entry belongs to, and the period whose key seals it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

DEFAULT = "default"
KINDS = {
    "signal": "signals",
    "fact.recorded": "conversation",
    "run.started": "journeys",
    "run.advanced": "journeys",
    "run.told": "journeys",
    "task.opened": "journeys",
    "task.answered": "journeys",
}
"""Classes that come from the kind of entry; requests and what follows them go by the data classes of their action."""
CLASSES = ("conversation", "journeys", "signals", DEFAULT)
_BY_DAY = timedelta(days=90)  # a class kept for less is put away day by day, others month by month

_SPAN = re.compile(r"^([1-9][0-9]*)(d|w|y)$")

Retention = Mapping[str, timedelta]  # class -> how long after its period


def kept_for(text: str) -> timedelta:
    """`90d`, `6w` or `10y` (a year is 365.25 days, rounded up). ValueError otherwise."""
    if not (match := _SPAN.match(text)):
        raise ValueError(f"how long data is kept is written like 90d, 6w or 10y, not {text!r}")
    return timedelta(days=math.ceil(int(match[1]) * {"d": 1, "w": 7, "y": 365.25}[match[2]]))


def class_of(kind: str, data: Collection[str], retention: Retention) -> str | None:
    """The class by which an entry is kept; None if it stays until the customer is erased.

    Of several data classes the one that is kept longest counts. What describes a customer now is never put away by time.
    """
    if kind.startswith("customer."):
        return None
    if (named := KINDS.get(kind)) is not None:
        return named if named in retention else _default(retention)
    known = [name for name in sorted(data) if name in retention]
    return max(known, key=lambda name: retention[name]) if known else _default(retention)


def _default(retention: Retention) -> str | None:
    return DEFAULT if DEFAULT in retention else None


def shelf(kind: str, data: Collection[str], retention: Retention, at: datetime) -> tuple[str, datetime | None]:
    """(class/period, end of the period) of what is written at that time; ("", None) for what has no end."""
    name = class_of(kind, data, retention)
    if name is None:
        return "", None
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if retention[name] < _BY_DAY:
        return f"{name}/{day:%Y-%m-%d}", day + timedelta(days=1)
    first = day.replace(day=1)
    return f"{name}/{first:%Y-%m}", (first + timedelta(days=32)).replace(day=1)
