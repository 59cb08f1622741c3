"""What an export still knows of the time that a store lost, as far as it took something away: erasures, revoked keys, consents
withdrawn, holds. Coming back from a backup undoes them; nobody meant that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_BEGIN = re.compile(rb'\{"specversion":"1\.0","id":"(\d+)"')
_TOOK = re.compile(rb'"type":"cxplane\.(?:customer\.erased|customer\.consent|customer\.hold|key\.revoked)"')

Span = tuple[int, int]
"""Positions past the first and before the second were lost."""
Consent = tuple[str, str, str | None, tuple[str, ...]]
"""(customer, purpose, channel, data classes)."""


@dataclass(slots=True)
class Lost:
    """`common`: the last line from before the time that was lost, by which the export is known to be of this store."""

    common: bytes | None = None
    count: int = 0  # lines of the time that was lost
    last: int | None = None  # position of the last of them
    at: str = ""  # its time
    erased: dict[str, None] = field(default_factory=dict)  # customers, in order
    revoked: dict[str, None] = field(default_factory=dict)  # ids of keys
    withdrawn: dict[Consent, str] = field(default_factory=dict)  # -> source
    held: dict[str, str] = field(default_factory=dict)  # customer -> reason


def lost_in(lines: Iterable[bytes], spans: Sequence[Span]) -> Lost:
    """From exported lines, in order. ValueError for what is none. `spans`: oldest first."""
    found, latest = Lost(), b""
    for line in lines:
        position = position_of(line)
        if position <= spans[0][0]:
            found.common = line
        if any(after < position < before for after, before in spans):
            found.count, found.last, latest = found.count + 1, position, line
            if _TOOK.search(line):
                _take(found, json.loads(line))
    if latest:
        found.at = str(json.loads(latest)["time"])
    return found


def position_of(line: bytes) -> int:
    """ValueError for what is no line of an export."""
    begin = _BEGIN.match(line)
    if begin is None:
        raise ValueError("a line of it is no CloudEvent as cxplane exports them")
    return int(begin[1])


def _take(found: Lost, event: dict[str, Any]) -> None:
    """The last word counts: who was held and is no longer, who withdrew and granted again, is as the backup has it."""
    kind, subject, body = event["type"], event["subject"], event["data"]["body"]
    if kind == "cxplane.customer.erased":
        found.erased[subject] = None
    elif kind == "cxplane.key.revoked":
        found.revoked[body["id"]] = None
    elif kind == "cxplane.customer.hold":
        found.held.pop(subject, None)
        if body["on"]:
            found.held[subject] = body.get("reason", "")
    elif kind == "cxplane.customer.consent":
        consent = (subject, body["purpose"], body.get("channel"), tuple(body.get("data", ())))
        found.withdrawn.pop(consent, None)
        if not body["granted"]:
            found.withdrawn[consent] = body.get("source", "")


def same_line(mine: bytes, theirs: bytes) -> bool:
    """Whether two lines are of one entry; personal data that was opened in one of them aside."""
    a, b = json.loads(mine), json.loads(theirs)
    a["data"].pop("private", None)
    b["data"].pop("private", None)
    return bool(a == b)
