"""Journeys from outside: over HTTP and from the command line, on a real plane, its store, and a shop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.edges.journeys import BOT, CARE, CRM, at_agree, at_parcel, comes_to, event, send, start
from tests.edges.returns import FILES
from tests.edges.running import Running, set_up


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = set_up(tmp_path_factory.mktemp("plane"), {"keys": []}, FILES)
    yield running
    if running.process is not None:
        running.stop()
    running.shop.close()


@pytest.fixture
def order(plane: Running, request: pytest.FixtureRequest) -> str:
    return plane.shop.order(f"o-{abs(hash(request.node.name)) % 10**9}")


# from start to end ---------------------------------------------------------------------------------------------


def test_a_run_goes_from_start_to_end_over_http(plane: Running, order: str) -> None:
    began = start(plane, order)
    assert began.status_code == 201
    id = began.json()["run"]["id"]
    assert began.headers["location"] == f"/v1/runs/{id}"
    told = comes_to(plane, id, "waiting", "parcel")
    assert told["tokens"][0]["signals"] == [["shop.parcel_arrived", order]]
    assert [d["step"] for d in told["did"]] == []  # it has only read so far
    reached = send(plane, event("shop.parcel_arrived", order))
    assert (reached.status_code, reached.json()["runs_reached"], reached.json()["runs_started"]) == (202, 1, [])
    told = comes_to(plane, id, "waiting", "agree")
    (task,) = told["tasks"]
    assert (task["what"], task["team"], task["show"]) == ("approve", "service-team", {"paid": 20_000})
    assert {"do": "answer", "how": f"cxplane tasks show {task['id']}"}.items() <= told["frees"][0].items()
    with plane.http(CARE) as http:
        assert task["id"] in {t["id"] for t in http.get("/v1/tasks").json()["items"]}
        wrong = http.post(f"/v1/tasks/{task['id']}/answer", json={"answer": {"choice": "yes"}})
        assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:cxplane:problem:malformed")
        answered = http.post(
            f"/v1/tasks/{task['id']}/answer", json={"answer": {"approved": True}, "comment": "as agreed"}
        )
    assert answered.status_code == 200, answered.text
    told = comes_to(plane, id, "done")
    assert told["goals"]["settled"]["achieved"] is True
    assert plane.shop.done(order) == [2500]
    with plane.http(CARE) as http:
        again = http.post(f"/v1/tasks/{task['id']}/answer", json={"answer": {"approved": False}})
        assert (again.status_code, again.json()["type"]) == (409, "urn:cxplane:problem:conflict")
        items = http.get(f"/v1/runs/{id}/timeline").json()["items"]
    assert {"order", "parcel", "agree", "pay_back"} <= {i.get("step") for i in items}
    assert [i["position"] for i in items] == sorted(i["position"] for i in items)


def test_the_same_key_is_the_same_run_and_another_body_a_conflict(plane: Running, order: str) -> None:
    first = start(plane, order, key=f"k-{order}")
    again = start(plane, order, key=f"k-{order}")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["repeated"] is True
    assert again.json()["run"]["id"] == first.json()["run"]["id"]
    other = start(plane, order, key=f"k-{order}", input={"order_id": order, "amount": 1})
    assert other.status_code == 409
    assert "fresh idempotency key" in other.json()["next"]
    business = start(plane, order, key="another")
    assert business.status_code == 409
    assert first.json()["run"]["id"] in business.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "status", "where"),
    [
        ({"journey": "nowhere"}, 404, None),
        ({"input": {}}, 422, "/input"),
        ({"input": {"order_id": 5, "amount": 1}}, 422, "/input/order_id"),
        ({"customer": "c-unknown"}, 422, "/customer"),
        ({"customer": None}, 422, "/customer"),
        ({"colour": "red"}, 422, "/colour"),
    ],
)
def test_what_cannot_start_says_where(plane: Running, changes: dict[str, Any], status: int, where: str | None) -> None:
    reply = start(plane, "o-none", **changes)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), reply.text
    assert reply.json()["next"]
    if where:
        assert reply.json()["where"].startswith(where)


def test_who_may_not_is_told_so_and_unknown_things_are_404(plane: Running, order: str) -> None:
    id, task = at_agree(plane, order)
    with plane.http(BOT) as http:
        body = {"journey": "goods_back", "customer": "c-1", "input": {"order_id": "o-x", "amount": 1}}
        for reply in (
            http.post("/v1/runs", json=body),
            http.get("/v1/runs"),
            http.get(f"/v1/runs/{id}"),
            http.get(f"/v1/runs/{id}/timeline"),
            http.get(f"/v1/runs/{id}/picture"),
            http.post(f"/v1/runs/{id}/cancel"),
            http.post("/v1/signals", json=event("a.b", "k")),
            http.post(f"/v1/tasks/{task}/answer", json={"answer": {"approved": True}}),
            http.post("/v1/journeys/goods_back/migrate", json={"from": "live", "to": "live"}),
        ):
            assert (reply.status_code, reply.json()["type"]) == (403, "urn:cxplane:problem:forbidden"), reply.url
    with plane.http(CARE) as http:
        for path in ("/v1/runs/run_x", "/v1/runs/run_x/timeline", "/v1/runs/run_x/picture", "/v1/tasks/tsk_x"):
            assert http.get(path).status_code == 404, path
        for path in ("/v1/journeys/x", "/v1/journeys/x/picture", "/v1/journeys/x/serverless-workflow"):
            assert http.get(path).status_code == 404, path
        assert http.post("/v1/runs/run_x/retry").status_code == 404


@pytest.mark.parametrize("cursor", ["nonsense", "%7B%7D", "WzEsMl0"])
def test_a_cursor_of_another_making_is_refused(plane: Running, cursor: str) -> None:
    with plane.http(CARE) as http:
        for path in ("/v1/runs", "/v1/tasks"):
            assert http.get(f"{path}?cursor={cursor}").status_code == 422


def test_lists_of_runs_have_pages_without_gaps_or_repeats(plane: Running, order: str) -> None:
    for n in range(5):
        start(plane, plane.shop.order(f"{order}-{n}"))
    with plane.http(CARE) as http:
        whole = [r["id"] for r in http.get("/v1/runs?limit=200").json()["items"]]
        paged, cursor = [], {}
        while True:
            page = http.get("/v1/runs", params={"limit": 2, **cursor}).json()
            paged += [r["id"] for r in page["items"]]
            if page["next"] is None or len(paged) > len(whole):
                break
            cursor = {"cursor": page["next"]}
    assert paged == whole


# pictures and definitions --------------------------------------------------------------------------------------


def test_pictures_are_svg_that_may_fetch_and_run_nothing(plane: Running, order: str) -> None:
    id = at_parcel(plane, order)
    with plane.http(CARE) as http:
        for path in (f"/v1/runs/{id}/picture", "/v1/journeys/goods_back/picture"):
            reply = http.get(path)
            assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (200, "image/svg+xml")
            assert ElementTree.fromstring(reply.content).tag == "{http://www.w3.org/2000/svg}svg"
            assert "<script" not in reply.text
            (policy,) = reply.headers.get_list("content-security-policy")
            assert policy.startswith("default-src 'none'")
            assert "sandbox" in policy
            assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_journey_is_shown_with_its_charter_and_exported(plane: Running) -> None:
    with plane.http(BOT) as http:
        names = {j["journey"] for j in http.get("/v1/journeys").json()["items"]}
        told = http.get("/v1/journeys/goods_back").json()
        exported = http.get("/v1/journeys/goods_back/serverless-workflow").json()
    assert names == {"goods_back", "refund"}
    assert [s["step"] for s in told["steps"]] == ["order", "parcel", "agree", "pay_back", "settled"]
    assert told["charter"]["exceptions"] == "service-team"
    assert exported["document"]["name"].replace("-", "_") == "goods_back"


# signals -------------------------------------------------------------------------------------------------------


def wanted(order: str, **data: Any) -> dict[str, Any]:
    return event("shop.return_wanted", "", data={"order_id": order, "amount": 2500, "customer_id": "c-1", **data})


def test_a_signal_starts_a_run_once_however_often_it_is_sent(plane: Running, order: str) -> None:
    sent = wanted(order)
    first, again = send(plane, sent), send(plane, sent)
    assert (first.status_code, again.status_code) == (202, 202)
    (run,) = first.json()["runs_started"]
    assert (again.json()["repeated"], again.json()["id"]) == (True, first.json()["id"])
    told = comes_to(plane, run, "waiting", "parcel")
    assert (told["run"]["customer"], told["run"]["journey"]) == ("c-1", "goods_back")
    assert send(plane, wanted(order, amount=0)).json()["runs_started"] == []


def test_a_signal_that_came_before_the_run_listens_is_heard(plane: Running, order: str) -> None:
    assert send(plane, event("shop.parcel_arrived", order)).json()["runs_reached"] == 0
    id = start(plane, order).json()["run"]["id"]
    comes_to(plane, id, "waiting", "agree")


def test_a_signal_in_binary_mode_is_the_same_event(plane: Running, order: str) -> None:
    id = at_parcel(plane, order)
    headers = {"ce-specversion": "1.0", "ce-id": f"b-{order}", "ce-source": "/shop", "ce-type": "shop.parcel_arrived"}
    with plane.http(CRM, **headers, **{"ce-subject": order}) as http:
        reply = http.post("/v1/signals", json={"weight": 3})
    assert (reply.status_code, reply.json()["runs_reached"]) == (202, 1), reply.text
    comes_to(plane, id, "waiting", "agree")
    structured = event("shop.parcel_arrived", order, id=f"b-{order}", data={"weight": 3})
    assert send(plane, structured).json()["repeated"] is True


def test_of_a_batch_what_can_be_taken_is_taken(plane: Running, order: str) -> None:
    media = "application/cloudevents-batch+json"
    good = wanted(order)
    reply = send(plane, [good, event("shop.parcel_arrived", order)], media)
    assert reply.status_code == 202
    started, reached = reply.json()["items"]
    assert len(started["runs_started"]) == 1
    assert reached["repeated"] is False
    other = plane.shop.order(f"{order}-b")
    mixed = [wanted("o-x", order_id=5), wanted(other)]
    refused = send(plane, mixed, media)
    assert refused.status_code == 422, refused.text
    (mistake,) = refused.json()["mistakes"]
    assert mistake["where"].startswith("/0/")
    with plane.http(CARE) as http:
        runs = http.get("/v1/runs?journey=goods_back&limit=200").json()["items"]
    assert json.dumps([other], separators=(",", ":")) in {r["key"] for r in runs}
    assert send(plane, [], media).json() == {"items": []}


# steering ------------------------------------------------------------------------------------------------------


def test_a_stuck_run_says_what_frees_it_and_is_freed(plane: Running) -> None:
    id = start(plane, "o-comes-later").json()["run"]["id"]
    told = comes_to(plane, id, "stuck", "order")
    assert told["error"]["step"] == "order"
    assert {"retry", "skip", "cancel"} <= {f["do"] for f in told["frees"]}
    with plane.http(CARE) as http:
        assert id in {r["id"] for r in http.get("/v1/runs?stuck=true").json()["items"]}
        plane.shop.order("o-comes-later")
        reply = http.post(f"/v1/runs/{id}/retry", json={"comment": "it is there now"})
    assert reply.status_code == 202, reply.text
    comes_to(plane, id, "waiting", "parcel")


def test_suspend_resume_move_and_cancel(plane: Running, order: str) -> None:
    id = at_parcel(plane, order)
    with plane.http(CARE) as http:
        assert http.post(f"/v1/runs/{id}/suspend").status_code == 202
        comes_to(plane, id, "suspended")
        assert http.post(f"/v1/runs/{id}/resume", json={}).status_code == 202
        comes_to(plane, id, "waiting", "parcel")
        nowhere = http.post(f"/v1/runs/{id}/move", json={"step": "nowhere"})
        assert (nowhere.status_code, nowhere.json()["where"]) == (422, "/step")
        assert http.post(f"/v1/runs/{id}/move").status_code == 422
        assert http.post(f"/v1/runs/{id}/move", json={"step": "agree"}).status_code == 202
        comes_to(plane, id, "waiting", "agree")
        assert http.post(f"/v1/runs/{id}/skip").status_code == 409
        assert http.post(f"/v1/runs/{id}/cancel", json={"compensate": False, "comment": "done with"}).status_code == 202
        comes_to(plane, id, "cancelled")
        ended = http.post(f"/v1/runs/{id}/resume")
    assert (ended.status_code, ended.json()["type"]) == (409, "urn:cxplane:problem:conflict")


def test_switch_goes_on_with_another_journey(plane: Running, order: str) -> None:
    id = at_parcel(plane, order)
    with plane.http(CARE) as http:
        reply = http.post(f"/v1/runs/{id}/switch", json={"journey": "refund"})
    assert reply.status_code == 201, reply.text
    new = reply.json()["run"]
    assert (new["journey"], new["customer"], new["id"] != id) == ("refund", "c-1", True)
    comes_to(plane, new["id"], "done")
    comes_to(plane, id, "cancelled")
    assert plane.shop.done(order) == [2500]
