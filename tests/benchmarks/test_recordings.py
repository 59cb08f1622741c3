"""Recorded agents against written policies: the systems of record are right, and the gate refuses what it should."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.airline.domain import DOMAIN as AIRLINE
from benchmarks.retail.domain import DOMAIN as RETAIL
from benchmarks.tau2.data import Absent, conversations, load_json, tasks
from benchmarks.tau2.domain import Domain
from benchmarks.tau2.replay import without_gate
from cxplane.control.check import check
from cxplane.control.release import build
from cxplane.control.test import run_tests
from cxplane.wiring import expressions, policy_engine

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CXPLANE_DATA_SETS", ROOT.parent / "shared" / "data")) / "tau2"

needs_data = pytest.mark.skipif(
    not DATA.exists(), reason=f"the public data set is absent: put it at {DATA} or name its place in CXPLANE_DATA_SETS"
)


@pytest.mark.parametrize("domain", [AIRLINE, RETAIL], ids=lambda d: d.name)
async def test_the_written_policy_checks_and_its_tests_pass(domain: Domain) -> None:
    assert check(domain.control, policy_engine(), expressions()) == []
    report = await run_tests(build(domain.control), policy_engine(), expressions())
    assert report.passed, report.words()
    assert report.untested == ()


@needs_data
@pytest.mark.parametrize(("domain", "exact"), [(AIRLINE, 30), (RETAIL, 109)], ids=["airline", "retail"])
def test_ground_truth_ends_where_the_reference_ended(domain: Domain, exact: int) -> None:
    """Whole-database hashes against those published with the data."""
    folder = DATA / domain.name
    system, gold = domain.system(folder), load_json(folder / "gold_end_state.json")
    same = 0
    for task, calls in tasks(folder).items():
        without_gate(system, calls)
        same += system.world.full_hash() == gold[task]["db_hash"]
    assert same >= exact


@needs_data
@pytest.mark.parametrize("domain", [AIRLINE, RETAIL], ids=lambda d: d.name)
def test_recordings_end_right_or_wrong_as_the_data_says(domain: Domain) -> None:
    folder = DATA / domain.name
    system = domain.system(folder)
    ends = {task: without_gate(system, calls).end for task, calls in tasks(folder).items()}
    with gzip.open(folder / "trajectories.jsonl.gz", "rt") as file:
        said = [json.loads(line)["db_match_replayed"] for line in file]
    found = [without_gate(system, c.calls).end == ends[c.task] for c in conversations(folder / "trajectories.jsonl.gz")]
    assert found == said


@needs_data
def test_recordings_through_the_real_gate(tmp_path: Path) -> None:
    told = _run(tmp_path, DATA / "airline", "--limit", "32")
    assert told["conversations"] == 32
    assert told["writes_refused"] > 0
    assert told["right_conversations_touched"] == 0
    assert told["ground_truth_refused"] == 0
    assert told["ground_truth_end_states_right"] == len(tasks(DATA / "airline"))
    assert told["end_state_right_with_gate"] >= told["end_state_right_without_gate"]


@needs_data
def test_malformed_calls_of_unheard_models_are_answered_too(tmp_path: Path) -> None:
    calls = [
        {"id": "1", "name": "get_user_details", "arguments": {"user_id": "nobody"}},
        {"id": "2", "name": "drop_all_tables", "arguments": {}},
        {"id": "3", "name": "cancel_reservation", "arguments": "not json"},
        {"id": "4", "name": "cancel_reservation", "arguments": {"reservation_id": 7}},
        {"id": "5", "name": "send_certificate", "arguments": {"user_id": "mia_li_3668", "amount": float("nan")}},
        {"id": "6", "name": "send_certificate", "arguments": {"user_id": "mia_li_3668", "amount": 10**30}},
        {"id": "7", "function": {"name": "book_reservation", "arguments": "{}"}},
        {"id": None, "name": None, "arguments": None},
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": None}]
    messages += [{"role": "assistant", "tool_calls": [call]} for call in calls] + [{"role": "assistant"}]
    file = tmp_path / "odd.jsonl"
    lines = [
        {"model": "Some/New Model: 9", "task_id": "0", "messages": messages},
        {"model": None, "task_id": "no such task", "messages": None},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = _run(tmp_path, DATA / "airline", "--conversations", str(file))
    assert (told["conversations"], told["conversations_without_ground_truth"]) == (2, 1)
    assert told["right_conversations_touched"] == 0


def test_absent_data_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="--data"):
        tasks(tmp_path)
    command = [sys.executable, "benchmarks/airline/run.py", "--data", str(tmp_path / "nowhere")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "absent" in done.stderr


def _run(folder: Path, data: Path, *words: str) -> dict[str, Any]:
    out = folder / "report.json"
    command = [sys.executable, "benchmarks/airline/run.py", "--data", str(data), "--out", str(out), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=170)
    assert out.exists(), done.stdout + done.stderr
    told: dict[str, Any] = json.loads(out.read_text())
    return told
