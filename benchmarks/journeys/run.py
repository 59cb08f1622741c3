"""Journeys beside peers, in one run on this machine: fsync on, one real Postgres, one business system for all.

    python -m benchmarks.journeys.run --out report.json [--only legs,signal,parked,kill,advance,migrate] [--quick]

legs      three effects of 5 ms: ours (governed, one and two workers), bare DBOS, Restate; then on a slow disk
signal    from a signal on record to the leg that it starts
parked    a hundred thousand runs that wait: memory, CPU, restart, wake-ups, what others feel
kill      one of two workers killed with 200 runs in flight
advance   the pure machine alone
migrate   preview of moving ten thousand runs to another release

Peers are installed into a cache folder (CXPLANE_BENCH_CACHE), never into this environment; one that cannot be had is left out and
said so. `--alone` leaves all peers out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.journeys import cache, scenes
from benchmarks.journeys.bare_dbos import bare_dbos
from benchmarks.journeys.cache import NotToBeHad
from benchmarks.journeys.hosts import FLUSH_US, Store, System, postgres, slow_disk
from benchmarks.journeys.ours import Ours, legs, ours
from benchmarks.journeys.restate import restate

PARTS = ("legs", "signal", "parked", "kill", "advance", "migrate")
EFFECT_S = 0.005


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    seconds: float = 5.0
    warm: float = 2.0
    in_flight: tuple[int, ...] = (32, 256)
    rounds: int = 4
    idle: int = 60
    busy_s: float = 8.0
    parked: int = 100_000
    wake: int = 2_000
    pairs: int = 8
    kill: int = 200
    kill_effect_s: float = 0.5
    advance: int = 2_000
    migrate: int = 10_000


QUICK = Size(0.5, 0.2, (8,), 1, 5, 0.5, 300, 30, 2, 20, 0.2, 50, 300)


class Bench:
    def __init__(self, home: Path, size: Size, console: Console, *, alone: bool) -> None:
        self.home, self.size, self.console, self.alone = home, size, console, alone
        self.told: dict[str, Any] = {"left_out": {}}
        self._n = 0

    def say(self, what: str) -> None:
        self.console.print(f"[green]✓[/] {time.strftime('%H:%M:%S')} {what}", highlight=False, soft_wrap=True)

    async def run(self, parts: list[str]) -> dict[str, Any]:
        """All parts on one Postgres, each in a fresh database; what needs a slow disk on another one after."""
        self.told["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
        async with postgres(self.home / "store") as store:
            for part in parts:
                if part == "advance":
                    self.told["advance"] = scenes.advancing(self.size.advance)
                elif part == "legs":
                    self.told["legs"] = await self._legs("fast", store, workers=(1, 2))
                else:
                    self.told[part] = await self._scene(part, store)
                if part != "legs":
                    self.say(f"{part} {json.dumps(self.told[part])}")
        if "legs" in parts:
            await self._slow()
        return self.told

    # one part after the other ---------------------------------------------------------------------------

    async def _scene(self, part: str, store: Store) -> dict[str, Any]:
        size = self.size
        effect = size.kill_effect_s if part == "kill" else EFFECT_S
        do: dict[str, Callable[[Ours], Awaitable[dict[str, Any]]]] = {
            "signal": lambda made: scenes.signal(made, idle=size.idle, per_s=100.0, seconds=size.busy_s),
            "parked": lambda made: scenes.parked(
                made, count=size.parked, wake=size.wake, seconds=size.seconds, rounds=size.pairs
            ),
            "kill": lambda made: scenes.kill(made, in_flight=size.kill),
            "migrate": lambda made: scenes.migrate(made, count=size.migrate),
        }
        async with (
            System(self.home / "system.log", effect) as system,
            ours(self.home / part, store, system, f"ours_{part}") as made,
        ):
            return await do[part](made)

    async def _slow(self) -> None:
        try:
            shim = slow_disk(self.home)
        except NotToBeHad as problem:
            self.told["left_out"]["slow disk"] = str(problem)
            return
        async with postgres(self.home / "slow_store", shim) as store:
            self.told["slow_disk"] = {"flush_us": FLUSH_US} | await self._legs("slow", store, workers=(1,))

    async def _legs(self, name: str, store: Store, *, workers: tuple[int, ...]) -> dict[str, Any]:
        """Every contender in turn, `rounds` times, there and back; the cells of each are kept, the median counts."""
        size = self.size
        cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
        async with (
            System(self.home / "system.log", EFFECT_S) as system,
            ours(self.home / name, store, system, f"ours_{name}") as made,
        ):
            contenders = self._contenders(made, store, system, slow=name == "slow", workers=workers)
            for round_ in range(size.rounds):
                for n in size.in_flight:
                    order = list(contenders.items())
                    for who, cell in order if round_ % 2 == 0 else reversed(order):
                        if who in self.told["left_out"]:
                            continue
                        try:
                            told = await cell(n, f"{name}{round_}")
                        except NotToBeHad as problem:
                            self.told["left_out"][who] = str(problem)
                            self.say(f"{who} is left out: {problem}")
                            continue
                        cells.setdefault(who, {}).setdefault(str(n), []).append(told)
                        self.say(f"{name} disk, {n} in flight, {who}: {json.dumps(told)}")
                        await system.clear()
        found = {who: {n: _middle(each) for n, each in by.items()} for who, by in cells.items()}
        return {"contenders": found, "ratios": _ratios(found)}

    def _contenders(
        self, made: Ours, store: Store, system: System, *, slow: bool, workers: tuple[int, ...]
    ) -> dict[str, Callable[[int, str], Awaitable[dict[str, Any]]]]:
        size = self.size

        def ours_with(count: int) -> Callable[[int, str], Awaitable[dict[str, Any]]]:
            return lambda n, mark: legs(made, n, size.seconds, f"{mark}w{count}", workers=count, warm=size.warm)

        async def dbos(n: int, mark: str) -> dict[str, Any]:
            async with bare_dbos(self.home, store, system) as contender:
                return await contender.cell(n, size.seconds, mark, size.warm)

        async def restated(n: int, mark: str) -> dict[str, Any]:
            self._n += 1
            async with restate(self.home / f"restate{self._n}", system.port) as contender:
                return await contender.cell(n, size.seconds, mark, size.warm)

        found: dict[str, Callable[[int, str], Awaitable[dict[str, Any]]]] = {}
        for count in workers:
            found["ours" if count == 1 else f"ours, {count} workers"] = ours_with(count)
        if not self.alone:
            found["bare DBOS"] = dbos
            if slow:  # a program linked statically: no shim reaches it
                self.told["left_out"]["Restate on the slow disk"] = (
                    "its program is linked statically: the shim does not reach it"
                )
            else:
                found["Restate"] = restated
        return found


def _middle(cells: list[dict[str, Any]]) -> dict[str, Any]:
    ordered = sorted(cells, key=lambda c: c["per_s"])
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    told = {k: round((low[k] + high[k]) / 2, 2) for k in low}
    return told | {"rounds": [c["per_s"] for c in cells]}


def _ratios(told: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Ours over each peer; two workers over one."""
    found: dict[str, dict[str, float]] = {}
    for who, by in told.items():
        for n, cell in by.items():
            ours_at = told.get("ours", {}).get(n)
            if who == "ours" or ours_at is None:
                continue
            over, under = (cell, ours_at) if who.startswith("ours") else (ours_at, cell)
            name = f"{who} / ours" if who.startswith("ours") else f"ours / {who}"
            found.setdefault(name, {})[n] = round(over["per_s"] / max(0.1, under["per_s"]), 2)
    return found


def _table(told: dict[str, Any], console: Console) -> None:
    for part, title in (("legs", "legs of three effects"), ("slow_disk", "the same on a slow disk")):
        if part not in told:
            continue
        table = Table("who", "in flight", "legs/s", "p50 ms", "p99 ms", "CPU ms a leg", "of the server", title=title)
        for who, by in told[part]["contenders"].items():
            for n, cell in by.items():
                server = cell.get("server_cpu_ms", cell.get("postgres_cpu_ms", ""))
                table.add_row(who, n, *(str(cell[k]) for k in ("per_s", "p50_ms", "p99_ms", "cpu_ms")), str(server))
        console.print(table)
        for name, by in told[part]["ratios"].items():
            console.print(f"  {name}: " + ", ".join(f"{ratio} at {n}" for n, ratio in by.items()), highlight=False)
    rest = {k: v for k, v in told.items() if k not in ("legs", "slow_disk")}
    console.print_json(json.dumps(rest))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("report.json"), help="where the figures go (JSON)")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: does it work at all")
    parser.add_argument("--alone", action="store_true", help="no peers")
    given = parser.parse_args(words)
    parts = [p for p in given.only.split(",") if p]
    if wrong := [p for p in parts if p not in PARTS]:
        parser.error(f"there is no part {wrong[0]!r}: {', '.join(PARTS)}")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="cxplane-journeys-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        if not given.alone:
            console.print(f"peers are kept in {cache.folder()}", highlight=False)
        bench = Bench(home, QUICK if given.quick else Size(), console, alone=given.alone)
        try:
            told = uvloop.run(bench.run(parts))
        finally:
            given.out.write_text(json.dumps(bench.told, indent=2) + "\n")
    _table(told, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
