"""Prometheus metrics, and OpenTelemetry traces where an endpoint is set in the environment."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Told
from prometheus_client.registry import Collector

from cxplane.domain.masking import mask
from cxplane.ports.telemetry import NO_LABELS

if TYPE_CHECKING:
    from cxplane.adapters.tracing import Tracing

PREFIX = "cxplane_"
MOST_LABELS = 2_000  # sets of labels of one metric; what comes after them is counted under OTHER
OTHER = "(other)"
_NOTHING = nullcontext()
_LABELS = tuple[tuple[str, str], ...]
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
    "runs_at_hand": Metric("gauge", "Runs that this worker started and works on, without a job in the store."),
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


class Number:
    """A counter or a gauge under one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Distribution:
    """A histogram under one set of labels. `counts`: how many fell into each bucket, the last is +Inf."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(BUCKETS_S) + 1), 0.0


@dataclass(slots=True)
class Family:
    """All that is known of one metric."""

    metric: Metric
    children: dict[tuple[str, ...], Number | Distribution] = field(default_factory=dict)  # by the values of its labels


class Numbers(Collector):
    """What is counted and measured: plain numbers, a tenth of the work of the library's own, which lock at each step.

    It is called many times a request, by the event loop alone.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._numbers: dict[tuple[str, _LABELS], Number] = {}
        self._distributions: dict[tuple[str, _LABELS], Distribution] = {}

    def number(self, name: str, kind: str, labels: Mapping[str, str]) -> Number:
        key = (name, tuple(labels.items()))
        if (known := self._numbers.get(key)) is not None:
            return known
        number, keep = self._child(name, kind, labels)
        assert isinstance(number, Number)
        if keep:
            self._numbers[key] = number
        return number

    def distribution(self, name: str, labels: Mapping[str, str]) -> Distribution:
        key = (name, tuple(labels.items()))
        if (known := self._distributions.get(key)) is not None:
            return known
        distribution, keep = self._child(name, "histogram", labels)
        assert isinstance(distribution, Distribution)
        if keep:
            self._distributions[key] = distribution
        return distribution

    def collect(self) -> Iterator[Told]:
        for name, family in self._families.items():
            metric = family.metric
            if metric.kind == "histogram":
                told = HistogramMetricFamily(PREFIX + name, metric.help, labels=metric.labels)
                for values, child in family.children.items():
                    assert isinstance(child, Distribution)
                    told.add_metric(values, list(zip(_BOUNDS, accumulate(child.counts), strict=True)), child.total)
                yield told
                continue
            made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            simple = made(PREFIX + name, metric.help, labels=metric.labels)
            for values, child in family.children.items():
                assert isinstance(child, Number)
                simple.add_metric(values, child.value)
            yield simple

    def _child(self, name: str, kind: str, labels: Mapping[str, str]) -> tuple[Number | Distribution, bool]:
        """The one for these labels, made at its first use; and whether it may be kept under them.

        Labels are names of ours; some (an action that nobody knows) are what a caller said. They are masked, and not endless.
        """
        name = name.removesuffix("_total")  # the exposition adds it
        family = self._families.get(name)
        if family is None:
            known = METRICS.get(name)
            if known is None or set(known.labels) != set(labels):
                known = Metric(kind, name.replace("_", " "), tuple(sorted(labels)))
            family = self._families[name] = Family(known)
        values = tuple(mask(labels[label]) for label in family.metric.labels)
        full = len(family.children) >= MOST_LABELS
        if full and values not in family.children:  # who asks for more and more does not fill the memory
            values = (OTHER,) * len(values)
        child = family.children.get(values)
        if child is None:
            child = family.children[values] = Distribution() if kind == "histogram" else Number()
        return child, not full


_BOUNDS = (*map(str, BUCKETS_S), "+Inf")


class PrometheusTelemetry:
    """Numbers of its own, so that two planes in one process do not share them."""

    def __init__(self, *, service: str = "cxplane") -> None:
        self._registry = CollectorRegistry()
        self._numbers = Numbers()
        self._registry.register(self._numbers)
        self._watched: list[Callable[[], None]] = []
        self._tracing = tracing_from_environment(service)

    def count(self, name: str, labels: Mapping[str, str] = NO_LABELS, amount: float = 1.0) -> None:
        self._numbers.number(name, "counter", labels).value += amount

    def observe(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        seen = self._numbers.distribution(name, labels)
        seen.counts[bisect_left(BUCKETS_S, value)] += 1
        seen.total += value

    def gauge(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        self._numbers.number(name, "gauge", labels).value = value

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


def tracing_from_environment(service: str) -> Tracing | None:
    """Only where an endpoint is set; OpenTelemetry is not even imported elsewhere."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not any(os.environ.get(name) for name in names):
        return None
    from cxplane.adapters.tracing import Tracing

    return Tracing(os.environ.get("OTEL_SERVICE_NAME", service))
