"""Numbers for Prometheus, and traces that are sent only where an endpoint is set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cxplane.adapters.telemetry import METRICS, PrometheusTelemetry
from tests.edges.collector import Collector
from tests.edges.world import SaidPlane, edge

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    yield found
    found.close()


def test_numbers_are_told_in_the_format_of_prometheus() -> None:
    told = PrometheusTelemetry()
    told.count("decisions_total", {"action": "a", "verdict": "allow"})
    told.count("decisions_total", {"verdict": "allow", "action": "a"})
    told.observe("decision_seconds", 0.003)
    told.gauge("store", 7, {"what": "entries"})
    told.gauge("something_new", 1, {"b": "1", "a": "2"})
    text, media_type = told.render()
    assert media_type.startswith("text/plain")
    assert b'cxplane_decisions_total{action="a",verdict="allow"} 2.0' in text
    assert b'cxplane_decision_seconds_bucket{le="0.005"} 1.0' in text
    assert b'cxplane_store{what="entries"} 7.0' in text
    assert b'cxplane_something_new{a="2",b="1"} 1.0' in text


def test_every_metric_says_what_it_means() -> None:
    assert all(metric.help.endswith(".") for metric in METRICS.values())


@pytest.mark.parametrize("said", ["jane.doe@example.org", "DE89370400440532013000", "+49 170 1234567"])
def test_what_a_caller_made_up_is_masked_in_numbers_and_traces(collector: Collector, said: str) -> None:
    told = PrometheusTelemetry()
    told.count("decisions_total", {"action": said, "verdict": "refuse"})
    with told.span("decide", {"cxplane.action": said}):
        told.note({"cxplane.other": said})
    told.close()
    assert said.encode() not in told.render()[0]
    assert b'verdict="refuse"' in told.render()[0]
    assert len(collector.spans) == 1
    assert said not in str(collector.spans)


def test_labels_that_never_end_are_counted_under_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxplane.adapters.telemetry.MOST_LABELS", 3)
    told = PrometheusTelemetry()
    for n in range(10):
        told.count("decisions_total", {"action": f"a{n}", "verdict": "refuse"})
    told.count("decisions_total", {"action": "a1", "verdict": "refuse"})
    lines = [line for line in told.render()[0].decode().splitlines() if line.startswith("cxplane_decisions_total{")]
    assert lines == [
        'cxplane_decisions_total{action="a0",verdict="refuse"} 1.0',
        'cxplane_decisions_total{action="a1",verdict="refuse"} 2.0',
        'cxplane_decisions_total{action="a2",verdict="refuse"} 1.0',
        'cxplane_decisions_total{action="(other)",verdict="(other)"} 7.0',
    ]


def test_two_planes_of_one_process_do_not_share_numbers() -> None:
    first, second = PrometheusTelemetry(), PrometheusTelemetry()
    first.count("auth_failures")
    assert b"cxplane_auth_failures_total" not in second.render()[0]


def test_without_an_endpoint_nothing_is_traced() -> None:
    told = PrometheusTelemetry()
    with told.span("judge", parent=PARENT):
        assert told.traceparent() is None


def test_spans_are_sent_as_children_of_the_caller_s_trace(collector: Collector) -> None:
    told = PrometheusTelemetry()
    parents: list[str | None] = []

    def fail() -> None:
        with told.span("outer", {"action": "a"}, parent=PARENT), told.span("inner"):
            parents.append(told.traceparent())
            raise RuntimeError("Jane Doe")

    with pytest.raises(RuntimeError):
        fail()
    assert parents[0] is not None
    assert parents[0].split("-")[1] == PARENT.split("-")[1]
    told.close()
    spans = {span.name: span for span in collector.spans}
    assert spans["outer"].trace_id.hex() == PARENT.split("-")[1]
    assert spans["outer"].parent_span_id.hex() == PARENT.split("-")[2]
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    assert "RuntimeError" in str(spans["inner"])
    assert "Jane" not in str(collector.spans)


def test_a_request_is_a_span_named_by_its_route(collector: Collector) -> None:
    plane = SaidPlane()
    with edge(plane) as http:
        http.get("/v1/customers/jane", headers={"traceparent": PARENT})
    plane.telemetry.close()
    assert [span.name for span in collector.spans] == ["GET /v1/customers/{id}"]
    assert collector.spans[0].trace_id.hex() == PARENT.split("-")[1]
    assert "jane" not in str(collector.spans)
