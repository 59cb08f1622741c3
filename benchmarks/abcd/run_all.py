"""Every imported journey run to its end on a real plane, and the order in which its actions arrived.

python -m benchmarks.abcd.run_all --kb ../shared/data/abcd/kb.json      exit code 0 if all arrived as the file says
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from benchmarks.abcd.import_kb import SYSTEM, Flow, control_repo, read, write
from benchmarks.abcd.system import order_of, service
from cxplane.control.release import build, go_live, make_release, run_gates
from cxplane.domain.people import Caller
from cxplane.loop import Plane
from cxplane.wiring import Settings, expressions, open_dsn, open_plane, open_store, policy_engine
from examples.broadband.systems.service import Service

PATIENCE_S = 120
ENDED = ("done", "failed", "cancelled", "stuck")


@dataclass(frozen=True, slots=True)
class Result:
    """How one journey went."""

    flow: Flow
    status: str
    arrived: tuple[str, ...]  # actions at the system, in their order
    error: str = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        return tuple(work.name for work in self.flow.steps)

    @property
    def right(self) -> bool:
        return self.status == "done" and self.arrived == self.wanted

    def words(self) -> str:
        if self.right:
            return f"ok    {self.flow.name}: {len(self.wanted)} actions"
        return f"wrong {self.flow.name}: {self.status} {self.error}; wanted {self.wanted}; arrived {self.arrived}"


@asynccontextmanager
async def serving(app: Service) -> AsyncIterator[str]:
    """The stand-in on a free port of loopback; its address."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)  # who calls before it accepts waits
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)  # type: ignore[arg-type]
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def release(settings: Settings, control: Path) -> None:
    made = build(control)
    async with open_store(settings, tenant=made.repo.plane.tenant) as store:
        gates = await run_gates(made, policy_engine(), expressions(), store=store)
        now = datetime.now(UTC)
        await make_release(store, made, gates, by="person:lead", at=now)
        await go_live(store, made, by="person:lead", at=now)


async def run_all(flows: Sequence[Flow], folder: Path, *, dsn: str | None = None, silent: bool = False) -> list[Result]:
    """All of them at the same time, each for a contact of its own. `folder`: for the control repo, and for the store if
    no `dsn` names one. `silent`: the contacts say nothing that could fill a slot."""
    write(control_repo(flows), folder / "control")
    app = service()
    async with serving(app) as url:
        settings = Settings(dsn=dsn, embedded=True, data=folder / "data", system_urls={SYSTEM: url})
        async with open_dsn(settings) as store:  # one Postgres over the release and the plane
            settings = replace(settings, dsn=store)
            await release(settings, folder / "control")
            async with open_plane(settings) as plane:
                caller = plane.caller("system:contacts")
                await _know(plane, caller)
                return list(await asyncio.gather(*(_one(plane, caller, app, flow, silent) for flow in flows)))


async def _know(plane: Plane, caller: Caller) -> None:
    await plane.put_customer(caller, "c-1", attributes={}, identities=[])
    await plane.consent(caller, "c-1", purpose="service", granted=True, source="contract")


async def _one(plane: Plane, caller: Caller, app: Service, flow: Flow, silent: bool) -> Result:
    contact = f"k-{flow.name}"
    input = {"contact": contact} if silent else flow.example(contact)
    view = await plane.start_run(caller, flow.name, input, customer="c-1")
    end = time.monotonic() + PATIENCE_S
    while view.run.status not in ENDED and time.monotonic() < end:
        await asyncio.sleep(0.1)
        view = await plane.run(caller, view.run.id)
    return Result(flow, view.run.status, tuple(order_of(app, contact)), view.run.error or "")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="run_all", description="Run every work flow of ABCD as a journey.")
    parser.add_argument("--kb", type=Path, required=True, help="kb.json of the data set; ontology.json beside it")
    parser.add_argument("--dsn", help="a Postgres (default: an embedded one, thrown away afterwards)")
    given = parser.parse_args(words)
    flows = read(given.kb)
    with tempfile.TemporaryDirectory(prefix="cxplane-abcd-") as folder:
        Path(folder).chmod(0o755)
        began = time.monotonic()
        results = asyncio.run(run_all(flows, Path(folder), dsn=given.dsn))
    for result in results:
        print(result.words())
    right = sum(result.right for result in results)
    actions = sum(len(result.arrived) for result in results)
    print(
        f"{right} of {len(results)} journeys ended, {actions} actions in order, {time.monotonic() - began:.1f} s in all"
    )
    return 0 if right == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
