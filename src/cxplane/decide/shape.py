"""Whether an input is what the contract says. No message holds a value of the input."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from cxplane.domain.decision import Reason, Verdict
from cxplane.domain.quick import plain, quick
from cxplane.domain.values import SAFE_INTEGER, Json, JsonObject

if TYPE_CHECKING:  # jsonschema is imported where an input does not fit at once
    from jsonschema.exceptions import ValidationError

MOST = 10  # complaints about one input
DEEPEST = 32

_COMPOSED = ("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "dependentSchemas")
_OPEN = ("additionalProperties", "unevaluatedProperties", "patternProperties")


def _is_integer(_: Any, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        return "T" in value.upper() and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


@cache
def _checking() -> tuple[Any, Any]:
    """The class of validators, for which 5.0 is no integer (money is never a float), and its formats."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    whole = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    usual = Draft202012Validator.FORMAT_CHECKER
    formats = type(usual)(formats=[f for f in usual.checkers if f not in ("date-time", "time", "regex")])
    formats.checks("date-time")(_date_time)
    return extend(Draft202012Validator, type_checker=whole), formats  # type: ignore[no-untyped-call]


class Contract:
    """One JSON Schema, compiled. `closed`: properties that it does not name are refused where it does not say otherwise."""

    def __init__(self, schema: JsonObject, *, closed: bool) -> None:
        """ValueError if it is no JSON Schema (Draft 2020-12)."""
        if not plain(schema):
            _must_be_schema(schema)
        self._schema = _closed(schema) if closed else schema
        self._quick = quick(self._schema)

    @cached_property
    def _validator(self) -> Any:
        validator, formats = _checking()
        return validator(self._schema, format_checker=formats)

    def wrong(self, value: Json) -> list[Reason]:
        """What is wrong with a value, each with the JSON pointer of the place."""
        found = [_refused(where, text) for where, text in _not_plain(value, "", 0)]
        if found:
            return found[:MOST]
        if self._quick is not None and self._quick(value):
            return []
        problems: list[ValidationError] = []
        for problem in self._validator.iter_errors(value):
            problems.append(problem)
            if len(problems) == MOST:
                break
        return [_refused(_pointer(p.absolute_path), _told(p)) for p in problems]

    def fits(self, value: Json) -> bool:
        return not self.wrong(value)


def _must_be_schema(schema: JsonObject) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as problem:
        where = "/".join(str(p) for p in problem.absolute_path)
        raise ValueError(f"no JSON Schema at /{where}: {problem.message[:120]}") from None


def _closed(schema: Any) -> Any:
    """The schema with every object that names its properties closed, unless the schema itself speaks of others."""
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    if isinstance(properties := schema.get("properties"), Mapping):
        closed["properties"] = {name: _closed(sub) for name, sub in properties.items()}
    if isinstance(items := schema.get("items"), Mapping):
        closed["items"] = _closed(items)
    if any(key in schema for key in _OPEN):
        return closed
    if any(key in schema for key in _COMPOSED):
        if "properties" in schema or schema.get("type") == "object":
            closed["unevaluatedProperties"] = False
    elif "properties" in schema or schema.get("type") == "object":
        closed["additionalProperties"] = False
    return closed


def not_plain(value: Json) -> str | None:
    """Why a value is no plain JSON (finite, integers within 2^53, texts as keys, not too deep); None if it is."""
    for where, text in _not_plain(value, "", 0):
        return f"{where or '/'} {text}"
    return None


def _not_plain(value: Any, where: str, depth: int) -> Iterator[tuple[str, str]]:
    if value is None or isinstance(value, bool | str):
        if isinstance(value, str) and not _encodable(value):
            yield where, "holds characters that are no text (lone surrogates)"
        return
    if isinstance(value, int):
        if abs(value) > SAFE_INTEGER:
            yield where, "is an integer beyond 2^53 - 1; send it as a text"
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            yield where, "is not a finite number"
        return
    if depth >= DEEPEST:
        yield where, f"is nested more than {DEEPEST} deep"
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not _encodable(key):
                yield where, "has a key that is no text"
            else:
                yield from _not_plain(item, f"{where}/{_escaped(key)}", depth + 1)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _not_plain(item, f"{where}/{n}", depth + 1)
    else:
        yield where, "is no JSON value"


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _pointer(path: Sequence[Any]) -> str:
    return "".join(f"/{_escaped(str(step))}" for step in path)


def _refused(where: str, text: str) -> Reason:
    return Reason(code="input", text=f"input{where} {text}", effect=Verdict.REFUSE, where=where)


def _told(problem: ValidationError) -> str:
    """What the contract wants, in words. Only the contract's side is quoted, never the input's."""
    says: Any = problem.validator_value
    key = problem.validator
    match key:
        case "type":
            kinds = says if isinstance(says, list) else [says]
            wanted = " or ".join(str(kind) for kind in kinds)
            if "integer" in kinds and isinstance(problem.instance, float):
                return "must be a whole number (money is counted in minor units, never in fractions)"
            return f"must be of type {wanted}"
        case "required":
            missing = [name for name in says if isinstance(problem.instance, Mapping) and name not in problem.instance]
            return f"needs {', '.join(repr(name) for name in missing)}"
        case "additionalProperties" | "unevaluatedProperties":
            return _unknown(problem)
        case "enum":
            return f"must be one of {', '.join(json.dumps(value) for value in says)}"
        case "const":
            return f"must be {json.dumps(says)}"
        case "format":
            return f"must be written as {says}"
    words = {
        "minimum": "must be at least",
        "maximum": "must be at most",
        "exclusiveMinimum": "must be more than",
        "exclusiveMaximum": "must be less than",
        "multipleOf": "must be a multiple of",
        "minLength": "must have a length of at least",
        "maxLength": "must have a length of at most",
        "minItems": "must have a number of items of at least",
        "maxItems": "must have a number of items of at most",
        "pattern": "must match",
    }
    if isinstance(key, str) and key in words:
        return f"{words[key]} {says}"
    return f"breaks the contract's {key!r}"


_WORD = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,39}$")


def _unknown(problem: ValidationError) -> str:
    known = list(problem.schema.get("properties", ())) if isinstance(problem.schema, Mapping) else []
    given = problem.instance if isinstance(problem.instance, Mapping) else {}
    others = [name for name in given if name not in known]
    named = [name for name in others if _WORD.match(name)]
    text = f"has unknown properties ({', '.join(named)})" if named else "has unknown properties"
    for name in named:
        if near := difflib.get_close_matches(name, known, 1):
            return f"{text}; did you mean {near[0]!r}?"
    return f"{text}; known: {', '.join(known) or 'none'}"
