"""The benchmark of journeys runs: all its parts, small, without the peers. No time is looked at."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.journeys import loads
from benchmarks.journeys.run import _ratios

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("journeys")
    command = [
        sys.executable,
        "-m",
        "benchmarks.journeys.run",
        "--quick",
        "--alone",
        "--out",
        str(folder / "report.json"),
    ]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "CXPLANE_BENCH_CACHE": str(folder),
    }
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads((folder / "report.json").read_text())


def test_legs_of_one_and_two_workers(report: dict) -> None:
    for who in ("ours", "ours, 2 workers"):
        cell = report["legs"]["contenders"][who]["8"]
        assert cell["count"] > 0
        assert cell["stuck"] == 0


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_the_slow_disk(report: dict) -> None:
    assert report["slow_disk"]["contenders"]["ours"]["8"]["count"] > 0


def test_signals_reach_their_legs(report: dict) -> None:
    assert report["signal"]["idle"]["count"] == 5
    assert report["signal"]["busy"]["count"] == 50


def test_parked_runs_wake(report: dict) -> None:
    assert report["parked"]["parked"] == 300
    assert report["parked"]["wake"] | {"sent_s": 0, "per_s": 0} == {"signals": 30, "ended": 30, "sent_s": 0, "per_s": 0}


def test_others_go_on_beside_what_is_parked(report: dict) -> None:
    told = report["parked"]["others"]
    assert len(told["ratios"]) == len(told["beside"]) == len(told["alone"]) == 2
    assert all(cell["per_s"] > 0 for cell in told["beside"] + told["alone"])


def test_a_killed_worker_loses_nothing_and_does_nothing_twice(report: dict) -> None:
    told = report["kill"]
    assert (told["done"], told["lost"], told["effects"], told["outcomes_twice"]) == (20, 0, 60, 0)


def test_advance_is_timed(report: dict) -> None:
    assert report["advance"]["twenty"]["steps"] == 20


def test_migration_is_previewed(report: dict) -> None:
    told = report["migrate"]
    assert told["preview_unmapped"]["impossible"] == 300
    assert told["preview"]["mapped"] == 300


def test_the_closed_loop_keeps_so_many_under_way() -> None:
    under_way: list[int] = [0, 0]

    async def one(_: int) -> None:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(0.002)
        under_way[0] -= 1

    told = asyncio.run(loads.closed_loop(4, 0.1, one, warm=0.0))
    assert under_way[1] == 4
    assert told["count"] > 0 and told["count"] % 4 == 0  # waves are counted whole
    assert 0 < told["count"] <= told["all"]
    assert told["p50_ms"] >= 2.0


def test_ratios_are_over_the_peers() -> None:
    cells = {
        "ours": {"32": {"per_s": 300.0}},
        "bare DBOS": {"32": {"per_s": 100.0}},
        "ours, 2 workers": {"32": {"per_s": 360.0}},
    }
    assert _ratios(cells) == {"ours / bare DBOS": {"32": 3.0}, "ours, 2 workers / ours": {"32": 1.2}}
