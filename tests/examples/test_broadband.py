"""The example business: its control repo holds together, and its systems behave as the fakes they are meant to be."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.choose import Connectors
from cxplane.control.check import check
from cxplane.control.conform import conform
from cxplane.control.load import load
from cxplane.control.release import build
from cxplane.control.test import run_tests

ROOT = Path(__file__).parents[2]
CONTROL = ROOT / "examples" / "broadband" / "control"
TOKEN = "loopback-only"
NEEDED = {  # what a catalog of customer service has at least
    "field_service.get_order_status",
    "billing.process_refund",
    "crm.reset_password",
    "field_service.schedule_technician",
    "crm.update_account",
    "billing.check_bill",
    "billing.take_payment",
    "cases.log_note",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the case system, a process of its own on a free port of loopback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.broadband.systems", "cases", "--token-env", "CASES_TOKEN"],
        cwd=ROOT,
        env=os.environ | {"CASES_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("cases listens on http://127.0.0.1:"), said
        yield said.split()[-1]
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def cases(url: str) -> Iterator[httpx.Client]:
    """A caller of the case system, which is as new and has no faults."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
        client.post("/_reset").raise_for_status()
        yield client


def open_case(cases: httpx.Client, key: str | None = None, **options: Any) -> httpx.Response:
    body = {"customer_id": "c-1001", "kind": "fault", "subject": "No light on the router"}
    return cases.post("/cases", json=body, headers={"Idempotency-Key": key or str(uuid.uuid4())}, **options)


def fault(cases: httpx.Client, kind: str, **options: Any) -> None:
    cases.post("/_faults", json={"fault": kind, **options}).raise_for_status()


def effects(cases: httpx.Client) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = cases.get("/_effects").raise_for_status().json()["effects"]
    return told


# the control repo ------------------------------------------------------------------------------------------


def test_the_control_repo_has_no_mistakes() -> None:
    assert check(CONTROL, CedarEngine(), CelExpressions()) == []


async def test_every_policy_test_passes_and_every_policy_has_one_that_it_decides() -> None:
    report = await run_tests(build(CONTROL), CedarEngine(), CelExpressions())
    assert report.passed, report.words()
    assert report.untested == ()
    assert len(report.results) > 100


def test_each_write_has_a_key_a_way_to_confirm_it_and_a_word_about_undoing_it() -> None:
    writes = [action for action in load(CONTROL).actions.values() if action.writes]
    assert len(writes) >= 14
    for action in writes:
        assert action.key, f"{action.id} has no business key"
        assert action.confirm is not None, f"{action.id} has no confirm"
        assert action.undo is not None, f"{action.id} says nothing about undo"
        assert action.undo.call or action.undo.none, f"{action.id} says nothing about undo"


def test_the_catalog_has_what_customer_service_needs_at_least() -> None:
    actions = load(CONTROL).actions
    assert set(actions) >= NEEDED
    assert len(actions) >= 14
    assert {action.system for action in actions.values()} == {"crm", "billing", "cases", "field_service"}


# the systems -----------------------------------------------------------------------------------------------


async def test_the_case_system_conforms(cases: httpx.Client, url: str) -> None:
    repo, expressions = load(CONTROL), CelExpressions()
    vault = EnvironmentVault({"CASES_TOKEN": TOKEN})
    connectors = Connectors(repo.systems, expressions, vault, base_urls={"cases": url})
    try:
        results = await conform(repo, "cases", connectors, expressions, CedarEngine(), SystemClock())
    finally:
        await connectors.aclose()
    failed = [(r["action"], t) for r in results for t in r["tests"] if not t["passed"]]
    assert failed == []
    assert {r["action"] for r in results} == {a.id for a in repo.actions.values() if a.system == "cases" and a.writes}
    assert all(r["passed"] for r in results)


def test_the_same_key_does_it_once_and_answers_the_same(cases: httpx.Client) -> None:
    first, again = open_case(cases, "k-1"), open_case(cases, "k-1")
    assert first.json() == again.json()
    assert again.headers["idempotent-replay"] == "true"
    assert [effect["key"] for effect in effects(cases)] == ["k-1"]
    other = {"customer_id": "c-1001", "kind": "general", "subject": "Something else"}
    assert cases.post("/cases", json=other, headers={"Idempotency-Key": "k-1"}).status_code == 409
    assert len(effects(cases)) == 1


def test_a_write_without_a_key_and_a_call_without_the_token_are_refused(cases: httpx.Client) -> None:
    assert cases.post("/cases", json={}).status_code == 428
    assert open_case(cases).status_code == 200
    cases.headers.pop("Authorization")
    assert open_case(cases).status_code == 401
    assert len(effects(cases)) == 1


def test_slow_does_it_late(cases: httpx.Client) -> None:
    fault(cases, "slow", seconds=0.4)
    answer = open_case(cases)
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.4
    assert len(effects(cases)) == 1


def test_error_does_nothing_and_ends_after_its_times(cases: httpx.Client) -> None:
    fault(cases, "error", times=2)
    assert [open_case(cases, "k-2").status_code for _ in range(3)] == [500, 500, 200]
    assert len(effects(cases)) == 1


def test_timeout_after_commit_does_it_and_never_answers(cases: httpx.Client) -> None:
    fault(cases, "timeout_after_commit", seconds=2)
    with pytest.raises(httpx.ReadTimeout):
        open_case(cases, "k-3", timeout=0.3)
    assert [effect["key"] for effect in effects(cases)] == ["k-3"]
    assert cases.get("/cases", params={"key": "k-3"}).json()["customer_id"] == "c-1001"  # found by its key
    again = open_case(cases, "k-3")
    assert again.headers["idempotent-replay"] == "true"
    assert len(effects(cases)) == 1


def test_timeout_after_commit_drops_the_line_in_the_end(cases: httpx.Client) -> None:
    fault(cases, "timeout_after_commit", seconds=0.1)
    with pytest.raises(httpx.RemoteProtocolError):
        open_case(cases)
    assert len(effects(cases)) == 1


def test_wrong_answer_says_done_and_does_nothing(cases: httpx.Client) -> None:
    fault(cases, "wrong_answer")
    told = open_case(cases, "k-4")
    assert told.status_code == 200
    assert told.json()["status"] == "open"
    assert effects(cases) == []
    assert cases.get(f"/cases/{told.json()['case_id']}").status_code == 404


def test_down_is_down_for_everybody_until_it_is_mended(cases: httpx.Client) -> None:
    fault(cases, "down", times=100)
    assert cases.get("/health").status_code == 503
    assert open_case(cases).status_code == 503
    fault(cases, "none")
    assert cases.get("/health").json() == {"system": "cases", "status": "ok"}
    assert effects(cases) == []


def test_a_fault_may_concern_one_path_only(cases: httpx.Client) -> None:
    fault(cases, "error", path="/closings")
    assert open_case(cases).status_code == 200


def test_an_unknown_fault_is_refused_with_the_known_ones(cases: httpx.Client) -> None:
    answer = cases.post("/_faults", json={"fault": "gremlins"})
    assert answer.status_code == 422
    assert "timeout_after_commit" in answer.json()["detail"]
