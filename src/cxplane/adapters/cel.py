"""CEL through the Rust engine `common-expression-language`.

The engine has no cost limit, so length and nesting are capped when an expression is compiled, and before `map`, `filter`,
`exists` … go through a list its length is: the engine copies what it has at each item, so 100,000 items would take
minutes, in which nothing else is done. Three of its habits to know: `5 / 2` is 2, `1 == 1.0` is true, and `size("ä")`
counts bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from cxplane.adapters.cel_engine import cel
from cxplane.adapters.cel_functions import FUNCTIONS, functions
from cxplane.adapters.cel_names import free_names, nesting, rounds
from cxplane.adapters.cel_weight import heaviest
from cxplane.domain.errors import ExpressionError
from cxplane.domain.values import Json, currency_digits
from cxplane.ports.expressions import Expression

LONGEST = 2_000  # characters
DEEPEST = 32  # brackets within brackets
MOST_WORK = 5_000_000  # values copied by `map`, `filter` …; about a quarter of a second
LONGEST_TEXT = 1_000_000  # characters of a result
MOST_ITEMS = 200_000  # of a list or map that is a result

_BUILT_IN = frozenset(
    [
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "string",
        "int",
        "uint",
        "double",
        "type",
        "dyn",
        "timestamp",
        "duration",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ]
)
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_OPERATOR = re.compile(r"[^A-Za-z0-9]|^_")
_UNDEFINED = re.compile(r"Undefined variable or function: '([A-Za-z_][A-Za-z0-9_]*)'")


def _of_the_process(problem: BaseException) -> bool:
    """Whether somebody ends the work, so that it is no failure of the engine (whose own are no `Exception` either)."""
    from asyncio import CancelledError  # not at the head: checking a control repo needs no event loop

    return isinstance(problem, (KeyboardInterrupt, SystemExit, CancelledError))


class CelExpression:
    """One compiled expression."""

    __slots__ = ("_functions", "_path", "_program", "_rounds", "names", "text")

    def __init__(
        self, text: str, names: frozenset[str], program: cel.Program, used: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.text, self.names = text, names
        self._program, self._functions = program, dict(used)
        self._rounds = rounds(text)
        self._path = tuple(text.strip().split(".")) if names and _PATH.fullmatch(text.strip()) else ()

    def value(self, variables: Mapping[str, Json]) -> Json:
        if self._path and _plain_word(found := _at(variables, self._path)):
            return found
        given = {name: variables[name] for name in self.names if name in variables}
        if self._rounds:
            items, weight = heaviest(given)
            if weight * items**self._rounds > MOST_WORK:
                raise ExpressionError(self.text, f"a list of {items} items, too many to go through")
        try:
            result = self._program.execute(cel.Context(given, self._functions))
        except BaseException as problem:  # the engine's panics are not Exceptions
            if _of_the_process(problem):
                raise
            raise ExpressionError(self.text, _why(self.text, problem)) from None
        return _plain(self.text, result)

    def __repr__(self) -> str:
        return f"CelExpression({self.text!r})"


class CelExpressions:
    """Compiles expressions, each text once."""

    def __init__(self, *, currency: str = "EUR", remembered: int = 4096) -> None:
        self._functions = functions(currency_digits(currency))
        self._compiled: dict[str, CelExpression] = {}
        self._remembered = remembered

    def compile(self, text: str) -> Expression:
        if (known := self._compiled.get(text)) is not None:
            return known
        expression = self._compile(text)
        if len(self._compiled) >= self._remembered:
            self._compiled.clear()
        self._compiled[text] = expression
        return expression

    def _compile(self, text: str) -> CelExpression:
        if not isinstance(text, str) or not text.strip():
            raise ExpressionError(str(text), "nothing to compute")
        shown = text if len(text) <= 120 else text[:117] + "..."
        if len(text) > LONGEST:
            raise ExpressionError(shown, f"more than {LONGEST} characters; split it into several facts")
        try:
            if nesting(text) > DEEPEST:
                raise ExpressionError(shown, f"nested more than {DEEPEST} deep; split it into several facts")
            names = free_names(text)
        except ValueError as problem:
            raise ExpressionError(shown, str(problem)) from None
        try:
            program = cel.compile(text)
            uses = frozenset(program.functions())
            seen = frozenset(program.variables())
        except BaseException as problem:
            if _of_the_process(problem):
                raise
            raise ExpressionError(shown, _syntax(problem)) from None
        if not names <= seen:
            raise ExpressionError(shown, f"cannot tell what it reads ({', '.join(sorted(names - seen))})")
        called = {name for name in uses if not _OPERATOR.search(name) or name in FUNCTIONS}
        if unknown := sorted(called - _BUILT_IN - set(FUNCTIONS)):
            raise ExpressionError(
                shown, f"unknown function {', '.join(unknown)} (known: {', '.join(sorted({*FUNCTIONS, *_BUILT_IN}))})"
            )
        return CelExpression(text, names, program, {n: self._functions[n] for n in called if n in self._functions})


def _syntax(problem: BaseException) -> str:
    """The engine's first line of complaint, without the expression itself."""
    match = re.search(r"ERROR: <input>:(\d+):(\d+): (.*)", str(problem))
    if not match:
        return "bad syntax"
    return f"bad syntax at line {match[1]}, column {match[2]}: {match[3][:120]}"


def _why(text: str, problem: BaseException) -> str:
    """What went wrong, in words that hold no value of a variable."""
    if isinstance(problem, KeyError):
        name = str(problem.args[0]) if problem.args else ""
        told = re.search(rf"\.{re.escape(name)}\b", text) if name.isidentifier() else None
        return f"no field {name!r}" if told else "no such key"
    if isinstance(problem, IndexError):
        return "an index beyond the end of a list"
    if isinstance(problem, ZeroDivisionError):
        return "a division by zero"
    if isinstance(problem, OverflowError):
        return "a number too large"
    if isinstance(problem, TypeError):
        return "types that do not fit together"
    if isinstance(problem, RuntimeError):
        if found := _UNDEFINED.search(str(problem)):
            return f"no value for {found[1]!r}"
        if found := re.search(r"Unsuited: (.*?)\. Check function", str(problem)):
            return found[1]
    return "it could not be computed"


def _at(variables: Mapping[str, Json], path: tuple[str, ...]) -> Any:
    """What a path such as `input.order.id` leads to; None where it leads nowhere."""
    found: Any = variables
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _plain_word(value: Any) -> bool:
    """Whether the engine would hand it back as it is, so that it need not be asked: a tenth of the time.

    It is not asked about what stands beside it either, which it may refuse to read (half a surrogate pair).
    """
    kind = type(value)
    if kind is str:
        return bool(value.isascii()) and len(value) <= LONGEST_TEXT
    return kind is bool or (kind is int and abs(value) < 2**63)


def _plain(text: str, value: Any) -> Json:
    """The result as plain values. ExpressionError for what JSON and timestamps cannot say."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ExpressionError(text, f"a text of more than {LONGEST_TEXT} characters")
        return value
    if isinstance(value, list | dict) and len(value) > MOST_ITEMS:
        raise ExpressionError(text, f"more than {MOST_ITEMS} values")
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise ExpressionError(text, "a number too large")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(text, "a number that is not finite")
        return value
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, list):
        return [_plain(text, item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ExpressionError(text, "a map whose keys are not texts")
        return {key: _plain(text, item) for key, item in value.items()}
    raise ExpressionError(text, f"a result of type {type(value).__name__}, which facts cannot hold")
