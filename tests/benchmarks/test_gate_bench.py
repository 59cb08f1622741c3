"""The benchmark of the gate runs and tells what it says it tells. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_gate_under_load_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    command = [sys.executable, "benchmarks/gate/run.py", "--out", str(out), "--alone", "--only", "decision,write,grown"]
    command += ["--seconds", "0.5", "--rounds", "1", "--callers", "1", "4", "--entries", "3000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.read_text())
    assert set(told["write"]) == set(told["bare"]) == set(told["ratio_bare"]) == {"1", "4"}
    assert all(cell["count"] > 0 for cell in told["write"].values())
    assert told["record_bytes_per_write"] > 0
    assert told["grown"]["entries"] == 3000
    assert told["decision"]["policies"] == 100
