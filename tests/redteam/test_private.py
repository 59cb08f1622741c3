"""Marked personal data is planted everywhere it may come in; then everything that leaves the plane is searched for it.

Only answers to callers who may see them hold it in the clear: no log, no error, no metric, no dump of the store, no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edges.running import set_up, until
from tests.redteam.private_world import CARE, CRM, FILES, Collector, Lived, Planted, Talkative, dumped, live


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    mark = Planted()
    system = Talkative(mark)
    root = tmp_path_factory.mktemp("plane")
    plane = set_up(root, {"keys": []}, FILES)
    plane.stop()
    plane.shop.close()
    plane.shop.url = system.url
    collector = Collector()
    environment = pytest.MonkeyPatch()
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    plane.start("--control", str(plane.control), "--log", "debug")
    environment.undo()
    told = Lived(plane, mark, collector)
    try:
        live(told)
        yield told
    finally:
        if plane.process is not None:
            plane.stop()
        system.close()
        collector.close()


def test_who_may_see_it_does(lived: Lived) -> None:
    """Without this the other tests would hold for a plane that keeps nothing."""
    seen = lived.mark.found("".join(lived.shown))
    assert {"attribute", "identity", "input", "reason", "why_not", "fact_read", "output"} <= seen
    assert {"approved", "rejected", "edit_input", "run_input", "answer", "answer_comment", "suspended"} <= seen


def test_the_store_holds_none_in_the_clear(lived: Lived) -> None:
    dump = dumped(lived.plane)
    assert b"cxe1:" in dump
    assert lived.mark.found(dump) == set()


def test_no_export_holds_any(lived: Lived, tmp_path: Path) -> None:
    """Lines, a sealed export, the evidence of a case: sealed unless somebody asks for it to be opened."""
    plane = lived.plane
    ids = [one["id"] for one in plane.cx("requests", "list", "--json", by=CARE).json["items"]]
    for words in (
        ["export", str(tmp_path / "record")],
        ["audit", "seal"],
        ["audit", "export", str(tmp_path / "sealed")],
    ):
        done = plane.cx(*words)
        assert done.code == 0, done.err
    for id in ids[:3]:
        file = str(tmp_path / f"{id}.json")
        until(lambda id=id, file=file: plane.cx("evidence", id, "--out", file).code == 0)  # it is sealed in a moment
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"cxe1:" in path.read_bytes() for path in files)
    assert {path.name for path in files if lived.mark.found(path.read_bytes())} == set()


def test_no_file_of_the_installation_holds_any(lived: Lived) -> None:
    """Tables, the write-ahead log, logs of the plane and of Postgres, whatever else lies there."""
    wrong = {}
    for path in (
        p for folder in (lived.plane.data, lived.plane.root / "serve.log") for p in [folder, *folder.rglob("*")]
    ):
        if path.is_file() and not path.is_symlink() and (found := lived.mark.found(path.read_bytes())):
            wrong[str(path.relative_to(lived.plane.root))] = found
    assert wrong == {}


def test_no_error_holds_any(lived: Lived) -> None:
    assert len(lived.errors) >= 10
    assert {body: lived.mark.found(body) for body in lived.errors if lived.mark.found(body)} == {}
    assert lived.mark.found("".join(lived.heads)) == set()


def test_no_metric_and_no_page_for_machines_holds_any(lived: Lived) -> None:
    with lived.plane.http() as http:
        for path in ("/metrics", "/health", "/ready", "/openapi.json"):
            assert lived.mark.found(http.get(path).text) == set(), path


def test_no_trace_holds_any(lived: Lived) -> None:
    until(lambda: b"leave_note" in lived.collector.taken)
    assert lived.mark.found(lived.collector.taken) == set()


def test_who_may_not_see_the_record_sees_none(lived: Lived) -> None:
    with lived.plane.http(CRM) as http:
        for path in (
            "/v1/requests?limit=100",
            "/v1/entries",
            "/v1/runs",
            "/v1/approvals",
            "/v1/tasks",
            f"/v1/runs/{lived.run}",
        ):
            assert lived.mark.found(http.get(path).text) == set(), path


def test_erased_it_is_shown_to_nobody(lived: Lived) -> None:
    """Last: it destroys what the other tests look for."""
    plane = lived.plane
    for id in [r["id"] for r in lived.ask("GET", "/v1/runs?limit=100").json()["items"]]:
        lived.ask("POST", f"/v1/runs/{id}/cancel", json={})
    waits = {"held", "running", "unknown", "stuck"}

    def quiet() -> bool:
        items = lived.ask("GET", "/v1/requests?limit=100").json()["items"]
        for one in (r for r in items if r["status"] in waits):
            lived.ask("POST", f"/v1/requests/{one['id']}/settle", json={"done": False, "comment": "looked"})
        runs = lived.ask("GET", "/v1/runs?limit=100").json()["items"]
        ended = all(r["status"] in ("done", "failed", "cancelled") for r in runs)
        return ended and not any(r["status"] in waits for r in items)

    until(quiet, 40)
    done = plane.cx("erase", "c-1", "--reason", "asked for", "--yes", "--json", by=CARE)
    assert done.code == 0, done.out + done.err
    assert len(done.json["keys"]) == 2 or done.json["keys"]
    shown = plane.cx("erase", "c-1", "--verify", by=CARE)
    assert (shown.code, "nothing can be read any more" in shown.out) == (0, True), shown.out
    lived.shown.clear()
    for kind in ("requests", "runs", "approvals"):
        for one in lived.ask("GET", f"/v1/{kind}?limit=100").json()["items"]:
            lived.ask("GET", f"/v1/{kind}/{one['id']}")
            if kind != "approvals":
                path = f"decisions/{one['id']}/explain" if kind == "requests" else f"runs/{one['id']}/timeline"
                lived.ask("GET", f"/v1/{path}")
    lived.ask("GET", "/v1/entries?limit=1000")
    assert lived.mark.found("".join(lived.shown)) <= {
        "recorded_early",
        "input_else",
        "reason_else",
        "why_not_else",
    }  # of others
