"""How long the tools let people wait: import, `check` of a large repo."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gate.control import FILES, write
from benchmarks.gate.plane import ROOT

ACTIONS = 500


def starting(home: Path, *, actions: int = ACTIONS, rounds: int = 5) -> dict[str, float]:
    """Medians, in seconds, each of a fresh process."""
    control = write(home / "large")
    for kind, name in (("find", "billing/find.yaml"), ("credit", "billing/credit.yaml")):
        for n in range((actions - 2) // 2):
            text = FILES[f"catalog/{name}"].replace(f"action: billing.{kind}", f"action: billing.{kind}_{n}")
            (control / f"catalog/billing/{kind}_{n}.yaml").write_text(text)
    return {
        "import_s": _median([sys.executable, "-c", "import cxplane, cxplane.wiring"], rounds),
        "help_s": _median([sys.executable, "-m", "cxplane.edges.cli", "--help"], rounds),
        f"check_{actions}_actions_s": _median(
            [sys.executable, "-m", "cxplane.edges.cli", "check", str(control)], rounds
        ),
    }


def _median(command: list[str], rounds: int) -> float:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - began)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command[1:4])} failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    return round(statistics.median(times), 2)
