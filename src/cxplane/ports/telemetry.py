"""What the plane tells those who run it: numbers and traces. Never customer data, never secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

NO_LABELS: Mapping[str, str] = {}


class Telemetry(Protocol):
    """Metric names carry their unit (`_seconds`, `_bytes`), and no prefix; labels are few and bounded."""

    def count(self, name: str, labels: Mapping[str, str] = NO_LABELS, amount: float = 1.0) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        """One measurement of a distribution."""
        ...

    def gauge(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        """The value as it stands now."""
        ...

    def span(
        self, name: str, attributes: Mapping[str, str] = NO_LABELS, *, parent: str | None = None
    ) -> AbstractContextManager[None]:
        """A stretch of work in a trace; the spans inside become its children. `parent`: a W3C traceparent."""
        ...

    def traceparent(self) -> str | None:
        """The W3C traceparent of the current span, to hand on; None where nothing is traced."""
        ...

    def watch(self, tell: Callable[[], None]) -> None:
        """Have `tell` set its gauges before each rendering; it must be quick."""
        ...

    def render(self) -> tuple[bytes, str]:
        """All metrics in the Prometheus text format, and its content type."""
        ...

    def close(self) -> None:
        """Send what is still waiting."""
        ...
