"""The insurer: its control repo holds together, its systems conform, its stories are played."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
from examples.insurer.running import CONTROL, SYSTEMS, Services, shortened

ROOT = Path(__file__).parents[3]


def test_the_control_repo_has_no_mistakes() -> None:
    assert check(CONTROL, CedarEngine(), CelExpressions()) == []


async def test_every_policy_test_passes_and_every_policy_has_one_that_it_decides() -> None:
    report = await run_tests(build(CONTROL), CedarEngine(), CelExpressions())
    assert report.passed, report.words()
    assert report.untested == ()


def test_each_journey_has_a_charter_that_says_when_a_person_is_asked() -> None:
    journeys = load(CONTROL).journeys
    assert set(journeys) == {"claim_eligibility", "complaint"}
    for journey in journeys.values():
        charter = journey.charter
        assert charter.success and charter.counter and charter.approvals and charter.text.strip(), journey.id


def test_a_shorter_day_shortens_every_wait_and_nothing_else() -> None:
    text = (CONTROL / "journeys" / "claim_eligibility" / "journey.yaml").read_text()
    short = shortened(text, 2000)
    assert "within: 4000ms" in short and "wait: 2000ms" in short and "remind: 1000ms" in short
    assert [b for a, b in zip(text.splitlines(), short.splitlines(), strict=True) if a != b and "ms" not in b] == []


@pytest.mark.parametrize("system", SYSTEMS)
async def test_every_write_conforms(system: str, services: Services) -> None:
    repo, cel = load(CONTROL), CelExpressions()
    vault = EnvironmentVault({f"{name.upper()}_TOKEN": token for name, token in services.tokens.items()})
    connectors = Connectors(repo.systems, cel, vault, base_urls=services.urls)
    try:
        results = await conform(repo, system, connectors, cel, CedarEngine(), SystemClock())
    finally:
        await connectors.aclose()
    assert [(r["action"], t) for r in results for t in r["tests"] if not t["passed"]] == []
    assert {r["action"] for r in results} == {a.id for a in repo.actions.values() if a.system == system and a.writes}


def test_the_stories_are_played_and_every_check_holds() -> None:
    done = subprocess.run(
        [sys.executable, "examples/insurer/run.py"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every check held" in done.stdout
    for shown in ("a day lasts", "the plane is killed", "approves claims.pay_out", "One day is left"):
        assert shown in done.stdout
    for secret in ("cxp_", "_TOKEN"):
        assert secret not in done.stdout
