"""Which variables a CEL expression reads: the free names, without those that `map`, `filter`, `exists` … bind.

The engine lists every identifier, bound ones too, so `xs.exists(x, x > 1)` would seem to need `x`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<string>[bBrR]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
  | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>&&|\|\||[<>=!]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_RAW = re.compile(r"[bB]?[rR]")
_BINDERS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_WORDS = frozenset({"true", "false", "null", "in"})
_TYPES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"})
_OPEN, _CLOSE = "([{", ")]}"


def _tokens(text: str) -> list[tuple[str, str]]:
    """(kind, text) pairs without space and comments. ValueError for a raw string, whose end could be misread."""
    found: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "string" and _RAW.match(match.group()) and "\\" in match.group():
            raise ValueError("a raw string with a backslash; write an ordinary string")
        if kind != "space":
            found.append((kind, match.group()))
    return found


def nesting(text: str) -> int:
    """The deepest nesting of brackets, with runs of `!`, `-` and ternaries counted too."""
    depth = deepest = run = turns = 0
    for kind, mark in _tokens(text):
        if kind == "mark" and mark in _OPEN:
            depth += 1
        elif kind == "mark" and mark in _CLOSE:
            depth -= 1
        run = run + 1 if mark in ("!", "-") else 0
        turns += mark == "?"
        deepest = max(deepest, depth + run)
    return max(deepest, turns)


def rounds(text: str) -> int:
    """How deep `map`, `filter`, `exists` … stand within each other; 0 without any."""
    tokens = _tokens(text)
    open: list[bool] = []  # for each bracket, whether it is that of a binder
    deepest = 0
    for at, (kind, mark) in enumerate(tokens):
        if kind != "mark":
            continue
        if mark in _OPEN:
            open.append(
                at > 1 and tokens[at - 1][1] in _BINDERS and tokens[at - 2][1] == "." and _binds(tokens, at - 1)
            )
            deepest = max(deepest, sum(open))
        elif mark in _CLOSE and open:
            open.pop()
    return deepest


def free_names(text: str) -> frozenset[str]:
    """The variables that the expression reads from outside. ValueError if the text cannot be followed."""
    return frozenset(_free(_tokens(text)))


def _free(tokens: list[tuple[str, str]]) -> Iterator[str]:
    bound: list[tuple[str, int]] = []  # (name, bracket depth at which it ends)
    depth = 0
    skip = -1
    for at, (kind, mark) in enumerate(tokens):
        before = tokens[at - 1][1] if at else ""
        after = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if kind == "mark" and mark in _OPEN:
            depth += 1
        elif kind == "mark" and mark in _CLOSE:
            depth -= 1
            bound = [(name, ends) for name, ends in bound if ends <= depth]
        if kind != "name" or at == skip:
            continue
        if before == ".":
            if mark in _BINDERS and after == "(" and _binds(tokens, at):
                bound.append((tokens[at + 2][1], depth + 1))
                skip = at + 2
            elif at == 1 or _starts(tokens[at - 2]):
                raise ValueError("a name with a leading dot; write it without")
            continue
        if after == "(" or mark in _WORDS or mark in _TYPES:
            continue
        if mark not in {name for name, _ in bound}:
            yield mark


def _binds(tokens: list[tuple[str, str]], at: int) -> bool:
    """True for `.map(NAME, …`."""
    return at + 3 < len(tokens) and tokens[at + 2][0] == "name" and tokens[at + 3][1] == ","


def _starts(token: tuple[str, str]) -> bool:
    """True if an operand, not a field, comes after this token."""
    kind, mark = token
    return (kind == "mark" and mark not in _CLOSE) or mark == "in"
