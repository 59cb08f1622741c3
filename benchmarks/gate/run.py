"""The gate under load: `make bench OUT=report.json`. Real processes, fsync on, everything on this machine's cores.

    python benchmarks/gate/run.py --out report.json [--only decision,start,write,slow,grown] [--alone]

decision     judging alone, facts at hand, 100 policies, schema checked (CPU ms), beside Cedar alone
start        seconds to import, to `check` 500 actions
write        a governed write over HTTP with a 5 ms effect: judged, budget reserved, two durable commits; beside the same call
             between two bare commits (no policy, no key, no record), and beside the steps of a bare DBOS workflow
slow         the same where each flush of the disk takes 3.6 ms more
grown        the same with ten million entries on record, beside an empty one
record       bytes in Postgres per governed write, indexes included

DBOS is installed into a cache folder (CXPLANE_BENCH_CACHE); where it cannot be had it is left out and said so; `--alone` leaves it out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import asyncpg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.gate.control import write
from benchmarks.gate.deciding import decision
from benchmarks.gate.grown import grow
from benchmarks.gate.load import bare, governed
from benchmarks.gate.plane import Plane, customer
from benchmarks.gate.start import starting
from benchmarks.gate.wire import port_of, system
from benchmarks.journeys.bare_dbos import bare_dbos
from benchmarks.journeys.cache import NotToBeHad
from benchmarks.journeys.hosts import FLUSH_US, Store, System, cpu_s, postgres, slow_disk

EFFECT_S = 0.005
STEPS = 3  # of the workflow that DBOS runs
PARTS = ("decision", "start", "write", "slow", "grown")
_SIZES = """
select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint as whole,
    coalesce(sum(pg_total_relation_size(c.oid)) filter (where c.relname like 'entry%'), 0)::bigint as journal
from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'cxplane' and c.relkind in ('r', 'm')
"""


class Bench:
    def __init__(self, home: Path, given: argparse.Namespace, console: Console) -> None:
        self.home, self.seconds, self.callers = home, given.seconds, given.callers
        self.rounds, self.entries, self.alone = given.rounds, given.entries, given.alone
        self.console, self.told = console, dict[str, Any](left_out={})

    def say(self, what: str) -> None:
        self.console.print(f"[green]✓[/] {time.strftime('%H:%M:%S')} {what}", highlight=False, soft_wrap=True)

    async def run(self, parts: list[str]) -> None:
        if "decision" in parts:
            self.told["decision"] = decision(write(self.home / "control"))
            self.say("decision")
        if "start" in parts:
            self.told["start"] = await asyncio.to_thread(starting, self.home)
            self.say("start")
        if "write" in parts:
            async with postgres(self.home / "store") as store:
                self.told |= await self._cells("write", store, self.callers)
        if "slow" in parts:
            try:
                async with postgres(self.home / "slow", slow_disk(self.home)) as store:
                    self.told["slow"] = {"flush_us": FLUSH_US} | await self._cells("slow", store, [32])
            except NotToBeHad as problem:
                self.told["left_out"]["slow disk"] = str(problem)
        if "grown" in parts:
            async with postgres(self.home / "grown") as store:
                self.told["grown"] = await self._grown(store)

    async def _cells(self, mark: str, store: Store, callers: list[int]) -> dict[str, Any]:
        """Every contender in turn, `rounds` times; of each the median counts."""
        cells: dict[str, dict[str, list[dict[str, float]]]] = {"write": {}, "bare": {}, "dbos": {}}
        async with _Ours(self.home / mark, store) as ours, System(self.home / "system.log", EFFECT_S) as dbos_system:
            before, writes = await ours.sizes(), 0
            for round_ in range(self.rounds):
                for n in map(str, callers):
                    cells["write"].setdefault(n, []).append(
                        told := await ours.cell(int(n), self.seconds, f"{mark}{round_}")
                    )
                    writes += int(told["count"])
                    self.say(f"{mark}, governed, {n}: {told}")
                    cells["bare"].setdefault(n, []).append(
                        told := await ours.bare(int(n), self.seconds, f"{mark}{round_}")
                    )
                    self.say(f"{mark}, bare commits, {n}: {told}")
                    if not self.alone and "DBOS" not in self.told["left_out"] and int(n) > 1:
                        try:
                            async with bare_dbos(self.home, store, dbos_system) as dbos:
                                told = await dbos.cell(int(n), self.seconds, f"{mark}{round_}")
                        except NotToBeHad as problem:
                            self.told["left_out"]["DBOS"] = str(problem)
                            continue
                        told["per_s"] = round(told["per_s"] * STEPS, 1)
                        cells["dbos"].setdefault(n, []).append(told)
                        self.say(f"{mark}, steps of bare DBOS, {n}: {told}")
            after = await ours.sizes()
        found: dict[str, Any] = {who: {n: _middle(each) for n, each in by.items()} for who, by in cells.items()}
        for who in ("bare", "dbos"):
            found[f"ratio_{who}"] = {
                n: round(found["write"][n]["per_s"] / c["per_s"], 2) for n, c in found[who].items()
            }
        found["record_bytes_per_write"] = round((after["whole"] - before["whole"]) / writes)
        found["journal_bytes_per_write"] = round((after["journal"] - before["journal"]) / writes)
        found["serve_ready_s"] = ours.ready_s
        if "1" in found["write"]:
            found["idle_ms"] = round(found["write"]["1"]["p50_ms"] - EFFECT_S * 1000, 2)
        return found

    async def _grown(self, store: Store) -> dict[str, Any]:
        """One plane on an empty store, one on a store that has grown, in turn."""
        small, large = await store.database("small"), await store.database("large")
        async with _Ours(self.home / "small", store, small) as empty, _Ours(self.home / "large", store, large) as full:
            began = time.perf_counter()
            with Progress(console=self.console, transient=True) as bar:
                task = bar.add_task("growing the record", total=self.entries)
                entries = await grow(large, self.entries, lambda done: bar.update(task, completed=done))
            self.say(f"{entries} entries, {time.perf_counter() - began:.0f} s")
            rates: dict[str, list[float]] = {"empty": [], "grown": []}
            for round_ in range(max(3, self.rounds)):
                for who, ours in (("empty", empty), ("grown", full)):
                    told = await ours.cell(32, self.seconds, f"g{round_}")
                    rates[who].append(told["per_s"])
                    self.say(f"{who}: {told}")
        middle = {who: sorted(each)[len(each) // 2] for who, each in rates.items()}
        return {"entries": entries, **middle, "ratio": round(middle["grown"] / middle["empty"], 2)}


class _Ours:
    """A plane on a store, with its business system, ready for load."""

    def __init__(self, home: Path, store: Store, dsn: str | None = None) -> None:
        self._home, self._store, self._dsn, self.ready_s = home, store, dsn or store.dsn, 0.0

    async def __aenter__(self) -> _Ours:
        control = write(self._home / "control")
        self._system = await system(EFFECT_S)
        self._plane = Plane(self._home, self._dsn, port_of(self._system))
        await asyncio.to_thread(self._plane.tell, "release", str(control))
        names = ("agent:fin", "system:crm")
        keys = [(await asyncio.to_thread(self._plane.tell, "keys", "create", name))["key"] for name in names]
        self._key, (self._port, ready) = keys[0], await asyncio.to_thread(self._plane.start)
        self.ready_s = round(ready, 2)
        self._pool = await asyncpg.create_pool(self._dsn, min_size=1, max_size=32)
        await self._pool.execute("create table if not exists bare (key text primary key, state text not null)")
        await customer(self._port, keys[1])
        await governed(self._port, self._key, 8, 1.0, "warm")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.terminate()
        await asyncio.to_thread(self._plane.stop)
        self._system.close()

    async def cell(self, callers: int, seconds: float, mark: str) -> dict[str, float]:
        plane, stored = cpu_s(self._plane.pid), self._store.cpu_s()
        told = await governed(self._port, self._key, callers, seconds, f"{mark}.{callers}")
        told["cpu_ms"] = round((cpu_s(self._plane.pid) - plane) * 1000 / told["count"], 2)
        told["postgres_cpu_ms"] = round((self._store.cpu_s() - stored) * 1000 / told["count"], 2)
        return told

    async def bare(self, callers: int, seconds: float, mark: str) -> dict[str, float]:
        await self._pool.execute("truncate bare")
        return await bare(self._pool, port_of(self._system), callers, seconds, mark)

    async def sizes(self) -> dict[str, int]:
        return dict(await self._pool.fetchrow(_SIZES))


def _middle(cells: list[dict[str, float]]) -> dict[str, float]:
    return sorted(cells, key=lambda c: c["per_s"])[len(cells) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("report.json"), help="where the figures go (JSON)")
    parser.add_argument(
        "--only", default="decision,start,write,slow", help="parts, with commas between: " + ", ".join(PARTS)
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="for each cell")
    parser.add_argument("--rounds", type=int, default=3, help="of all cells; the median counts")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 32, 256], help="in flight")
    parser.add_argument("--entries", type=int, default=10_000_000, help="how far the record has grown")
    parser.add_argument("--alone", action="store_true", help="no peer")
    given = parser.parse_args()
    parts = given.only.split(",")
    if wrong := [p for p in parts if p not in PARTS]:
        parser.error(f"there is no part {wrong[0]!r}: {', '.join(PARTS)}")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="cxplane-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        bench = Bench(home, given, console)
        try:
            asyncio.run(bench.run(parts))
        finally:
            given.out.write_text(json.dumps(bench.told, indent=2) + "\n")
    table = Table("who", "in flight", "a second", "p50 ms", "p99 ms", "CPU ms", "of Postgres")
    for part, title in ((bench.told, ""), (bench.told.get("slow", {}), "slow disk: ")):
        for who in ("write", "bare", "dbos"):
            for n, cell in part.get(who, {}).items():
                cells = (cell.get(k, "") for k in ("per_s", "p50_ms", "p99_ms", "cpu_ms", "postgres_cpu_ms"))
                table.add_row(title + who, n, *map(str, cells))
    console.print(table)
    console.print_json(json.dumps({k: v for k, v in bench.told.items() if k not in ("write", "bare", "dbos", "slow")}))
    print(json.dumps(bench.told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
