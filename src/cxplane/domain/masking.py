"""Masking: what looks like personal data in a text is replaced by its kind. The last net, behind not saying it at all.

Patterns with checksums where there are any, so that order numbers and times stay as they are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

_EMAIL = re.compile(
    r"[A-Za-z0-9_%+][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}"
)
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?[0-9]){11,18}(?![\w-])")
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])")
_IP4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.])")
_IP6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_PHONE = re.compile(r"(?<![\w.:/+-])(?:\+|00)[1-9](?:[ ()/.-]{0,2}[0-9]){6,14}(?![\w-])|(?<![\w.:/+-])(?:\(0[1-9][0-9]{1,4}\)|0[1-9][0-9]{1,4})[ /-][0-9][0-9 /-]{4,12}[0-9](?![\w-])")  # fmt: skip
_MOST = 20_000  # characters of one text that are looked at; the rest is left out


def luhn(digits: str) -> bool:
    """The checksum of payment cards."""
    total = 0
    for n, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + n % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(text: str) -> bool:
    """ISO 13616: 15 to 34 signs whose number, turned round, leaves 1 modulo 97."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 13 <= len(digits) <= 19 and luhn(digits)


def _address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    if found.version == 6 and len(text) < 9:  # a::b is more often something else
        return False
    return not (found.is_loopback or found.is_unspecified)


def _always(text: str) -> bool:
    return True


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", _EMAIL, _always),
    ("iban", _IBAN, iban),
    ("card", _CARD, _card),
    ("ssn", _SSN, _always),
    ("phone", _PHONE, _always),
    ("ip", _IP4, _address),
    ("ip", _IP6, _address),
)
KINDS = ("email", "iban", "card", "ssn", "phone", "ip")


def mask(text: str) -> str:
    """The text with `[email]`, `[iban]`, `[card]`, `[ssn]`, `[phone]` and `[ip]` in the place of what looks like one."""
    if len(text) > _MOST:
        text = text[:_MOST] + "…"
    if not any(sign in text for sign in "@0123456789:"):
        return text
    for kind, pattern, holds in _KINDS:
        text = pattern.sub(lambda found, k=kind, ok=holds: f"[{k}]" if ok(found[0]) else found[0], text)  # type: ignore[misc]
    return text


def masked(value: Any) -> Any:
    """A JSON value with each of its texts masked; names stay."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {name: masked(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(one) for one in value]
    return value
