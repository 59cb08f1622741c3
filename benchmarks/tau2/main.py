"""The command that replays a domain and writes its report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.tau2.data import Absent, conversations, tasks
from benchmarks.tau2.domain import Domain
from benchmarks.tau2.plane import running
from benchmarks.tau2.replay import Gate, report


def main(domain: Domain) -> int:
    """0: done. 1: a figure that must be 0 is not. 2: the data is not there."""
    parser = argparse.ArgumentParser(
        description=f"Recorded conversations of the {domain.name} domain through the gate."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the data set's domain (db, tasks, trajectories)"
    )
    parser.add_argument("--out", type=Path, default=Path("report.json"), help="where the report goes (JSON)")
    parser.add_argument(
        "--conversations", type=Path, help="another file of recordings (default: trajectories.jsonl.gz)"
    )
    parser.add_argument("--limit", type=int, help="only the first so many conversations")
    given = parser.parse_args()
    began = time.monotonic()
    try:
        system = domain.system(given.data)
        truth = tasks(given.data)
        recorded = list(conversations(given.conversations or given.data / "trajectories.jsonl.gz"))[: given.limit]
    except Absent as absent:
        print(f"{domain.name}: {absent}", file=sys.stderr)
        return 2
    models = sorted({c.model for c in recorded} | {"ground truth"})
    total = sum(len(c.calls) for c in recorded) + sum(len(calls) for calls in truth.values())
    console = Console(stderr=True)
    console.print(
        f"{domain.name}: {len(recorded)} conversations of {len(models) - 1} models, {len(truth)} tasks; starting"
    )
    columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with running(domain, given.data.resolve(), models) as at:
        gate = Gate(domain, system, at)
        try:
            with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
                bar = progress.add_task("calls", total=total)
                told = report(gate, system, recorded, truth, lambda: progress.advance(bar))
        finally:
            gate.close()
    told = {"domain": domain.name, **told, "took_s": round(time.monotonic() - began, 1)}
    given.out.write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))
    return 0 if told["right_conversations_touched"] == 0 and told["ground_truth_refused"] == 0 else 1
