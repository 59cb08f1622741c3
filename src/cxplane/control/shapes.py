"""The shape of each kind of file: one JSON Schema a kind, and its complaints as plain sentences with a line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any

from cxplane.control.yaml import Document, Path
from cxplane.domain.errors import Mistake
from cxplane.domain.quick import FORMATS, plain, quick
from cxplane.domain.values import Json, JsonObject

if TYPE_CHECKING:  # jsonschema is imported where a file does not fit at once
    from jsonschema.exceptions import SchemaError, ValidationError

SHAPED = ("plane", "action", "table", "system", "policy-tests", "budget", "people", "agent", "journey", "charter")
"""The kinds that have a schema. Policies are Cedar, which has its own."""

MOST = 50  # complaints about one file


@cache
def _strict() -> Any:
    """The class of validators for which 500.0 is no integer: money is never a fraction."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    return extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]


class Shape:
    """The schema of a kind of file or of a part of one. The validator is asked only about what does not fit at once."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.surely = quick({name: value for name, value in schema.items() if name != "$schema"}) or (lambda _: False)

    @cached_property
    def validator(self) -> Any:
        return _strict()(self.schema)


@cache
def schema_text(kind: str) -> str:
    """The published JSON Schema of a kind, as text."""
    return (resources.files("cxplane.control") / "schemas" / f"{kind}.schema.json").read_text("utf-8")


@cache
def _shape(kind: str) -> Shape:
    schema = json.loads(schema_text(kind))
    defs = schema.pop("$defs", {})
    return Shape(_inlined(schema, defs))


@cache
def part_of(kind: str, name: str) -> Shape:
    """The shape of one named part of a kind's schema; steps within it are left to whoever asks."""
    defs = json.loads(schema_text(kind))["$defs"]
    return Shape(_inlined(defs[name], defs))


RECURSIVE = frozenset({"steps"})
"""Parts that hold themselves: `steps.py` goes through them."""


def _inlined(node: Any, defs: Mapping[str, Any]) -> Any:
    """The schema with its references written out, as following them is what costs the most; recursive ones allow anything."""
    if isinstance(node, list):
        return [_inlined(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    named = node.get("$ref")
    rest = {key: _inlined(value, defs) for key, value in node.items() if key != "$ref"}
    if not isinstance(named, str):
        return rest
    name = named.rsplit("/", 1)[1]
    return rest if name in RECURSIVE else {**_inlined(defs[name], defs), **rest}


def shape_mistakes(kind: str, document: Document) -> list[Mistake]:
    """What is wrong with the shape of a file."""
    return list(islice(complaints(document, _shape(kind), document.value), MOST))


def complaints(
    document: Document, shape: Shape, value: Json, under: Path = (), step: str | None = None
) -> Iterator[Mistake]:
    """What is wrong with one part of a file. `under`: where it stands; `step`: the name of the step that it is."""
    if shape.surely(value):
        return
    for problem in shape.validator.iter_errors(value):
        for one in _flat(problem):
            yield from _told(document, one, under, step)


def _flat(problem: ValidationError) -> Iterator[ValidationError]:
    """A choice between forms becomes the complaints of the form that was meant."""
    if problem.validator != "oneOf" or not isinstance(problem.instance, Mapping):
        yield problem
        return
    forms: Any = problem.validator_value
    scores = [sum(name in problem.instance for name in form.get("required", ())) for form in forms]
    best = max(scores)
    if best == 0 or not problem.context:  # none of them, or several
        yield problem
        return
    meant = scores.index(best)
    for one in problem.context or ():
        if one.schema_path[0] == meant:
            yield from _flat(one)


def _told(document: Document, problem: ValidationError, under: Path, step: str | None) -> Iterator[Mistake]:
    path: Path = tuple(problem.absolute_path)
    where = dotted(path)
    whole = "the file" if step is None else "it"
    says: Any = problem.validator_value
    key, given = str(problem.validator), problem.instance
    schema: Mapping[str, Any] = problem.schema if isinstance(problem.schema, Mapping) else {}
    hint = _examples(schema)
    shown = "what is there" if {"auth", "base_url"} & set(path) else short(given)  # these may hold a secret

    def mistake(what: str, hint: str, at: Path = path) -> Mistake:
        told = what if step is None else f"step {step}: {what}"
        return Mistake(document.file, document.line(*under, *at), told, hint)

    if "propertyNames" in problem.absolute_schema_path:
        yield mistake(f"{short(given)} in {where} is not {schema.get('title', 'a name')}", hint, (*path, str(given)))
    elif key == "additionalProperties" and isinstance(given, Mapping):
        known = list(schema.get("properties", ()))
        for name in given:
            if name not in known:
                place = f" in {where}" if where else ""
                yield mistake(f"unknown key {short(name)}{place}", suggest(str(name), known), (*path, name))
    elif key == "required" and isinstance(given, Mapping):
        missing = [name for name in says if name not in given]
        # jsonschema complains once a name; tell each name once
        name = next((n for n in missing if problem.message.startswith(repr(n))), missing[0] if missing else "")
        about = schema.get("properties", {}).get(name, {})
        place = f"{where or whole} "
        yield mistake(f"{place}has no {name!r}", f"add it: {_wish(name, about)}")
    elif key == "oneOf":
        names = [form.get("required", ["?"])[0] for form in says]
        there = [name for name in dict.fromkeys(names) if isinstance(given, Mapping) and name in given]
        if len(there) > 1:
            yield mistake(f"{where or whole} has {' and '.join(there)}", "keep one of them")
        else:
            each = ", ".join(dict.fromkeys(names))
            yield mistake(f"{where or whole} must have one of {each}", hint or "see the published schema")
    elif key == "dependentRequired" and isinstance(given, Mapping):
        for name, others in says.items():
            if name in given and (missing := [other for other in others if other not in given]):
                yield mistake(f"{where or whole} has {name}, but no {', '.join(missing)}", "", (*path, name))
    elif key == "type":
        yield mistake(
            f"{where or whole} must be {_kind(says, schema)}, not {_what_is(given, shown)}",
            _type_hint(where, says, given, hint),
        )
    elif key == "enum":
        known = [str(value) for value in says]
        yield mistake(
            f"{where} must be one of {', '.join(known)}, not {shown}", suggest(str(given), known, say_all=False)
        )
    elif key == "pattern" and schema.get("title", "").startswith("the name of a secret"):
        yield mistake(f"{where} is not the name of a secret (not shown here: it may be the secret itself)", _NAME_ONLY)
    elif key == "pattern":
        title = schema.get("title", "written as the schema says")
        what = "must not be empty" if says == r"\S" else f"must be {title}, not {shown}"
        yield mistake(f"{where} {what}", hint)
    else:
        yield mistake(f"{where or whole} {_limit(key, says)}", hint)


_NAME_ONLY = (
    "write only its name, like BILLING_TOKEN; if this was a real secret, change it: it is in the file's history"
)


def _limit(key: str, says: Any) -> str:
    words = {
        "minimum": f"must be at least {says}",
        "maximum": f"must be at most {says}",
        "minLength": "must not be empty",
        "maxLength": f"must have at most {says} characters",
        "minItems": f"must have at least {says} item{'' if says == 1 else 's'}",
        "minProperties": f"must have at least {says} key{'' if says == 1 else 's'}",
        "maxProperties": f"must have at most {says} key{'' if says == 1 else 's'}",
        "uniqueItems": "names something twice",
    }
    return words.get(key, f"breaks the schema's {key!r}")


def _type_hint(where: str, says: Any, given: Any, hint: str) -> str:
    if isinstance(given, float) and says == "integer":
        if where.endswith("money"):
            return "money is counted in whole minor units: 500.00 EUR is 50000"
        return f"write a whole number, like {round(given)}"
    if says == "string" and isinstance(given, (int, float, bool)) and "auth" not in where:
        return f'quote it: "{json.dumps(given)}"'
    if says == "array" and not isinstance(given, Mapping):
        return f"write [{given if given is not None else ''}]"
    return hint


def _kind(says: Any, schema: Mapping[str, Any]) -> str:
    if title := schema.get("title"):
        return str(title)
    words = {
        "object": "a map of keys",
        "array": "a list",
        "string": "a text",
        "integer": "a whole number",
        "number": "a number",
    }
    kinds = says if isinstance(says, list) else [says]
    return " or ".join(words.get(kind, "true or false" if kind == "boolean" else str(kind)) for kind in kinds)


def _what_is(given: Any, shown: str) -> str:
    if isinstance(given, Mapping):
        return "a map of keys"
    if isinstance(given, list):
        return "a list"
    return "empty" if given is None else shown


def _wish(name: str, about: Mapping[str, Any]) -> str:
    if "enum" in about:
        return f"{name}: {' | '.join(str(value) for value in about['enum'])}"
    if examples := about.get("examples"):
        return f"{name}: {examples[0]}"
    return f"{name}: …"


def _examples(schema: Mapping[str, Any]) -> str:
    examples = schema.get("examples")
    return f"like {', '.join(str(one) for one in examples)}" if examples else ""


def suggest(word: str, known: list[str], *, say_all: bool = True) -> str:
    """Did you mean …; or all there are, where they are few."""
    if near := difflib.get_close_matches(word, known, 1, 0.6):
        return f"did you mean {near[0]}?"
    if not say_all or not known:
        return ""
    shown = ", ".join(sorted(known)[:12])
    return f"known: {shown}{', …' if len(known) > 12 else ''}"


def short(value: Any) -> str:
    """A value as it may be shown: one line, not long."""
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def dotted(path: Path) -> str:
    """`applies.actions[2]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def schema_problems(schema: JsonObject) -> Iterator[tuple[Path, str]]:
    """(path, what) for each place where an action's input or output is no JSON Schema that contracts can use."""
    if schema.get("type") != "object":
        yield (), "must say type: object"
    if plain(schema):
        return
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as problem:
        yield tuple(problem.absolute_path), f"is no JSON Schema: {_schema_words(problem)}"
    yield from _loose_ends(schema, ())


def fits(schema: JsonObject, value: Json) -> str | None:
    """Why a value does not fit a schema, in words; None if it does."""
    problem = next(iter(_strict()(dict(schema)).iter_errors(value)), None)
    return None if problem is None else str(problem.message)[:120]


def _schema_words(problem: SchemaError) -> str:
    if problem.validator in ("anyOf", "enum"):
        return f"{short(problem.instance)} is no type; types: object, array, string, integer, number, boolean, null"
    return problem.message[:120]


def _loose_ends(node: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """A contract stands alone: it points at nothing outside itself, and asks for no format that nobody checks."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
                yield (*path, key), "points outside the contract; write the schema out"
            elif key == "format" and isinstance(value, str) and value not in FORMATS:
                yield (*path, key), f"format {value!r} is not checked here; {suggest(value, sorted(FORMATS))}"
            else:
                yield from _loose_ends(value, (*path, key))
    elif isinstance(node, list):
        for n, item in enumerate(node):
            yield from _loose_ends(item, (*path, n))
