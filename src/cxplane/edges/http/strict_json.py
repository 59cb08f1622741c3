"""JSON read so that two readers can never disagree about it (RFC 8259, I-JSON RFC 7493).

Refused, each with a JSON pointer: what is no JSON, NaN and infinities, a key given twice, an integer beyond 2^53 - 1,
text that is no Unicode or holds U+0000, and nesting beyond `DEPTH`. Floats stay floats: whether one may be money is
not the edge's to say.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from cxplane.domain.errors import Malformed
from cxplane.domain.values import SAFE_INTEGER

DEPTH = 32
T = TypeVar("T")


class NotJson(Malformed):
    """The body cannot be read at all (HTTP 400; what can be read and is wrong gives 422)."""


class NotTaken(Malformed):
    """The body is of a kind that is not taken here (HTTP 415)."""


class TooSlow(Malformed):
    """The body did not come in time (HTTP 408)."""


class _Wrong:
    """Stands in the parsed value where something is wrong, until the walk has found out where that is."""

    __slots__ = ("next", "why")

    def __init__(self, why: str, next: str) -> None:
        self.why, self.next = why, next


def parse(body: bytes) -> Any:
    """The value of a JSON text. Raises NotJson or Malformed, never shows a value."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise NotJson(f"the body is not UTF-8 (byte {problem.start})", next="Send JSON in UTF-8.") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as problem:
        raise NotJson(
            f"the body is not JSON: {problem.msg} (line {problem.lineno}, column {problem.colno})",
            next="Mend the JSON there and send it again.",
        ) from None
    except RecursionError:
        raise _too_deep("") from None
    _walk(value, "", 0)
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                twice = json.dumps(name[:60])
                return _Wrong(
                    f"the key {twice} is given twice", "Give each key once: readers disagree which one counts."
                )
            seen.add(name)
    return found


def _integer(digits: str) -> Any:
    if len(digits) <= 15:
        return int(digits)
    if len(digits) <= 17 and abs(value := int(digits)) <= SAFE_INTEGER:
        return value
    return _Wrong("this integer is beyond 2^53 - 1", "Send it as a text in quotes: JSON readers round such numbers.")


def _float(digits: str) -> Any:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        return _Wrong("this number is too large", "Send a number that a 64-bit float can hold, or a text.")
    return value


def _constant(name: str) -> Any:
    return _Wrong(f"{name} is not JSON", "Leave the value out, or send null.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)


def _walk(value: Any, pointer: str, depth: int) -> None:
    if isinstance(value, str):
        _text(value, pointer)
    elif isinstance(value, dict):
        if depth >= DEPTH:
            raise _too_deep(pointer)
        for name, inner in value.items():
            here = f"{pointer}/{escape(name)}"
            _text(name, here)
            if inner.__class__ not in _PLAIN:
                _walk(inner, here, depth + 1)
    elif isinstance(value, list):
        if depth >= DEPTH:
            raise _too_deep(pointer)
        for index, inner in enumerate(value):
            if inner.__class__ not in _PLAIN:
                _walk(inner, f"{pointer}/{index}", depth + 1)
    elif isinstance(value, _Wrong):
        kind = NotJson if "not JSON" in value.why or "twice" in value.why else Malformed
        raise kind(value.why, where=pointer, next=value.next)


_PLAIN = frozenset({int, float, bool, type(None)})


def _text(text: str, pointer: str) -> None:
    if text.isascii() and "\x00" not in text:
        return
    if "\x00" in text:
        raise Malformed(
            "a text holds U+0000, which the store cannot keep", where=_printable(pointer), next="Leave it out."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed(
            "a text holds half of a surrogate pair", where=_printable(pointer), next="Send whole Unicode characters."
        ) from None


def _printable(pointer: str) -> str:
    return pointer.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


def _too_deep(pointer: str) -> Malformed:
    return Malformed(f"nested deeper than {DEPTH} levels", where=pointer[:200], next="Send a flatter value.")


def escape(name: str) -> str:
    """A key as one part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def shaped(value: Any, type: type[T]) -> T:
    """The parsed value as the struct that a route expects. Malformed with a pointer otherwise."""
    try:
        return msgspec.convert(value, type, strict=True)
    except msgspec.ValidationError as problem:
        text = str(problem)
        what, _, path = text.partition(" - at `")
        where = _pointer(path.rstrip("`")) if path else ""
        if named := _FIELD.match(what):
            where += f"/{escape(named[1])}"
        raise Malformed(_plainly(what), where=where, next="See the schema of this route in /openapi.json.") from None


def _pointer(path: str) -> str:
    """`$.candidates[0].score` as `/candidates/0/score`."""
    steps = path.removeprefix("$").replace("[", ".").replace("]", "").split(".")
    return "".join(f"/{escape(step)}" for step in steps if step)


_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(.*)`$", re.DOTALL)
_PLAINER = {
    "Object contains unknown field": "there is no field",
    "Object missing required field": "missing field",
}


def _plainly(what: str) -> str:
    if "matching regex" in what:
        return "control characters have no place here"
    for words, plainer in _PLAINER.items():
        what = what.replace(words, plainer)
    return what
