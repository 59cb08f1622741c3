"""A plane as one process, told what to do by lines of JSON on stdin. With `--work` it is a worker; it can always send and start.

    python -m benchmarks.journeys.worker --dsn DSN --system PORT [--work] --ended FOLDER [--name A] [--drives]

Runs that ended are told to whoever drives over a socket in FOLDER: asking Postgres for them would be part of what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.journeys.control import CALLER, CUSTOMERS, TENANT
from benchmarks.journeys.loads import closed_loop, commands
from cxplane.domain.record import Appended
from cxplane.edges.process import settle_memory
from cxplane.wiring import Settings, open_plane

FINAL = ("done", "failed", "cancelled")


class Ended:
    """Runs that have come to an end, in this process or another one: {id: when}."""

    def __init__(self, folder: Path, *, drives: bool) -> None:
        self._path = folder / "ended.sock"
        self.at: dict[str, float] = {}
        self.taken: dict[str, float] = {}
        self.stuck = 0
        self._wanted: dict[str, asyncio.Future[None]] = {}
        self._drives = drives
        self._queue: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        if drives:
            self._path.unlink(missing_ok=True)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self._socket.bind(str(self._path))
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def watch(self, plane: Any) -> None:
        """See what this plane appends: a run has ended when that is on record."""
        append = plane.store.append

        async def watched(write: Any) -> Any:
            result = await append(write)
            last = write.entries[-1]
            if last.kind == "run.advanced" and isinstance(result, Appended):
                if last.body["status"] in FINAL:
                    self._tell(last.stream)
                elif last.body["status"] == "stuck":
                    self.stuck += 1
                    print("stuck", last.body, last.private, file=sys.stderr, flush=True)
            return result

        take = plane.store.runs.take

        async def taking(tenant: str, run: str) -> Any:
            found = await take(tenant, run)
            self.taken.setdefault(run, time.time())
            return found

        plane.store.append, plane.store.runs.take = watched, taking

    async def wait(self, run: str) -> None:
        if run not in self.at:
            self._wanted[run] = asyncio.get_running_loop().create_future()
            await self._wanted[run]
        self.at.pop(run, None)

    def _tell(self, run: str) -> None:
        if self._drives:
            self._known(run)
            return
        if not self._queue:
            asyncio.get_running_loop().call_later(0.001, self._send)
        self._queue.append(run)

    def _send(self) -> None:
        while self._queue:
            some, rest = self._queue[:100], self._queue[100:]
            try:
                self._socket.sendto("\n".join(some).encode(), str(self._path))
            except BlockingIOError:
                asyncio.get_running_loop().call_later(0.005, self._send)
                return
            except OSError:
                rest = []  # nobody drives any more
            self._queue = rest

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                for run in self._socket.recv(65536).decode().split("\n"):
                    self._known(run)

    def _known(self, run: str) -> None:
        self.at[run] = time.time()
        if (wanted := self._wanted.pop(run, None)) is not None and not wanted.done():
            wanted.set_result(None)


class Worker:
    """What can be asked of it: one method a command."""

    def __init__(self, plane: Any, ended: Ended) -> None:
        self._plane, self._ended = plane, ended
        self._desk = plane.caller(CALLER)

    async def do(self, asked: dict[str, Any]) -> Any:
        return await getattr(self, asked.pop("do"))(**asked)

    async def customers(self) -> None:
        """Known, assured, with consent: what a governed effect asks for."""
        for n in range(CUSTOMERS):
            await self._plane.put_customer(self._desk, f"c{n}", attributes={}, identities=[])
            await self._plane.assure(self._desk, f"c{n}", level=2, method="otp", lifetime="8h")
            await self._plane.consent(self._desk, f"c{n}", purpose="service", granted=True, source="bench")

    async def legs(self, in_flight: int, seconds: float, mark: str, by: str = "signal", warm: float = 1.0) -> Any:
        """Runs of three effects, so many at the same time."""

        async def one(n: int) -> None:
            ref = f"{mark}.{in_flight}.{n}"
            for run in await (self._start(ref) if by == "start" else self._signal("bench.three", ref, n)):
                await self._ended.wait(run)

        return await closed_loop(in_flight, seconds, one, warm=warm) | {"stuck": self._ended.stuck}

    async def _start(self, ref: str) -> list[str]:
        view = await self._plane.start_run(self._desk, "three", {"ref": ref}, customer="c1", id=f"run_{ref}")
        return [view.run.id]

    async def _signal(self, type: str, ref: str, n: int) -> list[str]:
        data = {"ref": ref, "customer": f"c{n % CUSTOMERS}"}
        told = await self._plane.signal(
            self._desk, type=type, source=self._desk.name, id=f"{type}.{ref}", key=ref, data=data
        )
        return list(told["runs_started"])

    async def send(self, type: str, refs: list[str], senders: int = 1, per_s: float | None = None) -> Any:
        """Signals, as fast as so many senders can, or so many a second. {ref: [when it was on record, run]}."""
        sent: dict[str, tuple[float, str]] = {}
        began = time.time()

        async def one(n: int, ref: str) -> None:
            if per_s is not None:
                await asyncio.sleep(max(0.0, began + n / per_s - time.time()))
            runs = await self._signal(type, ref, n)
            sent[ref] = (time.time(), runs[0] if runs else "")

        if per_s is not None:
            await asyncio.gather(*(one(n, ref) for n, ref in enumerate(refs)))
        else:
            left = iter(enumerate(refs))

            async def sender() -> None:
                for n, ref in left:
                    await one(n, ref)

            await asyncio.gather(*(sender() for _ in range(senders)))
        return sent

    async def ended(self, count: int = 0, patience_s: float = 120.0) -> Any:
        """Wait until so many have ended since the last time; how many did, and when."""
        until = time.time() + patience_s
        while len(self._ended.at) < count and time.time() < until:
            await asyncio.sleep(0.01)
        told = {"count": len(self._ended.at), "at": sorted(self._ended.at.values()), "stuck": self._ended.stuck}
        self._ended.at.clear()
        return told

    async def taken(self) -> Any:
        """{run: when this process first had hold of it}."""
        return self._ended.taken

    async def memory(self) -> Any:
        gc.collect()
        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    async def migrate(self, journey: str, from_: str, to: str, positions: dict[str, str], apply: bool = False) -> Any:
        began = time.perf_counter()
        told = await self._plane.migrate(self._desk, journey, from_=from_, to=to, positions=positions, apply=apply)
        took = time.perf_counter() - began
        sizes = {k: len(v) if isinstance(v, list) else v for k, v in told.items()}
        return {"took_s": round(took, 2), **sizes}

    async def release(self) -> Any:
        await self._plane.live.follow()
        return self._plane.release.hash


async def release(dsn: str, files: dict[str, str]) -> str:
    """Make a release of these files and let it decide; its hash."""
    from cxplane.control.release import build, go_live, make_release, run_gates
    from cxplane.wiring import expressions, open_store, policy_engine

    made = build(files)
    async with open_store(Settings(dsn=dsn), tenant=made.repo.plane.tenant) as store:
        gates = await run_gates(made, policy_engine(), expressions(), store=store)
        now = datetime.now(UTC)
        await make_release(store, made, gates, by="person:maria", at=now)
        await go_live(store, made, by="person:maria", at=now)
    return made.hash


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--system", type=int, required=True)
    parser.add_argument("--ended", type=Path, required=True)
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--drives", action="store_true")
    given = parser.parse_args()
    settings = Settings(
        dsn=given.dsn, tenant=TENANT, work=given.work, system_urls={"shop": f"http://127.0.0.1:{given.system}"}
    )
    async with open_plane(settings) as plane:
        ended = Ended(given.ended, drives=given.drives)
        ended.watch(plane)
        await commands(Worker(plane, ended).do, ready=os.getpid())


if __name__ == "__main__":
    settle_memory()  # as `cxplane work` does
    uvloop.run(main())
