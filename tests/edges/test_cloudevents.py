"""CloudEvents 1.0 as the edge reads them: each mode, each mistake with its place."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cxplane.domain.errors import Malformed
from cxplane.edges.http.cloudevents import BATCH, EVENT, event, events, is_json
from cxplane.edges.http.strict_json import NotTaken, parse
from tests.edges.world import SaidPlane, problem

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CXPLANE_DATA_SETS", ROOT.parent / "shared" / "data")) / "cloudevents"
GOOD = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "shop.parcel_arrived", "subject": "o-1"}
TAKEN = {"id": "sig_1", "repeated": False, "runs_started": ["run_1"], "runs_reached": 2}


@pytest.fixture
def plane() -> SaidPlane:
    said = SaidPlane()
    said.answer = TAKEN
    return said


def post(http: httpx.Client, body: Any, media: str = EVENT, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post("/v1/signals", content=content, headers={"Content-Type": media, **headers})


def binary(**attributes: str) -> dict[str, str]:
    sent = {**GOOD, **attributes}
    return {f"ce-{name}": value for name, value in sent.items()}


# what reaches the plane ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media", [EVENT, "application/json", f"{EVENT}; charset=utf-8", f'{EVENT}; charset="UTF-8"', EVENT.upper()]
)
def test_a_structured_event_reaches_the_plane(http: httpx.Client, plane: SaidPlane, media: str) -> None:
    sent = {
        **GOOD,
        "time": "2026-01-05T10:00:00.123456789Z",
        "data": {"n": 1},
        "traceparent": "00-x",
        "customer": "c-1",
    }
    reply = post(http, sent, media)
    assert (reply.status_code, reply.json()) == (202, TAKEN)
    assert plane.asked == [
        (
            "signal",
            (),
            {"type": GOOD["type"], "source": "/shop", "id": "1", "key": "o-1", "data": {"n": 1}, "customer": "c-1"},
        )
    ]


@pytest.mark.parametrize("media", ["application/json", "application/json; charset=utf-8", "application/vnd.shop+json"])
def test_in_binary_mode_the_body_is_the_data(http: httpx.Client, plane: SaidPlane, media: str) -> None:
    reply = post(http, {"specversion": "data of its own"}, media, **binary(subject="o%201%20%E2%82%AC"))
    assert reply.status_code == 202, reply.text
    named = plane.asked[0][2]
    assert (named["key"], named["data"]) == ("o 1 €", {"specversion": "data of its own"})


def test_in_binary_mode_there_may_be_no_data(http: httpx.Client, plane: SaidPlane) -> None:
    assert http.post("/v1/signals", headers=binary()).status_code == 202
    assert plane.asked[0][2]["data"] == {}


@pytest.mark.parametrize(
    ("sent", "data"),
    [
        ({}, {}),
        ({"data": None}, None),
        ({"data": ["Hello", "🌎!"]}, ["Hello", "🌎!"]),
        ({"data": "text", "datacontenttype": "application/json; charset=utf-8"}, "text"),
        ({"data_base64": base64.b64encode(b'{"a": 1}').decode()}, {"a": 1}),
    ],
)
def test_data_is_any_json(sent: dict[str, Any], data: Any) -> None:
    ((_, found),) = events(EVENT, {}, {**GOOD, **sent})
    assert (found.data if "data" in sent or "data_base64" in sent else {}) == data


def test_a_batch_is_taken_in_its_order(http: httpx.Client, plane: SaidPlane) -> None:
    reply = post(http, [{**GOOD, "id": str(n)} for n in range(3)], BATCH)
    assert (reply.status_code, reply.json()) == (202, {"items": [TAKEN] * 3})
    assert [named["id"] for _, _, named in plane.asked] == ["0", "1", "2"]


# mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"specversion": "0.3"}, "/specversion"),
        ({"specversion": 1.0}, "/specversion"),
        ({"specversion": ...}, "/specversion"),
        ({"id": ...}, "/id"),
        ({"id": ""}, "/id"),
        ({"id": 5}, "/id"),
        ({"id": "x" * 201}, "/id"),
        ({"source": ...}, "/source"),
        ({"source": "with space"}, "/source"),
        ({"type": ...}, "/type"),
        ({"type": "a\nb"}, "/type"),
        ({"subject": "a\nb"}, "/subject"),
        ({"subject": 7}, "/subject"),
        ({"subject": "x" * 201}, "/subject"),
        ({"time": "yesterday"}, "/time"),
        ({"time": "2026-13-05T10:00:00Z"}, "/time"),
        ({"time": "2026-01-05"}, "/time"),
        ({"customer": ""}, "/customer"),
        ({"data": 1, "data_base64": "MQ=="}, "/data_base64"),
        ({"data_base64": "?"}, "/data_base64"),
    ],
)
def test_a_wrong_event_is_refused_with_the_place(
    http: httpx.Client, plane: SaidPlane, changes: dict[str, Any], where: str
) -> None:
    sent = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    assert problem(post(http, sent), 422, "malformed")["where"] == where
    batch = problem(post(http, [GOOD, sent], BATCH), 422, "malformed")
    assert batch["where"] == f"/1{where}"
    assert not plane.asked


@pytest.mark.parametrize(
    ("headers", "where"),
    [
        ({"ce-specversion": "0.3"}, "ce-specversion"),
        ({"ce-id": ""}, "ce-id"),
        ({"ce-source": "a b"}, "ce-source"),
        ({"ce-type": "%FF"}, "ce-type"),
        ({"ce-time": "now"}, "ce-time"),
    ],
)
def test_a_wrong_header_is_named(http: httpx.Client, headers: dict[str, str], where: str) -> None:
    reply = post(http, {}, "application/json", **{**binary(), **headers})
    assert problem(reply, 422, "malformed")["where"] == where


def test_an_attribute_given_twice_is_refused(http: httpx.Client, plane: SaidPlane) -> None:
    headers = [*binary().items(), ("ce-id", "2"), ("Content-Type", "application/json")]
    reply = http.post("/v1/signals", content=b"{}", headers=headers)
    assert problem(reply, 422, "malformed")["where"] == "ce-id"
    assert not plane.asked


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/cloudevents+avro", ""])
def test_data_that_is_no_json_is_not_taken(http: httpx.Client, plane: SaidPlane, media: str) -> None:
    problem(post(http, b"<a/>", media, **binary()), 415, "media-type")
    problem(post(http, {**GOOD, "datacontenttype": "text/plain", "data": "x"}), 415, "media-type")
    assert not plane.asked


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"", EVENT, 422),
        (b"[]", EVENT, 422),
        (b"5", EVENT, 422),
        (b"{", EVENT, 400),
        (b'{"id": "1", "id": "2"}', EVENT, 400),
        (b"{}", BATCH, 422),
        (b"[5]", BATCH, 422),
        (json.dumps([GOOD] * 101).encode(), BATCH, 422),
        (b'{"a": 1}', "application/json", 422),
    ],
)
def test_what_is_no_event_is_refused(
    http: httpx.Client, plane: SaidPlane, body: bytes, media: str, status: int
) -> None:
    assert post(http, body, media).status_code == status
    assert not plane.asked


def test_of_a_batch_each_event_that_was_not_taken_is_named(http: httpx.Client, plane: SaidPlane) -> None:
    plane.answer = Malformed("its data does not fit", where="/data", next="Send what `start` reads.")
    told = problem(post(http, [GOOD, {**GOOD, "id": "2"}], BATCH), 422, "malformed")
    assert [m["where"] for m in told["mistakes"]] == ["/0/data", "/1/data"]
    assert "sending the whole batch again is safe" in told["next"]


# events that others made ---------------------------------------------------------------------------------------


def conformance() -> list[Any]:
    found: list[Any] = []
    for path in sorted(DATA.glob("yaml__v1*.yaml")):
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            if document:
                found.append(pytest.param(document, id=f"{path.stem}-{number}"))
    return found or [pytest.param(None, marks=pytest.mark.skip("the events are not here"))]


@pytest.mark.parametrize("said", conformance())
def test_the_events_of_the_conformance_suite_are_read_in_both_modes(said: dict[str, Any]) -> None:
    given = {**said["ContextAttributes"], **said["ContextAttributes"].get("Extensions", {})}
    given = {
        k: v if isinstance(v, str) else str(v).replace("+00:00", "Z") for k, v in given.items() if k != "Extensions"
    }
    if "time" in given:
        given["time"] = given["time"].replace(" ", "T") + ("" if given["time"].endswith("Z") else "Z")
    media = given.pop("datacontenttype", "application/json")
    headers = {f"ce-{name}": value for name, value in given.items()} | {"content-type": media}
    if not is_json(media.partition(";")[0]):
        with pytest.raises(NotTaken):
            event({**given, "datacontenttype": media, "data": said["Data"]}, "")
        return
    data = parse(said["Data"].encode())
    ((_, structured),) = events(EVENT, {}, {**given, "datacontenttype": media, "data": data})
    ((_, by_header),) = events(media.partition(";")[0], headers, data)
    for found in (structured, by_header):
        assert (found.id, found.source, found.type) == (given["id"], given["source"], given["type"])
        assert found.data == data


@pytest.mark.skipif(not DATA.exists(), reason="the events are not here")
@pytest.mark.parametrize("mode", ["Binary", "Structured"])
@pytest.mark.parametrize("charset", ["", "; charset=utf-8"])
def test_the_requests_of_the_conformance_suite_are_taken(
    http: httpx.Client, plane: SaidPlane, mode: str, charset: str
) -> None:
    feature = (DATA / "features__http-protocol-binding.feature").read_text()
    part = next(s for s in feature.split("Scenario Outline: ")[1:] if s.startswith(mode))
    request = re.search(r'"""\n(.*?)"""', part, re.DOTALL)
    assert request is not None
    head, _, body = "\n".join(line.strip() for line in request[1].splitlines()).partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    media = f"{'application/json' if mode == 'Binary' else EVENT}{charset}"
    kept = {k: v for k, v in headers.items() if k.startswith("ce-")}
    assert post(http, body.encode(), media, **kept).status_code == 202
    named, sent = plane.asked[0][2], json.loads(body)
    said = sent if mode == "Structured" else {name[3:]: value for name, value in kept.items()}
    assert (named["id"], named["type"], named["source"]) == (said["id"], said["type"], said["source"])
    assert named["data"] == (sent["data"] if mode == "Structured" else sent)
