"""The command that replays a domain and writes its report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.tau2.data import Absent, Call, Conversation, conversations, tasks
from benchmarks.tau2.domain import Domain
from benchmarks.tau2.plane import running
from benchmarks.tau2.replay import Gate
from benchmarks.tau2.report import report


def main(domain: Domain) -> int:
    """0: done. 1: a figure that must be 0 is not. 2: data is absent; the report holds what could be measured without it."""
    given = _arguments(domain)
    began, console = time.monotonic(), Console(stderr=True)
    missing: list[str] = []
    recorded: list[Conversation] = []
    truth: dict[str, tuple[Call, ...]] = {}
    unreadable = 0
    try:
        system = domain.system(given.data)
    except Absent as absent:
        print(f"{domain.name}: {absent}", file=sys.stderr)
        return 2
    try:
        truth = tasks(given.data, domain.whole)
    except Absent as absent:
        missing.append(f"no ground truth: {absent}")
    for n, file in enumerate(given.conversations or [given.data / "trajectories.jsonl.gz"]):
        try:
            found = list(conversations(file, domain.whole))
        except Absent as absent:
            missing.append(f"no recordings: {absent}")
            continue
        unreadable += found.count(None)
        recorded += [replace(c, id=f"{n}.{c.id}") for c in found if c is not None]
    for what in missing:
        print(f"{domain.name}: {what}", file=sys.stderr)
    if not truth and not recorded:
        print(f"{domain.name}: nothing to replay", file=sys.stderr)
        return 2
    recorded = recorded[: given.limit]
    models = sorted({c.model for c in recorded})
    console.print(f"{domain.name}: {len(recorded)} conversations of {len(models)} models, {len(truth)} tasks; starting")
    total = sum(len(c.calls) for c in recorded) + sum(len(calls) for calls in truth.values())
    with running(domain, given.data.resolve(), [*models, "ground truth"]) as at:
        gate = Gate(domain, system, at)
        try:
            with _progress(console, total) as tick:
                told = report(gate, system, recorded, truth, tick)
        finally:
            gate.close()
    head = {"domain": domain.name, "absent": missing, "lines_unreadable": unreadable}
    told = head | told | {"took_s": round(time.monotonic() - began, 1)}
    given.out.write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))
    if missing:
        return 2
    return 0 if told["right_conversations_touched"] == 0 and told["ground_truth_refused"] == 0 else 1


def _arguments(domain: Domain, words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"Recorded conversations of the {domain.name} domain through the gate; see benchmarks/{domain.name}/README.md."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the data set's domain (db, tasks, trajectories)"
    )
    parser.add_argument("--out", type=Path, default=Path("report.json"), help="where the report goes (JSON)")
    parser.add_argument(
        "--conversations", type=Path, nargs="+", help="other files of recordings (default: DATA/trajectories.jsonl.gz)"
    )
    parser.add_argument("--limit", type=int, help="only the first so many conversations")
    return parser.parse_args(words)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; elsewhere a line at every tenth of the way."""
    if console.is_terminal:
        columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("calls", total=total)
            yield lambda: progress.advance(bar)
        return
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            console.print(f"calls {done}/{total}")

    yield tick
