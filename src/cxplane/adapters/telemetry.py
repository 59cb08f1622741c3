"""Prometheus metrics, and OpenTelemetry traces where an endpoint is set in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from cxplane.domain.masking import mask
from cxplane.ports.telemetry import NO_LABELS

disable_created_metrics()  # type: ignore[no-untyped-call]  # one time stamp per counter is noise

PREFIX = "cxplane_"
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
    "http_in_flight": Metric("gauge", "HTTP requests being worked on now."),
    "http_shed": Metric("counter", "HTTP requests turned away with 429.", ("why",)),
    "auth_failures": Metric("counter", "Requests without valid credentials."),
    "decisions": Metric("counter", "Decisions made.", ("action", "verdict")),
    "decision_seconds": Metric("histogram", "Time to judge one request, facts included."),
    "outcomes": Metric("counter", "What the systems confirmed.", ("action", "status")),
    "legs": Metric("counter", "Legs of runs worked, each from what came to the next wait.", ("journey",)),
    "store": Metric("gauge", "State of the store: entries, open intents, open approvals, connections.", ("what",)),
    "ready": Metric("gauge", "1 while the store answers and a release is live."),
}


class PrometheusTelemetry:
    """A registry of its own, so that two planes in one process do not share numbers."""

    def __init__(self, *, service: str = "cxplane") -> None:
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        self._children: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
        self._tracing = _Tracing.from_environment(service)

    def count(self, name: str, labels: Mapping[str, str] = NO_LABELS, amount: float = 1.0) -> None:
        self._child(name, Counter, labels).inc(amount)

    def observe(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        self._child(name, Histogram, labels).observe(value)

    def gauge(self, name: str, value: float, labels: Mapping[str, str] = NO_LABELS) -> None:
        self._child(name, Gauge, labels).set(value)

    def span(
        self, name: str, attributes: Mapping[str, str] = NO_LABELS, *, parent: str | None = None
    ) -> AbstractContextManager[None]:
        if self._tracing is None:
            return nullcontext()
        return self._tracing.span(name, attributes, parent)

    def traceparent(self) -> str | None:
        return None if self._tracing is None else self._tracing.traceparent()

    def render(self) -> tuple[bytes, str]:
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def close(self) -> None:
        if self._tracing is not None:
            self._tracing.close()

    def _child(self, name: str, kind: type[Any], labels: Mapping[str, str]) -> Any:
        """The counter, gauge or histogram for these labels; made at its first use."""
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
        child = metric.labels(**labels) if labels else metric
        self._children[key] = child
        return child


class _Tracing:
    """OpenTelemetry over OTLP/HTTP. Imported only where it is wanted."""

    def __init__(self, service: str) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = os.environ.get("OTEL_SERVICE_NAME", service)
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("cxplane")
        self._propagator = TraceContextTextMapPropagator()
        self._status = trace.Status(trace.StatusCode.ERROR)

    @classmethod
    def from_environment(cls, service: str) -> _Tracing | None:
        names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        return cls(service) if any(os.environ.get(name) for name in names) else None

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str], parent: str | None) -> Iterator[None]:
        context = self._propagator.extract({"traceparent": parent}) if parent else None
        # An exception's text may quote a value: only its kind goes into the trace.
        with self._tracer.start_as_current_span(
            name,
            context=context,
            attributes={name: mask(text) for name, text in attributes.items()},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as problem:
                span.set_attribute("error.type", type(problem).__name__)
                span.set_status(self._status)
                raise

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        self._provider.shutdown()
