"""What each `for` goes through. A list that the run has anyway is not kept a second time in its state.

Where `in` only names a list (`input.lines`, `steps.find.orders`, `vars.parcels`, a part of an outer item) that stays the same for as
long as the loop goes on, the state says how far the loop has come, and no more. What is computed, or set by the loop itself, is
kept whole, as it was when the loop began.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import Assign, For, Fork
from cxplane.domain.run import Token
from cxplane.domain.values import Json
from cxplane.journeys.program import Node, Program
from cxplane.ports.expressions import Expression

_NAMED = re.compile(r"\s*[A-Za-z_]\w*(\s*\.\s*[A-Za-z_]\w*)+\s*")


def named(program: Program, node: Node) -> bool:
    """Whether the list of a `for` is one that it names, and that cannot become another one while the loop goes on."""
    text = node.cel["in"].text
    if not _NAMED.fullmatch(text):
        return False
    root, field = _path(text)[:2]
    above = list(node.above())
    if root == "input" or root in {a.step.each for a in above if isinstance(a.step, For)}:
        return True
    if root not in ("steps", "vars"):
        return False
    forked = any(isinstance(a.step, Fork) for a in above)  # what another branch does meanwhile
    return not any(
        (root, field) in _changes(other) and (forked or other.within(node.name)) for other in program.nodes.values()
    )


def listed(expression: Expression, names: Mapping[str, Any]) -> Sequence[Json]:
    """The list that an expression names. Raises ExpressionError."""
    found: Any = names
    for part in _path(expression.text):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, list | tuple):
        raise ExpressionError(expression.text, "no list")
    return found


def outside(token: Token, node: Node) -> Token:
    """The token as it was before it came to a loop: only those around it."""
    around = {above.name for above in node.above()}
    loops = {name: at for name, at in token.loops.items() if name in around}
    return msgspec.structs.replace(token, loops=loops)


def _path(text: str) -> list[str]:
    return [part.strip() for part in text.split(".")]


def _changes(node: Node) -> Iterator[tuple[str, str]]:
    """What a step changes, as expressions read it."""
    yield "steps", node.name
    if isinstance(node.step, Assign):
        for name in node.step.values:
            yield "vars", name
