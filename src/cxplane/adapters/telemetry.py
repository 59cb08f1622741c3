"""Prometheus metrics, and OpenTelemetry traces where an endpoint is set in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from cxplane.domain.masking import mask
from cxplane.ports.telemetry import NO_LABELS

if TYPE_CHECKING:
    from cxplane.adapters.tracing import Tracing

disable_created_metrics()  # type: ignore[no-untyped-call]  # one time stamp per counter is noise

PREFIX = "cxplane_"
MOST_LABELS = 2_000  # sets of labels of one metric; what comes after them is counted under OTHER
OTHER = "(other)"
_NOTHING = nullcontext()
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric means; the reference page is made from this list."""

    kind: str  # counter | gauge | histogram
    help: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "http_requests": Metric("counter", "HTTP requests answered.", ("method", "route", "status")),
    "http_request_seconds": Metric(
        "histogram", "Time from the head of a request to the end of its answer.", ("route",)
    ),
    "http_in_flight": Metric("gauge", "HTTP requests being worked on now.", ("lane",)),
    "http_queue": Metric("gauge", "HTTP requests that wait for a place.", ("lane",)),
    "http_limit": Metric(
        "gauge", "Places: how many are worked on at once, as the plane finds it does well.", ("lane",)
    ),
    "http_shed": Metric(
        "counter",
        "HTTP requests turned away with 429: no place in time (full, waited), a caller's rate, too many here at all.",
        ("why",),
    ),
    "loop_late_seconds": Metric("gauge", "How late the event loop is, of late."),
    "auth_failures": Metric("counter", "Requests without valid credentials."),
    "decisions": Metric(
        "counter", "Decisions made; action (unknown): one that the release does not know.", ("action", "verdict")
    ),
    "decision_seconds": Metric("histogram", "Time to judge one request, facts included."),
    "outcomes": Metric("counter", "What the systems confirmed.", ("action", "status")),
    "legs": Metric("counter", "Legs of runs worked, each from what came to the next wait.", ("journey",)),
    "stage_seconds": Metric(
        "histogram", "Time of one stage of a request: situation, facts, judge, append, act, outcome.", ("stage",)
    ),
    "calls": Metric(
        "counter", "Calls of business systems that change something, by what came of them.", ("system", "result")
    ),
    "call_seconds": Metric("histogram", "Time of one such call.", ("system",)),
    "breaker": Metric("gauge", "Circuit breaker of a system: 0 closed, 1 probing, 2 open.", ("system",)),
    "runs": Metric("gauge", "Runs of journeys that have not ended.", ("status",)),
    "jobs": Metric("gauge", "Background work in the store.", ("kind", "status")),
    "open_tasks": Metric("gauge", "Tasks that wait for a person."),
    "late_seconds": Metric(
        "gauge",
        "How long the oldest of what is due has been due: intent (its outcome), approval, timer, job.",
        ("what",),
    ),
    "store": Metric(
        "gauge",
        "State of the store: entries, open intents, open approvals, seconds of an append, connections and appends"
        " in use and at most.",
        ("what",),
    ),
    "sealed_entries": Metric("gauge", "Entries under a signed checkpoint."),
    "sealed_at_seconds": Metric("gauge", "When the last checkpoint was signed, as Unix time."),
    "seal_trouble": Metric(
        "gauge", "1 while the record is not what was signed, or the sink of checkpoints fails.", ("what",)
    ),
    "ready": Metric("gauge", "1 while the store answers, a release is live and the background goes on."),
}


class PrometheusTelemetry:
    """A registry of its own, so that two planes in one process do not share numbers."""

    def __init__(self, *, service: str = "cxplane") -> None:
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        self._children: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
        self._many: dict[str, int] = {}  # metric -> sets of labels that it has
        self._watched: list[Callable[[], None]] = []
        self._tracing = tracing_from_environment(service)

    def count(self, name: str, labels: Mapping[str, str] = NO_LABELS, amount: float = 1.0) -> None:
        self._child(name, Counter, labels).inc(amount)

    def observe(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        self._child(name, Histogram, labels).observe(value)

    def gauge(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        self._child(name, Gauge, labels).set(value)

    def span(
        self,
        name: str,
        attributes: Mapping[str, str | int] = NO_LABELS,
        *,
        parent: str | None = None,
        kind: str = "internal",
    ) -> AbstractContextManager[None]:
        if self._tracing is None:
            return _NOTHING
        return self._tracing.span(name, attributes, parent, kind)

    def note(self, attributes: Mapping[str, str | int]) -> None:
        if self._tracing is not None:
            self._tracing.note(attributes)

    def link(self, traceparent: str) -> None:
        if self._tracing is not None:
            self._tracing.link(traceparent)

    def begin(self, name: str, attributes: Mapping[str, str | int], traceparent: str) -> None:
        if self._tracing is not None:
            self._tracing.begin(name, attributes, traceparent)

    def traceparent(self) -> str | None:
        return None if self._tracing is None else self._tracing.traceparent()

    def watch(self, tell: Callable[[], None]) -> None:
        self._watched.append(tell)

    def render(self) -> tuple[bytes, str]:
        for tell in self._watched:
            tell()
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def close(self) -> None:
        if self._tracing is not None:
            self._tracing.close()

    def _child(self, name: str, kind: type[Any], labels: Mapping[str, str]) -> Any:
        """The counter, gauge or histogram for these labels; made at its first use.

        Labels are names of ours; some (an action that nobody knows) are what a caller said. They are masked, and not endless.
        """
        name = name.removesuffix("_total")  # the exposition adds it
        key = (name, tuple(labels.items()))
        if (child := self._children.get(key)) is not None:
            return child
        metric = self._metrics.get(name)
        if metric is None:
            known = METRICS.get(name)
            names = known.labels if known and set(known.labels) == set(labels) else tuple(sorted(labels))
            extra = {"buckets": BUCKETS_S} if kind is Histogram else {}
            text = known.help if known else name.replace("_", " ")
            metric = kind(PREFIX + name, text, names, registry=self._registry, **extra)
            self._metrics[name] = metric
        if not labels:
            self._children[key] = metric
            return metric
        many = self._many.get(name, 0)
        if many > MOST_LABELS:  # the set of OTHER is the last one; who asks for more and more does not fill the memory
            return metric.labels(**dict.fromkeys(labels, OTHER))
        self._many[name] = many + 1
        said = dict.fromkeys(labels, OTHER) if many == MOST_LABELS else {k: mask(v) for k, v in labels.items()}
        child = metric.labels(**said)
        self._children[key] = child
        return child


def tracing_from_environment(service: str) -> Tracing | None:
    """Only where an endpoint is set; OpenTelemetry is not even imported elsewhere."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not any(os.environ.get(name) for name in names):
        return None
    from cxplane.adapters.tracing import Tracing

    return Tracing(os.environ.get("OTEL_SERVICE_NAME", service))
