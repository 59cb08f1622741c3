"""What verifying an export finds, and how it is said."""

from __future__ import annotations

import json
from dataclasses import dataclass

from cxplane.record.merkle import HASH

# what reading a line that anybody may have written can end in
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong. `index` counts lines from 0; `position` is what the line there says of itself."""

    kind: str  # changed | removed | inserted | reordered | repeated | hashes | signature | checkpoint | between | fork
    what: str  # a sentence
    index: int | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """An entry that says: the store came back to an earlier moment here. What came after entry `upto` until then is lost."""

    index: int
    position: str
    at: str
    upto: int | None


def diagnosis(
    index: int, before: bytes, lines: list[bytes], found: list[bytes], signed: list[bytes], earlier: set[bytes]
) -> Finding:
    """What happened at the first line that differs, `lines[0]`. `signed` are the right hashes, and some that follow."""
    if not found:
        return Finding("removed", f"the lines end before entry number {index} (counted from 0)", index)
    said = position(lines[0])
    called = f"entry number {index} (counted from 0" + (
        f"; it says position {said})" if said else "; it cannot be read)"
    )
    if found[0] in earlier:
        return Finding("repeated", f"{called} stands there a second time", index, said)
    if not signed:
        return Finding("inserted", f"{called} was put in: so many were never signed", index, said)
    mine_later, other_later = found[0] in signed[1:], signed[0] in found[1:]
    if mine_later and other_later:
        return Finding("reordered", f"{called} does not stand in its place", index, said)
    if mine_later:
        gone = signed[1:].index(found[0]) + 1
        many = "an entry is" if gone == 1 else f"{gone} entries are"
        after = f" after position {position(before)}" if before else ""
        return Finding("removed", f"{many} missing{after}, before position {said}", index, said)
    if other_later:
        return Finding("inserted", f"{called} was put in: it was never signed", index, said)
    return Finding("changed", f"{called} is not the one that was signed", index, said)


def restored_in(index: int, line: bytes) -> Restored | None:
    """What an entry says of the store having been set back; None for any other."""
    try:
        event = json.loads(line)
        if event["type"] != "cxplane.store.restored":
            return None
        return Restored(index, str(event["id"]), str(event.get("time", "")), event["data"]["body"].get("position"))
    except UNREADABLE:
        return None


def split(data: bytes) -> list[bytes]:
    """The hashes that stand one after the other."""
    return [data[n : n + HASH] for n in range(0, len(data), HASH)]


def position(line: bytes) -> str | None:
    """What a line says of itself; None where it cannot be read."""
    try:
        return str(json.loads(line)["id"])
    except UNREADABLE:
        return None
