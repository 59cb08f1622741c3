"""OpenTelemetry traces over OTLP/HTTP. Imported only where an endpoint is set.

Attributes are names and numbers of ours: no address, no body, no text of an error, nothing that a customer or a system said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cxplane.domain.masking import mask

KINDS = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
}
_ERROR = trace.Status(trace.StatusCode.ERROR)


class _Ids(RandomIdGenerator):
    """Random ones, except for a root that others know already."""

    given: SpanContext | None = None

    def generate_trace_id(self) -> int:
        return self.given.trace_id if self.given else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self.given.span_id if self.given else super().generate_span_id()


class Tracing:
    def __init__(self, service: str) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("cxplane")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | int], parent: str | None, kind: str) -> Iterator[None]:
        context = self._context(parent) if parent else None
        # An exception's text may quote a value: only its kind goes into the trace.
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=KINDS[kind],
            attributes=_masked(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as problem:
                span.set_attribute("error.type", type(problem).__name__)
                span.set_status(_ERROR)
                raise

    def note(self, attributes: Mapping[str, str | int]) -> None:
        trace.get_current_span().set_attributes(_masked(attributes))

    def link(self, traceparent: str) -> None:
        trace.get_current_span().add_link(self._span(traceparent))

    def begin(self, name: str, attributes: Mapping[str, str | int], traceparent: str) -> None:
        here = trace.get_current_span().get_span_context()
        links = [Link(here)] if here.is_valid else []
        self._ids.given = self._span(traceparent)
        try:
            self._tracer.start_span(name, context=Context(), attributes=_masked(attributes), links=links).end()
        finally:
            self._ids.given = None

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        self._provider.shutdown()

    def _context(self, traceparent: str) -> Context:
        return self._propagator.extract({"traceparent": traceparent})

    def _span(self, traceparent: str) -> SpanContext:
        return trace.get_current_span(self._context(traceparent)).get_span_context()


def _masked(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    """The last net: a name of ours may be one that a caller made up, like that of an action that nobody knows."""
    return {name: mask(said) if isinstance(said, str) else said for name, said in attributes.items()}
