"""What journeys must stand, one function a figure. Each takes a fresh database and gives a dict for the report."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.journeys.control import MOVED, TENANT, files
from benchmarks.journeys.hosts import cpu_s, memory_mb
from benchmarks.journeys.loads import figures
from benchmarks.journeys.ours import KILL, Ours, legs, ours, park

LEASE_S = 10.0


async def signal(made: Ours, *, idle: int, per_s: float, seconds: float) -> dict[str, Any]:
    """From a signal on record (as its sender sees it) to the moment at which a worker has taken the run that it starts."""
    async with made.plane(work=True) as worker, made.plane(work=False, drives=True) as desk:
        await desk.tell(do="send", type="bench.one", refs=[f"warm{n}" for n in range(20)], senders=2)
        await desk.tell(do="ended", count=20)
        told = {}
        for name, rate, count in (("idle", 8.0, idle), ("busy", per_s, int(per_s * seconds))):
            refs = [f"{name}{n}" for n in range(count)]
            sent = await desk.tell(do="send", type="bench.one", refs=refs, per_s=rate)
            await desk.tell(do="ended", count=count)
            taken = await worker.tell(do="taken")
            waits = figures([taken[run] - at for at, run in sent.values() if run in taken], 1.0)
            told[name] = {"per_s": rate} | {k: waits[k] for k in ("p50_ms", "p99_ms", "count")}
        return told


async def parked(made: Ours, *, count: int, wake: int, seconds: float, rounds: int) -> dict[str, Any]:
    """So many runs wait for a signal: what they cost, how others fare, how long a restart takes, how fast they wake."""
    told: dict[str, Any] = {"parked": count}
    async with made.plane(work=True) as worker, made.plane(work=False, drives=True) as desk:
        await worker.tell(do="memory")
        before = memory_mb(worker.pid)
        await park(made, desk, count, seeds=wake + 1)
        for table in ("run", "mailbox", "timer", "listen"):  # what copying leaves behind is no cost of waiting
            await made.execute(f"vacuum analyze cxplane.{table}")
        await made.execute("checkpoint")
        await asyncio.sleep(2.0)
        await worker.tell(do="memory")
        told["memory_mb"] = {"before": before, "after": memory_mb(worker.pid)}
        cpu, stored, began = cpu_s(worker.pid), made.store.cpu_s(), time.monotonic()
        await asyncio.sleep(max(3.0, seconds * 2))
        took = time.monotonic() - began
        told["idle_cores"] = {
            "worker": round((cpu_s(worker.pid) - cpu) / took, 3),
            "postgres": round((made.store.cpu_s() - stored) / took, 3),
        }
    told["others"] = await _others(made, seconds, rounds)
    async with made.plane(work=False, drives=True) as desk:
        began = time.monotonic()
        async with made.plane(work=True):
            ready = time.monotonic() - began
            await desk.tell(do="send", type="bench.wake", refs=["p0"])
            await desk.tell(do="ended", count=1)
            told["restart_s"] = {"ready": round(ready, 2), "first_leg_done": round(time.monotonic() - began, 2)}
            refs = [f"p{n}" for n in range(1, 1 + min(wake, count - 1))]
            sent = await desk.tell(do="send", type="bench.wake", refs=refs, senders=32)
            ended = await desk.tell(do="ended", count=len(refs), patience_s=120.0)
            span = ended["at"][-1] - min(at for at, _ in sent.values()) if ended["count"] else 0.0
            told["wake"] = {
                "signals": len(refs),
                "ended": ended["count"],
                "sent_s": round(max(at for at, _ in sent.values()) - min(at for at, _ in sent.values()), 2),
                "per_s": round(ended["count"] / span, 1) if span else 0.0,
            }
    return told


async def _others(made: Ours, seconds: float, rounds: int) -> dict[str, Any]:
    """Legs beside what is parked, and in a database where nothing is, in turn on the same Postgres: minute by minute a machine
    differs from itself by more than what is looked for.
    """
    told: dict[str, Any] = {"beside": [], "alone": []}
    async with ours(made.home / "alone", made.store, made.system, "ours_alone") as alone:
        for where in (alone, made):  # plans are made, pages are read
            await legs(where, 32, seconds, "first", warm=seconds)
        for n in range(rounds):
            for name, where in (("beside", made), ("alone", alone))[:: 1 if n % 2 else -1]:
                cell = await legs(where, 32, seconds, f"others{n}", warm=1.0)
                told[name].append({k: cell[k] for k in ("per_s", "p99_ms", "cpu_ms", "postgres_cpu_ms")})
    pairs = zip(told["beside"], told["alone"], strict=True)
    told["ratios"] = [round(one["per_s"] / max(0.1, other["per_s"]), 2) for one, other in pairs]
    return told | {"ratio": round(statistics.median(told["ratios"]), 2)}


async def kill(made: Ours, *, in_flight: int) -> dict[str, Any]:
    """One of two workers killed with so many in flight; the system takes its time, so that they are. Everything done once?"""
    await made.system.clear()
    first, second = made.plane(work=True), made.plane(work=True)
    async with first, second, made.plane(work=False, drives=True) as desk:
        refs = [f"k{n}" for n in range(in_flight)]
        await desk.tell(do="send", type="bench.three", refs=refs, senders=32)
        until = time.monotonic() + 60
        while (await made.system.counts())["asked"] < in_flight * 1.2 and time.monotonic() < until:
            await asyncio.sleep(0.02)
        ended = int(await made.value("select count(*) from cxplane.run where journey = 'three' and status = 'done'"))
        first.send(KILL)
        began = time.time()
        done = await desk.tell(do="ended", count=in_flight - 1, patience_s=60.0)
        alive = f"select count(*) from cxplane.run where tenant = '{TENANT}' and status not in ('done', 'failed', 'cancelled')"
        while await made.value(alive) and time.time() - began < 90:
            await asyncio.sleep(0.05)
        all_done = time.time() - began
        counts = await made.system.counts()
        twice = await made.value(
            "select count(*) from (select stream from cxplane.entry where kind = 'outcome'"
            " and body ->> 'status' = 'done' group by 1 having count(*) > 1) t"
        )
        finished = await made.value("select count(*) from cxplane.run where journey = 'three' and status = 'done'")
        return {
            "in_flight": in_flight - ended,
            "done": finished,
            "lost": in_flight - finished,
            "all_done_s": round(all_done, 2),
            "effects": counts["effects"],
            "asked_again_with_the_same_key": counts["repeated"],
            "outcomes_twice": twice,
            "lease_s": LEASE_S,
            "ended_after_half_the_lease": sum(at > began + LEASE_S / 2 for at in done["at"]),
        }


async def migrate(made: Ours, *, count: int) -> dict[str, Any]:
    """Preview, and then doing it for a tenth, of runs parked at a step that has another name in the new release."""
    async with made.plane(work=False, drives=True) as desk:
        async with made.plane(work=True):
            await park(made, desk, count)
        old = made.releases[-1]
        new = await made.release(MOVED)
        await desk.tell(do="release")
        asked = {"journey": "parked", "from_": old[:12], "to": new[:12]}
        plain = await desk.tell(do="migrate", positions={}, **asked)
        mapped = await desk.tell(do="migrate", positions={"document": "papers"}, **asked)
        return {"runs": count, "preview_unmapped": plain, "preview": mapped, "preview_s": mapped["took_s"]}


def advancing(rounds: int) -> dict[str, Any]:
    """CPU of `advance` alone, in this process, for a journey of twenty steps with one call."""
    from cxplane.control.load import load
    from cxplane.domain.run import AskAction, Run, Settled, Started
    from cxplane.journeys.advance import advance
    from cxplane.journeys.program import Program
    from cxplane.wiring import expressions

    repo = load(files())
    now = datetime.now(UTC)
    told: dict[str, Any] = {}
    for name in ("twenty", "three"):
        program = Program.compile(repo.journeys[name], expressions())
        steps = sum(1 for _ in repo.journeys[name].walk())
        whole: list[float] = []
        single: list[float] = []
        for n in range(rounds):
            run = Run(f"run_{n}", TENANT, name, "r" * 64, now, {"ref": f"a{n}"}, "c1")
            events: list[Any] = [Started()]
            total = 0.0
            while events:
                event = events.pop()
                began = time.process_time_ns()
                step = advance(program, run, event, now)
                took = (time.process_time_ns() - began) / 1e6
                total += took
                single.append(took)
                run = Run(run.id, TENANT, name, run.release, now, run.input, "c1", state=step.state)
                events += [
                    Settled(e.request, "done", {"effect_id": "e-1"}) for e in step.effects if isinstance(e, AskAction)
                ]
            whole.append(total)
            if run.state.status != "done":
                raise RuntimeError(f"{name} ended as {run.state.status}: {run.state.error}")
        told[name] = {
            "steps": steps,
            "whole_journey_ms": round(statistics.median(whole), 3),
            "one_event_p50_ms": round(statistics.median(single), 3),
            "events": len(single) // rounds,
        }
    return told
