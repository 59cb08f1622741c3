"""Journeys from the command line, on a real plane: runs, releases, workers, and signals that curl sends."""

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
from xml.etree import ElementTree

import pytest

from tests.edges.journeys import CARE, CRM, at_agree, at_parcel, comes_to, event, look, start
from tests.edges.returns import FILES, JOURNEY
from tests.edges.running import CALL, Running, set_up, until


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
