"""A system of record that can be set back: what both domains share.

A `World` is a database of named tables of documents. `reset()` gives back the state it began with: documents are copied when
they are first written (`own`), so a reset costs only what was touched.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

Document = dict[str, Any]


class Refusal(Exception):
    """The system says no: nothing was changed. `missing` says that something asked for does not exist."""

    def __init__(self, said: str, *, missing: bool = False) -> None:
        self.said, self.missing = said, missing
        super().__init__(said)


class World:
    """Tables of documents, as they began and as they are."""

    def __init__(self, tables: Mapping[str, Mapping[str, Document]]) -> None:
        self._first = {name: dict(rows) for name, rows in tables.items()}
        self._now: dict[str, dict[str, Document]] = {name: {} for name in self._first}

    def reset(self) -> None:
        for rows in self._now.values():
            rows.clear()

    def has(self, table: str, id: object) -> bool:
        return id in self._now[table] or id in self._first[table]

    def get(self, table: str, id: Any, what: str) -> Document:
        """To look at, not to change. Refusal if there is none."""
        if not isinstance(id, str) or not self.has(table, id):
            raise Refusal(f"{what} not found", missing=True)
        return self._now[table].get(id) or self._first[table][id]

    def first(self, table: str, id: str) -> Document | None:
        """What it was at the beginning; None if it came later."""
        return self._first[table].get(id)

    def own(self, table: str, id: Any, what: str) -> Document:
        """To change: a copy that belongs to this run."""
        document = self.get(table, id, what)
        if id not in self._now[table]:
            document = self._now[table][id] = copy.deepcopy(document)
        return document

    def add(self, table: str, id: str, document: Document) -> None:
        self._now[table][id] = document

    def rows(self, table: str) -> dict[str, Document]:
        return self._first[table] | self._now[table]

    def changes(self) -> dict[str, dict[str, Document]]:
        """What differs from the beginning: table -> id -> document."""
        return {
            name: {id: row for id, row in sorted(rows.items()) if self._first[name].get(id) != row}
            for name, rows in self._now.items()
        }

    def fingerprint(self) -> str:
        """SHA-256 of what differs from the beginning: two runs that end alike have the same."""
        return hashlib.sha256(json.dumps(self.changes(), sort_keys=True).encode()).hexdigest()

    def full_hash(self) -> str:
        """SHA-256 of the whole database with sorted keys: what the data set's own reference publishes."""
        tables = {name: self.rows(name) for name in self._first}
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


class System:
    """Named operations on a world. Every operation checks before it changes: a Refusal leaves no trace."""

    operations: Mapping[str, Callable[..., Any]]
    reads: frozenset[str]

    def __init__(self, world: World) -> None:
        self.world = world

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The result as JSON. Refusal for an unknown operation or wrong arguments, as any API would."""
        operation = self.operations.get(name)
        if operation is None:
            raise Refusal(f"no operation {name}", missing=True)
        try:
            return operation(self, **arguments)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            SyntaxError,
            TypeError,
            ValueError,
        ) as problem:
            raise Refusal(f"wrong arguments for {name}: {type(problem).__name__}") from None
