"""Which runs a signal starts, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import Journey, Start
from cxplane.domain.values import JsonObject
from cxplane.ports.expressions import Expression, Expressions


@dataclass(frozen=True, slots=True)
class Begin:
    """One run to start."""

    input: JsonObject = field(repr=False)
    customer: str | None


@dataclass(frozen=True, slots=True)
class _Compiled:
    start: Start
    when: Expression | None
    with_: tuple[tuple[str, Expression], ...]
    customer: Expression | None


@dataclass(frozen=True, slots=True)
class Starting:
    """The `start` of one journey, compiled."""

    journey: str
    starts: tuple[_Compiled, ...]

    @classmethod
    def compile(cls, journey: Journey, expressions: Expressions) -> Starting:
        """Raises ExpressionError."""

        def one(text: str | None) -> Expression | None:
            return None if text is None else expressions.compile(text)

        return cls(
            journey.id,
            tuple(
                _Compiled(
                    start,
                    one(start.when),
                    tuple((name, expressions.compile(text)) for name, text in start.with_.items()),
                    one(start.customer),
                )
                for start in journey.start
            ),
        )

    @property
    def signals(self) -> frozenset[str]:
        return frozenset(c.start.signal for c in self.starts)

    def begins(self, signal: JsonObject, now: datetime) -> Sequence[Begin]:
        """The first `start` that fits. `signal`: {type, key, data, source, id}. Raises ExpressionError where its data lacks something."""
        names: dict[str, Any] = {"signal": signal, "now": now}
        for compiled in self.starts:
            if compiled.start.signal != signal["type"]:
                continue
            if compiled.when is not None and compiled.when.value(names) is not True:
                continue
            data = signal.get("data")
            input = {name: text.value(names) for name, text in compiled.with_}
            if not compiled.with_:
                input = dict(data) if isinstance(data, dict) else {}
            customer = compiled.customer.value(names) if compiled.customer is not None else None
            if customer is not None and not isinstance(customer, str):
                raise ExpressionError(compiled.start.customer or "", "the customer is no text")
            return (Begin(input, customer),)
        return ()
