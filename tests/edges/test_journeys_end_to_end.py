"""Journeys from outside: over HTTP and from the command line, on a real plane, its store, and a shop."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from tests.edges.returns import FILES, JOURNEY
from tests.edges.running import CALL, Running, set_up, until

CARE, CRM, BOT = "person:sam", "system:crm-sync", "agent:helper"


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


def start(
    plane: Running, order: str, journey: str = "goods_back", key: str | None = None, **more: Any
) -> httpx.Response:
    body = {"journey": journey, "customer": "c-1", "input": {"order_id": order, "amount": 2500}, **more}
    with plane.http(CARE) as http:
        return http.post("/v1/runs", json=body, headers={"Idempotency-Key": key} if key else {})


def look(plane: Running, id: str, by: str = CARE) -> dict[str, Any]:
    with plane.http(by) as http:
        reply = http.get(f"/v1/runs/{id}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def comes_to(plane: Running, id: str, status: str, at: str | None = None) -> dict[str, Any]:
    """The run, as soon as it stands so."""

    def there() -> bool:
        run = look(plane, id)["run"]
        return run["status"] == status and (at is None or run["at"] == [at])

    until(there)
    return look(plane, id)


def event(type: str, key: str, **changes: Any) -> dict[str, Any]:
    id = f"e-{time.monotonic_ns()}"
    return {"specversion": "1.0", "id": id, "source": "/shop", "type": type, "subject": key, "data": {}, **changes}


def send(plane: Running, event: Any, media: str = "application/cloudevents+json", by: str = CRM) -> httpx.Response:
    with plane.http(by) as http:
        return http.post("/v1/signals", content=json.dumps(event), headers={"Content-Type": media})


def at_parcel(plane: Running, order: str) -> str:
    id: str = start(plane, order).json()["run"]["id"]
    comes_to(plane, id, "waiting", "parcel")
    return id


def at_agree(plane: Running, order: str) -> tuple[str, str]:
    """A run that waits for a person, and the task."""
    id = at_parcel(plane, order)
    assert send(plane, event("shop.parcel_arrived", order)).json()["runs_reached"] == 1
    told = comes_to(plane, id, "waiting", "agree")
    return id, told["tasks"][0]["id"]


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


# the command line ----------------------------------------------------------------------------------------------


def test_the_command_line_takes_a_run_to_its_end(plane: Running, order: str, tmp_path: Path) -> None:
    began = plane.cx("runs", "start", "goods_back", f"order_id={order}", "amount=2500", "--customer", "c-1", by=CARE)
    assert began.code == 0, began.err
    id = began.out.split()[1]
    watched = plane.cx("runs", "watch", id, by=CARE)
    assert watched.code == 4
    assert "waiting" in watched.out
    sent = plane.cx("signal", "shop.parcel_arrived", "weight=3", "--key", order, by=CRM)
    assert sent.code == 0, sent.err
    assert "reached 1 run" in sent.out
    comes_to(plane, id, "waiting", "agree")
    shown = plane.cx("runs", "show", id, by=CARE)
    assert shown.code == 4
    for words in ("where it is", "done", "open for people", "to come", "what frees it", "cxplane tasks show tsk_"):
        assert words in shown.out, shown.out
    listed = plane.cx("tasks", "list", by=CARE)
    task = next(w for w in shown.out.split() if w.startswith("tsk_"))
    assert task in listed.out
    one = plane.cx("tasks", "show", task, by=CARE)
    assert f"cxplane tasks answer {task} --approve" in one.out
    assert plane.cx("tasks", "answer", task, by=CARE).code == 2
    answered = plane.cx("tasks", "answer", task, "--approve", "--comment", "as agreed", by=CARE)
    assert answered.code == 0, answered.err
    end = plane.cx("runs", "watch", id, "--to-the-end", "--json", by=CARE)
    assert end.code == 0, end.err
    lines = [json.loads(line) for line in end.out.splitlines()]
    assert lines[-1]["run"]["status"] == "done"
    assert len(lines) > 4
    way = plane.cx("runs", "timeline", id, by=CARE)
    assert "pay_back" in way.out
    assert plane.cx("runs", "show", id, "--json", by=CARE).code == 0
    drawn = plane.cx("runs", "picture", id, by=CARE)
    assert ElementTree.fromstring(drawn.out).tag.endswith("svg")
    out = tmp_path / "run.svg"
    assert plane.cx("runs", "picture", id, "--out", str(out), "--json", by=CARE).json["file"] == str(out)
    assert out.read_text().strip() == drawn.out.strip()
    all_runs = plane.cx("runs", "list", by=CARE)
    assert all(line.startswith("run") for line in all_runs.out.splitlines())  # one line each
    for told in (shown, listed, one, way, all_runs):
        assert max(len(line) for line in told.out.splitlines()) <= 100


def test_on_a_terminal_a_run_is_watched_live(plane: Running, order: str) -> None:
    id = at_parcel(plane, order)
    ours, theirs = pty.openpty()
    env = plane.env(CXPLANE_KEY=plane.keys[CARE], TERM="xterm", COLUMNS="100")
    watching = subprocess.Popen([*CALL, "runs", "watch", id], env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    assert watching.wait(30) == 4, seen
    assert b"\x1b[?25l" in seen
    assert f"signal shop.parcel_arrived {order}".encode() in seen


def test_the_command_line_steers(plane: Running, order: str) -> None:
    id = at_parcel(plane, order)
    assert plane.cx("runs", "suspend", id, "--comment", "wait", by=CARE).code == 0
    comes_to(plane, id, "suspended")
    assert "suspended" in plane.cx("runs", "watch", id, by=CARE).out
    assert plane.cx("runs", "resume", id, by=CARE).code == 0
    comes_to(plane, id, "waiting", "parcel")
    assert plane.cx("runs", "move", id, "agree", by=CARE).code == 0
    comes_to(plane, id, "waiting", "agree")
    no = plane.cx("runs", "skip", id, by=CARE)
    assert no.code == 1
    assert "→" in no.err
    assert plane.cx("runs", "cancel", id, "--leave", by=CARE).code == 0
    comes_to(plane, id, "cancelled")
    assert plane.cx("runs", "show", id, by=CARE).code == 1
    other = start(plane, order).json()["run"]["id"]
    comes_to(plane, other, "waiting", "parcel")
    switched = plane.cx("runs", "switch", other, "refund", "--json", by=CARE)
    assert switched.json["run"]["journey"] == "refund"
    stuck = start(plane, f"{order}-none").json()["run"]["id"]
    comes_to(plane, stuck, "stuck")
    assert stuck in plane.cx("runs", "list", "--stuck", by=CARE).out
    plane.shop.order(f"{order}-none")
    assert plane.cx("runs", "retry", stuck, "--step", "order", by=CARE).code == 0
    comes_to(plane, stuck, "waiting", "parcel")


def test_the_command_line_shows_and_exports_journeys(plane: Running, tmp_path: Path) -> None:
    assert "goods_back" in plane.cx("journeys", "list", by=CARE).out
    told = plane.cx("journeys", "show", "refund", by=CARE).out
    assert "pay_back: try" in told
    assert "refund: call shop.refund_order" in told
    assert "<svg" in plane.cx("journeys", "picture", "refund", by=CARE).out
    exported = plane.cx("journeys", "export", "refund", by=CARE)
    assert exported.json["document"]
    out = tmp_path / "refund.json"
    assert plane.cx("journeys", "export", "refund", "--out", str(out), by=CARE).code == 0
    assert json.loads(out.read_text()) == exported.json
    assert plane.cx("journeys", "show", "nowhere", by=CARE).code == 1


def test_an_api_key_is_not_taken_for_the_key_of_a_signal(plane: Running) -> None:
    ended = plane.cx("signal", "a.b", "--key", plane.keys[CRM], by=CRM)
    assert ended.code == 2
    assert "--api-key" in ended.err
    assert plane.cx("signal", "a.b", "--key", "k", "--api-key", "cxp_wrong").code == 1


# releases ------------------------------------------------------------------------------------------------------


def test_zy_runs_are_taken_to_another_release(plane: Running, order: str) -> None:
    stands, moves = at_parcel(plane, order), at_agree(plane, plane.shop.order(f"{order}-m"))[0]
    old = plane.cx("releases", "--json").json["items"][0]
    file = plane.control / "journeys" / "goods_back" / "journey.yaml"
    file.write_text(
        JOURNEY.replace("version: 1", "version: 2")
        .replace("  - agree:", "  - agreed:")
        .replace("steps.agree.", "steps.agreed.")
    )
    made = plane.cx("release", str(plane.control), "--requested", "2026-01-05T10:00:00Z", "--json")
    assert made.code == 0, made.out + made.err
    new = made.json["release"]

    def decides() -> bool:
        with plane.http() as http:
            return bool(http.get("/health/ready").json()["release"] == new)

    until(decides)
    assert look(plane, stands)["run"]["release"] == old["hash"]
    args = ("migrate", "goods_back", "--from", old["hash"][:12])
    seen = plane.cx(*args, by=CARE)
    assert seen.code == 1, seen.err
    assert moves in seen.out
    assert "Nothing was done" in seen.out
    assert "at parcel, and" in seen.out
    assert max(len(line) for line in seen.out.splitlines()) <= 100
    slip = plane.cx(*args, "--map", "agree=agred", by=CARE)
    assert slip.code != 0 and "the new version has no step 'agred'" in slip.err and "agreed" in slip.err
    slip = plane.cx(*args, "--map", "agre=agreed", by=CARE)
    assert slip.code != 0 and "the old version has no step 'agre'" in slip.err
    slip = plane.cx(*args, "--to", old["hash"][:12], by=CARE)
    assert slip.code != 0 and "the same release" in slip.err
    preview = plane.cx(*args, "--map", "agree=agreed", "--json", by=CARE)
    assert preview.code == 0, preview.out
    assert moves in {m["run"] for m in preview.json["mapped"]}
    assert (preview.json["moved"], preview.json["impossible"]) == (0, [])
    done = plane.cx(*args, "--map", "agree=agreed", "--apply", by=CARE)
    assert done.code == 0, done.err
    until(lambda: look(plane, stands)["run"]["release"] == new)
    until(lambda: look(plane, moves)["run"]["at"] == ["agreed"])
    assert look(plane, moves)["run"]["release"] == new
    with plane.http(CARE) as http:
        reply = http.post("/v1/journeys/goods_back/migrate", json={"from": "0123", "to": "live"})
    assert reply.status_code == 404
    lead = next(r for r in plane.cx("releases", "--json").json["items"] if r["hash"] == new)["lead_time_s"]
    assert lead > 3600
    assert "lead time" in plane.cx("releases").out
    assert plane.cx("release", str(plane.control), "--requested", "soon").code == 2


# workers -------------------------------------------------------------------------------------------------------


def test_zz_a_worker_does_what_a_plane_without_work_leaves(plane: Running) -> None:
    assert plane.stop() == 0
    plane.start("--no-work")
    order = plane.shop.order("o-for-a-worker")
    id = start(plane, order, "refund").json()["run"]["id"]
    time.sleep(2)
    assert look(plane, id)["run"]["status"] == "ready"
    with (plane.root / "work.log").open("w") as log:
        worker = subprocess.Popen(
            [*CALL, "work", "--concurrency", "8"], env=plane.env(), stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "working; stop with Ctrl-C\n", (plane.root / "work.log").read_text()
    comes_to(plane, id, "done")
    assert plane.shop.done(order) == [2500]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    worker.stdout.close()
    assert "Traceback" not in (plane.root / "work.log").read_text()
    with plane.http() as http:
        assert http.get("/health/ready").status_code == 200  # the store of the plane runs on


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_sends_a_signal(plane: Running) -> None:
    body = json.dumps(event("a.b", "k"))
    done = subprocess.run(
        [
            *("curl", "-sS", f"{plane.url}/v1/signals", "-d", body),
            *("-H", "Content-Type: application/cloudevents+json", "-H", f"Authorization: Bearer {plane.keys[CRM]}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["repeated"] is False
