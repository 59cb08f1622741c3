"""What the plane tells those who run it: numbers, traces, and what a log line is about. Never customer data, never secrets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

NO_LABELS: Mapping[str, str] = {}
_HEX = re.compile(r"[0-9a-f]{32}$")


@dataclass(slots=True)
class Followed:
    """What is being worked on: it stands in each log line, on record as `cause`, and in a header to the systems."""

    request: str  # id of the HTTP request, or of the run or request that the background works on
    tenant: str
    traceparent: str | None = None  # W3C

    @property
    def trace(self) -> str | None:
        """The id of its trace."""
        return self.traceparent.split("-")[1] if self.traceparent else None


FOLLOWED: ContextVar[Followed | None] = ContextVar("cxplane_followed", default=None)


def trace_of(id: str) -> str:
    """The traceparent of all that is done for a run, in any process: its trace id is the hexadecimal part of the run's id."""
    hashed = hashlib.sha256(id.encode()).hexdigest()
    found = _HEX.search(id)
    trace = found[0] if found and found[0].strip("0") else hashed[:32]
    return f"00-{trace}-{hashed[32:48]}-01"


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
        self,
        name: str,
        attributes: Mapping[str, str | int] = NO_LABELS,
        *,
        parent: str | None = None,
        kind: str = "internal",
    ) -> AbstractContextManager[None]:
        """A stretch of work in a trace; the spans inside become its children.

        `parent`: a W3C traceparent; `kind`: internal | server | client | consumer.
        """
        ...

    def note(self, attributes: Mapping[str, str | int]) -> None:
        """More about the current span."""
        ...

    def link(self, traceparent: str) -> None:
        """The current span led to another trace."""
        ...

    def begin(self, name: str, attributes: Mapping[str, str | int], traceparent: str) -> None:
        """The root of a trace whose ids are given: others, in other processes, become its children."""
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
