"""The functions that CEL lacks and facts need. Documented in `FUNCTIONS`; the set is closed.

They never raise with a value in the message: the engine logs what they raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any


class Unsuited(Exception):
    """An argument does not suit the function. The text is fixed: it never holds the argument."""


def _numbers(name: str, values: object) -> list[int | float]:
    if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
        raise Unsuited(f"{name}() takes a list of numbers")
    return values


def _sum(values: object) -> int | float:
    return sum(_numbers("sum", values))


def _extreme(name: str, choose: Callable[[Any], Any]) -> Callable[[object], Any]:
    def pick(values: object) -> Any:
        if not isinstance(values, list) or not values:
            raise Unsuited(f"{name}() takes a list with at least one item; guard it with size(list) > 0")
        kinds = {float if type(v) is int else type(v) for v in values}
        if len(kinds) != 1 or not kinds <= {float, str, datetime}:
            raise Unsuited(f"{name}() takes a list of numbers, of texts or of timestamps")
        return choose(values)

    return pick


def _join(values: object, separator: object) -> str:
    if not isinstance(values, list) or not isinstance(separator, str) or not all(isinstance(v, str) for v in values):
        raise Unsuited("join() takes a list of texts and a separator")
    return separator.join(values)


def _moment(value: object) -> date | datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            pass
    raise Unsuited("days_between() takes timestamps, or texts like 2026-01-31")


def _days_between(start: object, end: object) -> int:
    a, b = _moment(start), _moment(end)
    if isinstance(a, datetime) and isinstance(b, datetime):
        if (a.tzinfo is None) != (b.tzinfo is None):
            raise Unsuited("days_between() takes two timestamps with a time zone, or two dates")
        return int((b - a).total_seconds() / 86400)  # whole days, towards zero
    first = a.date() if isinstance(a, datetime) else a
    last = b.date() if isinstance(b, datetime) else b
    return (last - first).days


def _money(digits: int) -> Callable[[object], int]:
    def money(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise Unsuited("money() takes a number or a text like 12.34")
        try:
            minor = Decimal(str(value).strip()).scaleb(digits)
        except InvalidOperation:
            raise Unsuited("money() takes a number or a text like 12.34") from None
        if not minor.is_finite() or minor != minor.to_integral_value():
            raise Unsuited(f"money() takes an amount with at most {digits} decimal places")
        if abs(minor) >= 2**53:
            raise Unsuited("money() takes an amount below 2^53 minor units")
        return int(minor)

    return money


def _distinct(values: object) -> list[Any]:
    if not isinstance(values, list):
        raise Unsuited("distinct() takes a list")
    found: dict[Any, Any] = {}
    for value in values:
        found.setdefault((type(value), _frozen(value)), value)
    return list(found.values())


def _frozen(value: Any) -> Any:
    """Something with a hash that is equal exactly where the value is."""
    if isinstance(value, list):
        return tuple(_frozen(one) for one in value)
    if isinstance(value, dict):
        return frozenset((name, _frozen(one)) for name, one in value.items())
    return value


def _zip(a: object, b: object) -> list[list[Any]]:
    if not isinstance(a, list) or not isinstance(b, list):
        raise Unsuited("zip() takes two lists")
    return [list(pair) for pair in zip(a, b, strict=False)]


FUNCTIONS: Mapping[str, str] = {
    "sum": "sum(list): the sum of numbers; 0 for an empty list",
    "min": "min(list): the smallest of numbers, texts or timestamps; an empty list is an error",
    "max": "max(list): the greatest of numbers, texts or timestamps; an empty list is an error",
    "join": "join(list, separator): one text from a list of texts",
    "days_between": "days_between(a, b): calendar days between dates; whole days between two timestamps; negative if b is earlier",
    "money": "money(text or number): minor units; money('12.34') is 1234; more decimal places than the currency has is an error",
    "zip": "zip(a, b): pairs of the items in the same place, as far as the shorter list goes",
    "distinct": "distinct(list): the list without repeats, in order",
}


def functions(digits: int) -> Mapping[str, Callable[..., Any]]:
    """`digits`: decimal places of the plane's currency (2 for EUR, 0 for JPY)."""
    return {
        "sum": _sum,
        "min": _extreme("min", min),
        "max": _extreme("max", max),
        "join": _join,
        "days_between": _days_between,
        "money": _money(digits),
        "zip": _zip,
        "distinct": _distinct,
    }
