"""One request is followed from the caller to the system and back: in the log, the trace, the record and the system's own log."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cxplane.edges.process import JsonLines, Text
from cxplane.ports.telemetry import FOLLOWED, Followed, trace_of
from tests.edges.collector import Collector
from tests.edges.returns import FILES
from tests.edges.running import Running, set_up, until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MINE = "ticket-4711"
CUSTOMER, ORDER = "c-jane-doe", "o-iban-DE89370400440532013000"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


@pytest.fixture(scope="module")
def plane(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = set_up(
        tmp_path_factory.mktemp("following"),
        {"keys": []},
        FILES,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    with running.http("system:crm-sync") as http:
        http.put(f"/v1/customers/{CUSTOMER}", json={"attributes": {"segment": "gold"}})
        http.post(f"/v1/customers/{CUSTOMER}/assurance", json={"level": 2, "method": "otp", "lifetime": "8h"})
        said = {"purpose": "service", "granted": True, "source": "contract"}
        http.post(f"/v1/customers/{CUSTOMER}/consents", json=said)
    yield running
    if running.process is not None:
        running.stop()
    running.shop.close()


@pytest.fixture(scope="module")
def done(plane: Running, collector: Collector) -> dict[str, Any]:
    """The answer to one refund, asked within a trace."""
    plane.shop.order(ORDER, CUSTOMER)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": MINE}
    body = {"action": "shop.refund_order", "customer": CUSTOMER, "input": {"order_id": ORDER, "amount": 2500}}
    with plane.http("agent:helper", **headers) as http:
        reply = http.post("/v1/requests", json=body)
    assert (reply.status_code, reply.json()["status"]) == (200, "done"), reply.text
    assert reply.headers["x-request-id"] == MINE
    until(lambda: any(span.name == "POST /v1/requests" for span in collector.of(TRACE)))
    told: dict[str, Any] = reply.json()
    return told


def about(span: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_one_request_is_one_tree_of_spans(done: dict[str, Any], collector: Collector) -> None:
    spans = collector.of(TRACE)
    name = {span.span_id: span.name for span in spans}
    tree = {(name.get(span.parent_span_id, span.parent_span_id.hex()), span.name) for span in spans}
    assert tree >= {
        (PARENT, "POST /v1/requests"),
        ("POST /v1/requests", "decide"),
        ("decide", "situation"),
        ("decide", "facts"),
        ("facts", "GET /orders/{order_id}"),
        ("decide", "judge"),
        ("POST /v1/requests", "append"),
        ("POST /v1/requests", "act"),
        ("act", "POST /orders/{order_id}/refunds"),
        ("POST /v1/requests", "outcome"),
    }
    assert [parent for parent, _ in tree if parent not in name.values()] == [PARENT]
    of = {span.name: about(span) for span in spans}
    assert of["POST /v1/requests"]["http.response.status_code"] == 200
    assert of["POST /v1/requests"]["cxplane.http_request"] == MINE
    assert of["decide"]["cxplane.request"] == done["id"]
    assert of["decide"]["cxplane.verdict"] == "allow"
    assert of["act"]["cxplane.outcome"] == "done"
    assert of["POST /orders/{order_id}/refunds"]["http.response.status_code"] == 200


def test_the_system_gets_the_trace_and_the_id(plane: Running, done: dict[str, Any], collector: Collector) -> None:
    sent = plane.shop.headers[-1]
    assert sent["x-request-id"] == MINE
    call = next(span for span in collector.of(TRACE) if span.name == "POST /orders/{order_id}/refunds")
    assert sent["traceparent"] == f"00-{TRACE}-{call.span_id.hex()}-01"


def test_the_record_and_the_log_name_the_same_id(plane: Running, done: dict[str, Any]) -> None:
    with plane.http("person:sam") as http:
        entries = http.get("/v1/entries", params={"stream": done["id"]}).json()["items"]
    assert [entry.get("cause") for entry in entries if entry["kind"] == "request"] == [MINE]
    log = (plane.root / "serve.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line[:1] == "{"]
    mine = [line for line in lines if line.get("request_id") == MINE]
    assert [(line["route"], line["status"], line["trace_id"]) for line in mine] == [("/v1/requests", 200, TRACE)]
    assert {"time", "level", "logger", "message", "tenant", "ms", "caller"} <= set(mine[0])


def test_the_legs_of_a_run_are_one_trace_that_the_request_links_to(plane: Running, collector: Collector) -> None:
    order = plane.shop.order("o-run")
    with plane.http("person:sam") as http:
        body = {"journey": "goods_back", "customer": "c-1", "input": {"order_id": order, "amount": 2500}}
        id = http.post("/v1/runs", json=body).json()["run"]["id"]
    trace = trace_of(id).split("-")[1]
    assert id.endswith(trace)
    until(lambda: {"run", "leg"} <= {span.name for span in collector.of(trace)})
    with plane.http("system:crm-sync") as http:
        event = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "shop.parcel_arrived", "subject": order}
        sent = http.post(
            "/v1/signals", content=json.dumps(event), headers={"Content-Type": "application/cloudevents+json"}
        )
        assert sent.status_code == 202
    until(lambda: sum(span.name == "leg" for span in collector.of(trace)) > 1)
    spans = collector.of(trace)
    (root,) = [span for span in spans if span.name == "run"]
    assert not root.parent_span_id
    assert {span.parent_span_id for span in spans if span.name == "leg"} == {root.span_id}
    starting = [span for span in collector.spans if span.name == "POST /v1/runs"]
    assert [link.trace_id.hex() for link in starting[0].links] == [trace]


def test_nothing_of_a_customer_is_in_traces_logs_and_metrics(
    plane: Running, done: dict[str, Any], collector: Collector
) -> None:
    with plane.http() as http:
        metrics = http.get("/metrics").text
    told = str(collector.spans) + (plane.root / "serve.log").read_text() + metrics
    for private in (CUSTOMER, ORDER, "jane", "DE8937", "shop-secret", plane.keys["agent:helper"]):
        assert private not in told
    assert collector.spans and metrics


# lines -----------------------------------------------------------------------------------------------------------


def record(message: str, problem: BaseException | None = None) -> logging.LogRecord:
    info = (type(problem), problem, problem.__traceback__) if problem else None
    return logging.LogRecord("cxplane.x", logging.ERROR, __file__, 1, message, None, info)


def test_a_line_of_the_log_is_one_object_and_says_what_is_worked_on() -> None:
    token = FOLLOWED.set(Followed("http_1", "northwind", f"00-{TRACE}-{PARENT}-01"))
    try:
        line = JsonLines().format(record("two\nlines"))
        text = Text().format(record("all is well"))
    finally:
        FOLLOWED.reset(token)
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "error",
        "logger": "cxplane.x",
        "message": "two\nlines",
        "request_id": "http_1",
        "trace_id": TRACE,
        "tenant": "northwind",
    }
    assert text.endswith("error   x: all is well  [http_1]")


def test_a_line_of_the_log_never_holds_the_text_of_an_error() -> None:
    private = " ".join(("Jane", "Doe"))
    try:
        raise ValueError(private)
    except ValueError:
        problem = sys.exc_info()[1]
    for formatter in (JsonLines(), Text()):
        line = formatter.format(record("it failed", problem))
        assert "ValueError" in line and "test_following.py" in line
        assert private not in line
