"""The benchmark of the seal runs and tells what it says it tells. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_verifying_and_sealing_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.seal.run", "--out", str(out), "--entries", "3000", "--sealed", "2000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.read_text())
    names = ("with_hashes_per_s", "lines_alone_per_s", "seal_us_per_entry", "of_it_in_the_plane", "idle_step_ms")
    assert all(told[name] > 0 for name in names)
