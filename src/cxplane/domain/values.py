"""Small values that many words use: JSON, exact money, spans of time, canonical bytes, ids."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import rfc8785

Json = Any  # None | bool | int | float | str | list | dict, as `json` reads it
JsonObject = Mapping[str, Any]

SAFE_INTEGER = 2**53 - 1  # beyond it, JSON readers disagree (RFC 8259 §6)


_NO_DIGITS = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"]
)
_THREE_DIGITS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


def currency_digits(currency: str) -> int:
    """Decimal places of an ISO 4217 currency."""
    return 0 if currency in _NO_DIGITS else 3 if currency in _THREE_DIGITS else 2


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount, counted in the currency's smallest unit (cents for EUR, yen for JPY)."""

    minor: int
    currency: str  # ISO 4217

    def __post_init__(self) -> None:
        if isinstance(self.minor, bool) or not isinstance(self.minor, int):
            raise ValueError("money is counted in whole minor units, never in fractions")
        if not (len(self.currency) == 3 and self.currency.isalpha() and self.currency.isupper()):
            raise ValueError(f"currency must be an ISO 4217 code like EUR, not {self.currency!r}")

    @property
    def text(self) -> str:
        """As people read it: "12.34 EUR", "1500 JPY"."""
        digits = currency_digits(self.currency)
        sign, minor = "-" if self.minor < 0 else "", str(abs(self.minor)).rjust(digits + 1, "0")
        return (
            f"{sign}{minor[:-digits]}.{minor[-digits:]} {self.currency}" if digits else f"{sign}{minor} {self.currency}"
        )


_SPAN = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def span(text: str) -> timedelta:
    """A span of time written as `500ms`, `5s`, `10m`, `4h`, `2d` or `1w`. ValueError otherwise."""
    if not (match := _SPAN.match(text)):
        raise ValueError(f"a span of time is written like 500ms, 5s, 10m, 4h, 2d or 1w, not {text!r}")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def spelled(value: timedelta) -> str:
    """A span as people write it: `14d`, `90m`, `1.5s`; what `span` reads, in the largest unit that leaves no fraction."""
    seconds = value.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def rate_per_second(text: str) -> float:
    """A rate written as `50/s` or `600/m`, as events per second. ValueError otherwise."""
    if not (match := re.match(r"^(\d+(?:\.\d+)?)/(s|m|h)$", text)) or float(match[1]) <= 0:
        raise ValueError(f"a rate is written like 50/s, 600/m or 1000/h, not {text!r}")
    return float(match[1]) / _SECONDS[match[2]]


_sorted = msgspec.json.Encoder(order="sorted").encode


def _same(value: Json) -> bool:
    """Whether common JSON with sorted names is canonical too: no fractions, names in ASCII, nothing but plain types."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-SAFE_INTEGER <= value <= SAFE_INTEGER)
    if kind is dict:
        for name in value:
            if type(name) is not str or not name.isascii():
                return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        return False
    for one in value:  # noqa: SIM110 -- a generator would cost as much as all the rest
        if not _same(one):
            return False
    return True


def canonical(value: Json) -> bytes:
    """RFC 8785 bytes of a JSON value. ValueError for NaN, infinities and integers beyond 2^53."""
    if _same(value):
        try:
            return _sorted(value)
        except UnicodeEncodeError:  # half a surrogate pair
            pass
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as problem:
        raise ValueError(f"not canonical JSON: {problem}") from None


def kept(value: Json) -> Json:
    """A value as it comes back from the store, as it was: Postgres writes large fractions (1e22) like whole numbers."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
        return float(value)
    if isinstance(value, list):
        return [kept(item) for item in value]
    if isinstance(value, Mapping):
        return {key: kept(item) for key, item in value.items()}
    return value


def digest(value: Json) -> str:
    """SHA-256 of the canonical bytes, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def new_id(prefix: str) -> str:
    """A fresh id that sorts by time: `req_` + 12 hex digits of milliseconds + 20 random ones."""
    return f"{prefix}_{int(time.time() * 1000):012x}{os.urandom(10).hex()}"


def derived_id(prefix: str, *parts: str) -> str:
    """The id that the same parts always give, for requests that carry an idempotency key."""
    text = "\x1f".join(parts).encode()
    return f"{prefix}_{hashlib.sha256(text).hexdigest()[:32]}"
