"""CEL, for conditions and computed facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cxplane.domain.values import Json


class Expression(Protocol):
    text: str
    names: frozenset[str]  # the variables it reads

    def value(self, variables: Mapping[str, Json]) -> Json:
        """The result as plain Python values. Raises ExpressionError for anything that goes wrong."""
        ...


class Expressions(Protocol):
    def compile(self, text: str) -> Expression:
        """Raises ExpressionError: bad syntax, an unknown function, too long, too deeply nested."""
        ...
