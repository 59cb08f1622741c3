"""Recorded agents against written policies: the systems of record are right, and the gate refuses what it should."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.airline.domain import DOMAIN as AIRLINE
from benchmarks.retail.domain import DOMAIN as RETAIL
from benchmarks.retail.system import Retail
from benchmarks.retail.system import load as load_shop
from benchmarks.tau2.data import Absent, conversations, load_json, tasks
from benchmarks.tau2.domain import Domain
from benchmarks.tau2.replay import without_gate
from benchmarks.tau2.world import System
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


class LikeTheReference(Retail):
    """The shop with a fault of the published reference: every changed item gets price and options of the last one."""

    def change_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        order = super().change_items(order_id, item_ids, new_item_ids, payment_method_id)
        changed = [item for item in order["items"] if item["item_id"] in new_item_ids]
        last = next(item for item in changed if item["item_id"] == new_item_ids[-1])
        for item in changed:
            item.update(price=last["price"], options=last["options"])
        return order

    operations = Retail.operations | {"modify_pending_order_items": change_items}


@needs_data
@pytest.mark.parametrize(
    ("domain", "make"),
    [(AIRLINE, AIRLINE.system), (RETAIL, lambda data: LikeTheReference(load_shop(data)))],
    ids=["airline", "retail"],
)
def test_ground_truth_ends_where_the_reference_ended(domain: Domain, make: Callable[[Path], System]) -> None:
    """Whole-database hashes against those published with the data."""
    folder = DATA / domain.name
    system, gold = make(folder), load_json(folder / "gold_end_state.json")
    differ = []
    for task, calls in tasks(folder, domain.whole).items():
        without_gate(system, calls)
        if system.world.full_hash() != gold[task]["db_hash"]:
            differ.append(task)
    assert differ == []


@needs_data
@pytest.mark.parametrize("domain", [AIRLINE, RETAIL], ids=lambda d: d.name)
def test_recordings_end_right_or_wrong_as_the_data_says(domain: Domain) -> None:
    folder = DATA / domain.name
    system = domain.system(folder)
    ends = {task: without_gate(system, calls).end for task, calls in tasks(folder).items()}
    with gzip.open(folder / "trajectories.jsonl.gz", "rt") as file:
        said = [json.loads(line)["db_match_replayed"] for line in file]
    recorded = conversations(folder / "trajectories.jsonl.gz", domain.whole)
    assert [without_gate(system, c.calls).end == ends[c.task] for c in recorded if c] == said


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
        {"id": "8", "name": "calculate", "arguments": {"expression": "2 +"}},
        {"id": "9", "name": "calculate", "arguments": {"expression": "1 / 0"}},
        {"id": "10", "name": "get_trip_status", "arguments": {"reservation_id": ["a"], "more": {}}},
        {"id": "11", "name": "send_certificate", "arguments": {"user_id": "mia_li_3668", "amount": "50"}},
        {"id": None, "name": None, "arguments": None},
        "not a call",
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": None}]
    messages += [{"role": "assistant", "tool_calls": [call]} for call in calls] + [{"role": "assistant"}]
    file = tmp_path / "odd.jsonl"
    lines = [
        {"model": "Some/New Model: 9", "task_id": "0", "messages": messages},
        {"model": "4-of-something", "task_id": "no such task", "messages": None},
        {"model": None, "messages": [{"role": "assistant", "tool_calls": calls}, 7]},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "not json\n[]\n")
    told = _run(tmp_path, DATA / "airline", "--conversations", str(file))
    assert (told["conversations"], told["conversations_without_ground_truth"], told["lines_unreadable"]) == (3, 2, 2)
    assert told["right_conversations_touched"] == 0
    assert (
        told["writes"] == told["writes_refused"] == 6
    )  # the benchmark's tools would have sent NaN dollars; "50" is read as 50
    assert told["refused_by_rule"] == {"malformed:400": 2, "malformed:422": 2, "certificate-amount": 2}
    assert told["undetermined_conversations_touched"] == 1


def test_absent_data_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="--data"):
        tasks(tmp_path)
    command = [sys.executable, "benchmarks/airline/run.py", "--data", str(tmp_path / "nowhere")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "absent" in done.stderr


@needs_data
def test_what_can_be_measured_without_ground_truth_is_measured(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("db.json.gz", "trajectories.jsonl.gz"):
        (data / name).symlink_to(DATA / "airline" / name)
    told = _run(tmp_path, data, "--limit", "12", expect=2)
    assert "tasks.jsonl.gz is absent" in told["absent"][0]
    assert (told["conversations"], told["ground_truth_writes"]) == (12, 0)
    assert told["writes_refused"] > 0
    assert told["right_conversations_touched"] == 0


def _run(folder: Path, data: Path, *words: str, expect: int = 0) -> dict[str, Any]:
    out = folder / "report.json"
    command = [sys.executable, "benchmarks/airline/run.py", "--data", str(data), "--out", str(out), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == expect, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(out.read_text())
    return told
