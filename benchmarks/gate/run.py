"""The gate under load: `make bench OUT=report.json`. Real processes, fsync on, everything on this machine's cores.

decision     judging alone, facts at hand, 100 policies, schema checked (CPU ms), beside Cedar alone
write        a governed write over HTTP with a 5 ms effect: judged, budget reserved, two durable commits
bare         the same 5 ms call between two durable one-row commits: no policy, no key, no record
idle         one caller, from request to answer, less the 5 ms
record       bytes in Postgres per governed write, indexes included
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks.gate.control import POLICIES, write
from benchmarks.gate.wire import Client, port_of, system
from cxplane.adapters.postgres.embedded import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[2]
EFFECT_S = 0.005


async def load(callers: int, seconds: float, one: Callable[[int, int], Awaitable[None]]) -> dict[str, float]:
    """`callers` at the same time for `seconds`; rate and times of what ended."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def caller(n: int) -> None:
        turn = 0
        while time.perf_counter() < until:
            began = time.perf_counter()
            await one(n, turn)
            times.append(time.perf_counter() - began)
            turn += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller(n) for n in range(callers)))
    took = time.perf_counter() - began
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "per_s": round(len(times) / took, 1),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "count": len(times),
    }


async def governed(port: int, key: str, callers: int, seconds: float, run: str) -> dict[str, float]:
    clients = [Client(port, f"authorization: Bearer {key}\r\n") for _ in range(callers)]

    async def one(n: int, turn: int) -> None:
        input = {"account_id": f"a{n}", "dispute_id": f"{run}.{turn}", "amount": turn % (POLICIES - 1)}
        body = {"action": "billing.credit", "input": input, "customer": "c1"}
        status, told = await clients[n].ask("POST", "/v1/requests", body)
        if status != 200 or told["status"] != "done":
            raise SystemExit(f"a governed write was answered {status}: {told}")

    try:
        return await load(callers, seconds, one)
    finally:
        for client in clients:
            client.close()


async def bare(pool: asyncpg.Pool, port: int, callers: int, seconds: float) -> dict[str, float]:
    clients = [Client(port, "") for _ in range(callers)]

    async def one(n: int, turn: int) -> None:
        key = f"{callers}.{n}.{turn}"
        await pool.execute("insert into bare (key, state) values ($1, 'begun')", key)
        clients[n]._headers = f"idempotency-key: bare.{key}\r\n"
        await clients[n].ask("POST", "/credits", {"amount": 1})
        await pool.execute("update bare set state = 'done' where key = $1", key)

    try:
        return await load(callers, seconds, one)
    finally:
        for client in clients:
            client.close()


def decision(control: Path) -> dict[str, float]:
    """CPU ms of judging one request in this process, and of Cedar's answer within it."""
    from datetime import UTC, datetime, timedelta

    from cxplane.control.release import build
    from cxplane.decide.facts import Facts
    from cxplane.decide.judge import judge
    from cxplane.decide.rulebook import Rulebook
    from cxplane.domain.customer import Assurance, Consent, Customer, Situation
    from cxplane.domain.decision import Allowed
    from cxplane.domain.request import ActionRequest
    from cxplane.wiring import expressions, policy_engine

    release = build(control)
    policies = policy_engine().compile(release.repo)
    rulebook = Rulebook.compile(release, policies, expressions())
    now = datetime.now(UTC)
    customer = Customer(
        "c1",
        assurances=(Assurance(2, "otp", now + timedelta(hours=1)),),
        consents=(Consent("service", True, now, "bench"),),
    )
    situation = Situation(customer)
    inside = [0.0]
    answer = policies.answer

    class Timed:
        def __getattr__(self, name: str) -> Any:
            return getattr(policies, name)

        def answer(self, question: Any) -> Any:
            began = time.process_time()
            try:
                return answer(question)
            finally:
                inside[0] += time.process_time() - began

    timed = Rulebook(rulebook.release, Timed(), rulebook.rules)  # type: ignore[arg-type]
    whole, cedar = [], []
    for n in range(2000):
        input = {"account_id": "a1", "dispute_id": str(n), "amount": n % (POLICIES - 1)}
        fin = release.repo.callers["agent:fin"]
        request = ActionRequest(f"r{n}", "bench", "billing.credit", input, fin, now, customer="c1")
        inside[0] = 0.0
        began = time.process_time()
        answered = judge(timed, request, situation, Facts(money=5), now)
        whole.append(time.process_time() - began)
        cedar.append(inside[0])
        if not isinstance(answered, Allowed):
            raise SystemExit(f"the decision measured is not an allow: {answered.grounds.reasons}")
    return {
        "p50_cpu_ms": round(statistics.median(whole) * 1000, 3),
        "engine_p50_cpu_ms": round(statistics.median(cedar) * 1000, 3),
        "policies": POLICIES,
    }


class Plane:
    """`cxplane` as a user runs it, on the store given."""

    def __init__(self, home: Path, dsn: str, billing: int) -> None:
        self._home = home
        self._env = os.environ | {
            "CXPLANE_DSN": dsn,
            "CXPLANE_DATA_KEY": "A" * 43,  # 32 zero bytes: sealing costs the same
            "CXPLANE_SYSTEM_BILLING_URL": f"http://127.0.0.1:{billing}",
            "CXPLANE_HTTP_RATE": "100000",
            "CXPLANE_HTTP_BURST": "200000",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        }
        self._process: subprocess.Popen[str] | None = None

    def tell(self, *words: str) -> Any:
        command = [sys.executable, "-m", "cxplane.edges.cli", *words, "--json"]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"cxplane {words[0]} failed: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def start(self) -> tuple[int, float]:
        """The port, and the seconds until it is ready."""
        command = [sys.executable, "-m", "cxplane.edges.cli", "serve", "--port", "0", "--json", "--log", "error"]
        began = time.perf_counter()
        log = (self._home / "plane.log").open("a")
        self._process = subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the plane did not start: {(self._home / 'plane.log').read_text()[-2000:]}")
        url = next(v for v in json.loads(line).values() if isinstance(v, str) and v.startswith("http"))
        return int(url.rsplit(":", 1)[1]), time.perf_counter() - began

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)


async def measure(
    home: Path, dsn: str, seconds: float, callers: list[int], tell: Callable[[str], None]
) -> dict[str, Any]:
    control = write(home / "control")
    billing = await system(EFFECT_S)
    plane = Plane(home, dsn, port_of(billing))
    told: dict[str, Any] = {"decision": decision(control), "write": {}, "bare": {}, "ratio": {}}
    tell("decision")
    await asyncio.to_thread(plane.tell, "release", str(control))
    keys = {c: (await asyncio.to_thread(plane.tell, "keys", "create", c))["key"] for c in ("agent:fin", "system:crm")}
    port, told["serve_ready_s"] = await asyncio.to_thread(plane.start)
    told["serve_ready_s"] = round(told["serve_ready_s"], 2)
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=32)
    try:
        crm = Client(port, f"authorization: Bearer {keys['system:crm']}\r\n")
        await crm.ask("PUT", "/v1/customers/c1", {})
        await crm.ask("POST", "/v1/customers/c1/assurance", {"level": 2, "method": "otp", "lifetime": "8h"})
        await crm.ask("POST", "/v1/customers/c1/consents", {"purpose": "service", "granted": True, "source": "bench"})
        crm.close()
        await pool.execute("create table bare (key text primary key, state text not null)")
        await governed(port, keys["agent:fin"], 8, 1.0, "warm")
        before = await pool.fetchval(_SIZE)
        writes = 0
        for n in callers:
            told["write"][str(n)] = await governed(port, keys["agent:fin"], n, seconds, f"w{n}")
            tell(f"governed, {n}")
            told["bare"][str(n)] = await bare(pool, port_of(billing), n, seconds)
            tell(f"bare, {n}")
            writes += int(told["write"][str(n)]["count"])
            told["ratio"][str(n)] = round(told["write"][str(n)]["per_s"] / told["bare"][str(n)]["per_s"], 2)
        told["record_bytes_per_write"] = round((await pool.fetchval(_SIZE) - before) / writes)
        told["idle_ms"] = round(told["write"]["1"]["p50_ms"] - EFFECT_S * 1000, 2) if "1" in told["write"] else None
    finally:
        pool.terminate()
        await asyncio.to_thread(plane.stop)
        billing.close()
    return told


_SIZE = """
select sum(pg_total_relation_size(c.oid))::bigint from pg_class c
join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'cxplane' and c.relkind in ('r', 'm')
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("report.json"), help="where the figures go (JSON)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each cell")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 32, 256], help="in flight")
    given = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="cxplane-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        store = EmbeddedPostgres(home / "store")
        dsn = store.start()
        try:
            say = lambda what: console.print(f"[green]✓[/] {what}", highlight=False)  # noqa: E731
            told = asyncio.run(measure(home, dsn, given.seconds, given.callers, say))
        finally:
            store.stop()
    given.out.write_text(json.dumps(told, indent=2) + "\n")
    table = Table("in flight", "governed/s", "p50 ms", "p99 ms", "bare/s", "p50 ms", "p99 ms", "governed / bare")
    for n, g in told["write"].items():
        b = told["bare"][n]
        cells = [g["per_s"], g["p50_ms"], g["p99_ms"], b["per_s"], b["p50_ms"], b["p99_ms"], told["ratio"][n]]
        table.add_row(n, *map(str, cells))
    console.print(table)
    rest = {k: v for k, v in told.items() if k not in ("write", "bare", "ratio")}
    console.print_json(json.dumps(rest))
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
