"""What can be known to be wrong with a journey before it runs: its expressions, and what comes before what.

Shapes, and the names of actions, teams and targets, are the control repo's to check.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import Assign, Journey, Start, Step, Try
from cxplane.journeys.order import may_be_before
from cxplane.journeys.paths import path_mistakes
from cxplane.journeys.program import maps, single
from cxplane.ports.expressions import Expressions

Found = tuple[str, int, str, str]
"""(step, line, what is wrong, what to do): the step is "" where the head of the journey is meant."""

_ALWAYS = frozenset({"input", "steps", "vars", "run", "customer", "now"})
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "run": ("id", "journey", "customer", "conversation", "started_at"),
    "error": ("name", "text", "step"),
    "signal": ("type", "key", "data", "source", "id"),
}
_NO_RESULT = {"do", "set", "switch", "fork", "for", "try", "emit", "raise", "checkpoint"}
_LITERAL = re.compile(
    r"""'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|//[^\n]*""", re.DOTALL
)
_ASKED = re.compile(r"\bhas\s*\(\s*(steps|vars)\s*\.\s*(\w+)")
_FIELD = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*\.\s*([A-Za-z_]\w*)(?!\w|\s*\()")


def mistakes(journey: Journey, expressions: Expressions) -> list[Found]:
    """All of them, in the order of the file."""
    found = [*_Reader(journey, expressions).all(), *path_mistakes(journey)]
    order = {step.name: n for n, step in enumerate(journey.walk())}
    return sorted(dict.fromkeys(found), key=lambda one: order.get(one[0], -1))


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """(`steps`, `credit`) of each `steps.credit` in an expression."""
    for match in _FIELD.finditer(_LITERAL.sub("''", text)):
        yield match[1], match[2]


class _Reader:
    def __init__(self, journey: Journey, expressions: Expressions) -> None:
        self.journey, self.expressions = journey, expressions
        self.steps = {step.name: step for step in journey.walk()}
        self.vars = {name for step in self.steps.values() if isinstance(step, Assign) for name in step.values}
        self.input = _properties(journey)
        self.before = may_be_before(journey)

    def all(self) -> Iterator[Found]:
        for start in self.journey.start:
            yield from self._start(start)
        yield from self._list(self.journey.steps, _ALWAYS)

    def _start(self, start: Start) -> Iterator[Found]:
        texts = {"when": start.when, "customer": start.customer} | {f"with.{n}": t for n, t in start.with_.items()}
        for what, text in texts.items():
            if text is not None:
                for wrong, hint in self._expression(text, frozenset({"signal", "now"})):
                    yield "", start.line, f"start on {start.signal}, {what}: {wrong}", hint

    def _list(self, steps: Iterable[Step], known: frozenset[str]) -> Iterator[Found]:
        for step in steps:
            each = getattr(step, "each", None)
            for what, text in single(step):
                here = known
                if what.startswith("where:"):
                    here = known | {"signal"}
                elif what == "catch":
                    here = known | {"error"}
                elif what == "while" and each:
                    here = known | {each}
                for wrong, hint in (*self._expression(text, here), *self._too_early(step, text)):
                    yield step.name, step.line, f"{_said(what)}: {wrong}", hint
            for what, texts in maps(step):
                for name, text in texts.items():
                    for wrong, hint in (*self._expression(text, known), *self._too_early(step, text)):
                        yield step.name, step.line, f"{what}.{name}: {wrong}", hint
            for body, inner in step.bodies().items():
                more = {"error"} if isinstance(step, Try) and body == "catch" else {each} if each else set()
                yield from self._list(inner, known | more)

    def _expression(self, text: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
        """(what is wrong, hint)"""
        try:
            names = self.expressions.compile(text).names
        except ExpressionError as problem:
            yield str(problem), _mended(text)
            return
        for name in sorted(names - known):
            yield f"{name} is not known here", _instead(name, known)
        for root, field in dict.fromkeys(_fields(text)):
            if root in names and root in known:
                yield from self._field(root, field)

    def _too_early(self, step: Step, text: str) -> Iterator[tuple[str, str]]:
        """What is read and comes only after the step, unless the expression asks first whether it `has` it."""
        before, asked = self.before[step.name], set(_ASKED.findall(_LITERAL.sub("''", text)))
        for root, field in dict.fromkeys(_fields(text)):
            if root == "steps" and field in self.steps and self.steps[field].kind not in _NO_RESULT:
                givers = [field]
            elif root == "vars":
                givers = [s.name for s in self.steps.values() if isinstance(s, Assign) and field in s.values]
            else:
                continue
            if givers and not before.intersection(givers) and (root, field) not in asked:
                if givers == [step.name]:
                    yield f"{root}.{field} is what this step gives, and it is not there yet", "read another step"
                    continue
                come = "comes" if len(givers) == 1 else "come"
                what = f"{root}.{field} is not there yet: {' and '.join(givers)} {come} only after {step.name}"
                yield what, f"put {givers[0]} before {step.name}"

    def _field(self, root: str, field: str) -> Iterator[tuple[str, str]]:
        if root == "steps":
            step = self.steps.get(field)
            if step is None:
                yield f"there is no step {field}", _nearest(field, self.steps)
            elif step.kind in _NO_RESULT:
                hint = "read vars.NAME" if step.kind == "set" else "name a step inside it, or one that asks or calls"
                yield f"{field} is a `{step.kind}`, which leaves no result", hint
        elif root == "vars" and field not in self.vars:
            yield f"no `set` gives {field}", _nearest(field, self.vars) or f"add `set: {{{field}: …}}` before it"
        elif root == "input" and self.input is not None and field not in self.input:
            yield f"the input has no {field}", _nearest(field, self.input) or f"add {field} to input: properties"
        elif root in _FIELDS and field not in _FIELDS[root]:
            yield f"{root} has no {field}", f"one of {', '.join(_FIELDS[root])}"


def _properties(journey: Journey) -> frozenset[str] | None:
    """The names that the input may have; None if it may have any."""
    schema = journey.input
    named = schema.get("properties")
    if not isinstance(named, Mapping) or "patternProperties" in schema or "$ref" in schema:
        return None
    if schema.get("additionalProperties", False) is not False:
        return None
    more = [part for word in ("allOf", "anyOf", "oneOf") for part in schema.get(word, ())]
    return None if more else frozenset(named)


def _said(what: str) -> str:
    """`when:large` as one reads it."""
    word, _, part = what.partition(":")
    if word == "when":
        return f"the case {part}, when"
    return "catch, when" if word == "catch" else word


def _instead(name: str, known: frozenset[str]) -> str:
    if name == "error":
        return "there is an error inside a catch only"
    if name == "signal":
        return "a signal is there in `where` and at the start only; afterwards it is steps.NAME.data"
    if "signal" in known and "input" not in known:
        return "a start knows signal and now, nothing else"
    return _nearest(name, known) or f"known are {', '.join(sorted(known))}"


def _mended(text: str) -> str:
    """What to do about an expression that cannot be read, by the slips that people make."""
    bare = _LITERAL.sub("", text)
    if any(quote in bare for quote in "‘’“”„"):
        return "write straight quotes, ' and \", not curly ones"
    if "'" in bare or '"' in bare:
        return "close the quote: a text stands between two of the same kind, 'like this'"
    reads = re.search(r"\b(input|steps|vars|customer|run|signal|error)\s*\.", bare) is not None
    if not reads and re.fullmatch(r"[\w ,.:;!?-]+", text) and " " in text.strip():
        return f"a text stands in quotes of its own, within those of the file: \"'{text.strip()}'\""
    if re.search(r"(?<![=!<>])=(?!=)", bare):
        return "compare with =="
    if word := re.search(r"\b(and|or|not)\b", bare):
        return f"write {({'and': '&&', 'or': '||', 'not': '!'})[word[1]]} for {word[1]}"
    return "CEL, like input.amount > 0; a text stands in quotes of its own"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"did you mean {near[0]}?" if near else ""
