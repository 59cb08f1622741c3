"""A JSON Schema of the common words as a plain function: a yes in microseconds. Whoever hears no asks the full validator why."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any], bool]

_SAYS_NOTHING = frozenset({"title", "description", "default", "examples", "$comment"})


def quick(schema: Any) -> Check | None:
    """Whether a value surely fits; None for a schema that says more than the common words.

    Never true for what the validator refuses. An integer is an integer: 5.0 is none, and neither is true.
    """
    try:
        return _check(schema)
    except _More:
        return None


class _More(Exception):
    """It says more than is understood here."""


def _check(schema: Any) -> Check:
    if schema is True:
        return lambda value: True
    if not isinstance(schema, Mapping):
        raise _More
    said = {name: value for name, value in schema.items() if name not in _SAYS_NOTHING}
    kind = said.pop("type", None)
    checks: list[Check] = []
    if "enum" in said:
        allowed = said.pop("enum")
        if not all(isinstance(one, str) for one in allowed):
            raise _More
        known = frozenset(allowed)
        checks.append(lambda value: isinstance(value, str) and value in known)
    if "oneOf" in said:
        checks.append(_one_of(said.pop("oneOf")))
    match kind:
        case "object":
            checks.append(_object(said))
        case "array":
            checks.append(_array(said))
        case "string":
            checks.append(_string(said))
        case "integer":
            checks.append(_number(said, (int,)))
        case "number":
            checks.append(_number(said, (int, float)))
        case "boolean":
            checks.append(lambda value: isinstance(value, bool))
        case "null":
            checks.append(lambda value: value is None)
        case list():
            checks.append(_any_of(kind, said))
        case None if checks:
            pass
        case None if not said:
            return lambda value: True
        case _:
            raise _More
    if said:
        raise _More
    return checks[0] if len(checks) == 1 else lambda value: all(check(value) for check in checks)


_NUMBER = frozenset({"minimum", "maximum"})
_WORDS: Mapping[str, frozenset[str]] = {  # what may be said of each type; of others it says nothing
    "object": frozenset(
        {
            *("properties", "required", "additionalProperties", "propertyNames", "dependentRequired"),
            *("minProperties", "maxProperties"),
        }
    ),
    "array": frozenset({"items", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "integer": _NUMBER,
    "number": _NUMBER,
    "boolean": frozenset(),
    "null": frozenset(),
}


def _any_of(kinds: Sequence[str], said: dict[str, Any]) -> Check:
    """One of several types, each with the words that speak of it."""
    if not all(isinstance(kind, str) and kind in _WORDS for kind in kinds):
        raise _More
    each = [_check({"type": kind, **{word: said[word] for word in said.keys() & _WORDS[kind]}}) for kind in kinds]
    for word in frozenset().union(*_WORDS.values()):
        said.pop(word, None)  # of a type that it cannot have, a word says nothing
    return lambda value: any(check(value) for check in each)


def _one_of(forms: Sequence[Any]) -> Check:
    """Forms of an object that are told apart by what each requires: a value that lacks it is surely none of that form."""
    if not all(isinstance(form, Mapping) and form.get("required") for form in forms):
        raise _More
    known = [(tuple(form["required"]), _check({"type": "object", **form})) for form in forms]

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        may_be = [fits for required, fits in known if all(name in value for name in required)]
        return len(may_be) == 1 and may_be[0](value)

    return check


def _object(said: dict[str, Any]) -> Check:
    properties: Mapping[str, Any] = said.pop("properties", {})
    required: Sequence[str] = tuple(said.pop("required", ()))
    more = said.pop("additionalProperties", True)
    others = None if isinstance(more, bool) else _check(more)
    named = _check(said.pop("propertyNames")) if "propertyNames" in said else None
    least, most = said.pop("minProperties", 0), said.pop("maxProperties", None)
    together = [(name, tuple(others)) for name, others in said.pop("dependentRequired", {}).items()]
    inside = {name: _check(sub) for name, sub in properties.items()}

    def check(value: Any) -> bool:
        if not isinstance(value, dict) or len(value) < least or (most is not None and len(value) > most):
            return False
        for name in required:
            if name not in value:
                return False
        for name, others_too in together:
            if name in value and not all(other in value for other in others_too):
                return False
        for name, one in value.items():
            if named is not None and not named(name):
                return False
            known = inside.get(name, others)
            if known is None:
                if not more:
                    return False
            elif not known(one):
                return False
        return True

    return check


def _array(said: dict[str, Any]) -> Check:
    items = _check(said.pop("items", True))
    least, most = said.pop("minItems", 0), said.pop("maxItems", None)
    apart = said.pop("uniqueItems", False)

    def check(value: Any) -> bool:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            return False
        if apart and not (all(isinstance(one, str) for one in value) and len(set(value)) == len(value)):
            return False  # whether other values are the same is left to the validator
        return all(items(one) for one in value)

    return check


def _string(said: dict[str, Any]) -> Check:
    least, most = said.pop("minLength", 0), said.pop("maxLength", None)
    pattern = said.pop("pattern", None)
    try:
        search = re.compile(pattern).search if pattern is not None else None
    except (re.error, TypeError):
        raise _More from None

    def check(value: Any) -> bool:
        if not isinstance(value, str) or len(value) < least or (most is not None and len(value) > most):
            return False
        return search is None or search(value) is not None

    return check


def _number(said: dict[str, Any], kinds: tuple[type, ...]) -> Check:
    least, most = said.pop("minimum", None), said.pop("maximum", None)

    def check(value: Any) -> bool:
        if not isinstance(value, kinds) or isinstance(value, bool):
            return False
        return (least is None or value >= least) and (most is None or value <= most)

    return check


FORMATS = frozenset(
    {
        *("date", "date-time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
        *("uri", "uri-reference", "uri-template", "uuid", "json-pointer", "relative-json-pointer"),
        *("int32", "int64", "float", "double"),  # of OpenAPI; they say what the type says already
    }
)
"""Values of `format` that mean something here."""

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_TEXTS = frozenset({"title", "description"})
_COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})


def plain(schema: Any) -> bool:
    """True for the common words used rightly; anything else is left to the meta-schema, which costs 100 times more."""
    if not isinstance(schema, Mapping):
        return isinstance(schema, bool)
    for key, value in schema.items():
        if key == "type":
            kinds = value if isinstance(value, list) and value and len(set(map(str, value))) == len(value) else [value]
            good = all(isinstance(kind, str) and kind in _TYPES for kind in kinds)
        elif key == "properties":
            good = isinstance(value, Mapping) and all(plain(one) for one in value.values())
        elif key in ("items", "additionalProperties"):
            good = plain(value)
        elif key == "required":
            good = isinstance(value, list) and all(isinstance(v, str) for v in value) and len(set(value)) == len(value)
        elif key in ("enum", "examples"):
            good = isinstance(value, list)
        elif key in _TEXTS:
            good = isinstance(value, str)
        elif key == "format":
            good = value in FORMATS
        elif key in _COUNTS:
            good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        elif key in _NUMBERS:
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
        else:
            good = key in ("const", "default")
        if not good:
            return False
    return True
