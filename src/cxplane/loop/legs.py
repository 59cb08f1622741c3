"""Runs at work: wake-ups become legs, times that come become mail, and nobody is left lying.

What a plane does for journeys in the background. Any number of planes do it at once: a run has one holder, known by its epoch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from cxplane.domain.errors import CxplaneError, StoreError, StoreUnavailable, where_it_broke
from cxplane.domain.record import TakenRun
from cxplane.domain.run import RunStatus
from cxplane.journeys.program import Program
from cxplane.loop.gate import Gate
from cxplane.loop.leg import Leg
from cxplane.loop.lineage import Runaway
from cxplane.loop.picking_up import LostRun
from cxplane.loop.pulse import Pulse
from cxplane.loop.triggers import Triggers
from cxplane.ports.telemetry import FOLLOWED, Followed, trace_of
from cxplane.ports.work import Job

log = logging.getLogger("cxplane.journeys")

LEG = "leg"  # the kind of a wake-up; the store puts it into the queue (see migrations/sql)
TIMERS = 500  # times that become mail in one statement
LONGEST_S = 1.0  # between two looks at the times
SHORTEST_S = 0.02
LEFT_LYING = timedelta(seconds=30)  # busy for so long without a job: nobody is at work there
REVIVE_S = 15.0  # between two looks for them
TRIES = 5  # of a leg that fails for a reason of ours, before a person is asked


class Legs:
    def __init__(self, gate: Gate, triggers: Triggers, lease: timedelta) -> None:
        self._gate, self._triggers = gate, triggers
        self._revived = time.monotonic()
        self.pulse = Pulse(lease.total_seconds() * 0.4)

    async def work(self, job: Job) -> None:
        """One wake-up. It may come twice: the second finds nothing to do, or takes over."""
        while await self._leg(job):
            pass

    async def begin(self, taken: TakenRun) -> None:
        """A run that was started here; its start has taken it."""
        if await self._on(taken, tries=0):
            await self.work(Job(0, taken.row.id, LEG, {"run": taken.row.id}, 0))

    async def _leg(self, job: Job) -> bool:
        """To the next wait; True if somebody's word came while it was put aside for a person, so that it goes on at once."""
        taken = await self._gate.store.runs.take(self._gate.tenant, job.payload["run"])
        if taken is None or RunStatus(taken.row.status).final:
            return False
        return await self._on(taken, tries=job.tries)

    async def _on(self, taken: TakenRun, *, tries: int) -> bool:
        program = await self._program(taken.row.release, taken.row.journey)
        leg = Leg(self._gate, self._triggers, taken, program, self.pulse)
        try:
            with self._followed(taken):
                await leg.work()
            self._gate.telemetry.count("legs_total", {"journey": taken.row.journey})
        except LostRun:
            log.info("run %s is in other hands by now", taken.row.id)
        except Runaway as problem:
            log.warning("run %s: %s", taken.row.id, problem)
            return await self._stick(taken.row.id, program, str(problem))
        except StoreUnavailable:
            raise
        except Exception as problem:
            if tries + 1 < TRIES:
                raise
            told = where_it_broke(problem)
            log.error("run %s: a leg failed %d times and waits for a person: %s", taken.row.id, TRIES, told)
            why = str(problem) if isinstance(problem, CxplaneError) else type(problem).__name__
            return await self._stick(taken.row.id, program, why)
        return False

    @contextmanager
    def _followed(self, taken: TakenRun) -> Iterator[None]:
        """All legs of a run are one trace, in whatever process they are worked; its id is known from the run's."""
        run, telemetry = taken.row, self._gate.telemetry
        about = {"cxplane.run": run.id, "cxplane.journey": run.journey, "cxplane.tenant": self._gate.tenant}
        parent = trace_of(run.id)
        if taken.state is None:
            telemetry.begin("run", about, parent)
        with telemetry.span("leg", about, parent=parent, kind="consumer"):
            token = FOLLOWED.set(Followed(run.id, self._gate.tenant, telemetry.traceparent()))
            try:
                yield
            finally:
                FOLLOWED.reset(token)

    async def _program(self, release: str, journey: str) -> Program:
        live = await self._gate.releases.at(release)
        program = live.programs.get(journey)
        if program is None:
            raise StoreError(f"release {release[:12]} has no journey {journey}")
        return program

    async def _stick(self, id: str, program: Program, why: str) -> bool:
        taken = await self._gate.store.runs.take(self._gate.tenant, id)
        return taken is not None and not await Leg(self._gate, self._triggers, taken, program, self.pulse).stick(why)

    async def watch_times(self) -> None:
        """Times that have come become mail. For a while: whoever calls again knows that it goes on."""
        until = time.monotonic() + REVIVE_S
        while time.monotonic() < until:
            fired, left = await self._gate.store.runs.fire_timers(limit=TIMERS)
            if fired:
                self._triggers.wake()
            if fired == TIMERS:
                continue
            await asyncio.sleep(LONGEST_S if left is None else min(LONGEST_S, max(SHORTEST_S, left)))

    async def revive(self) -> None:
        """Runs that nobody works on although they are marked so are woken again. Looks now and then."""
        if time.monotonic() - self._revived < REVIVE_S:
            return
        self._revived = time.monotonic()
        n = await self._gate.store.runs.revive(self._gate.clock.now() - LEFT_LYING)
        if n:
            log.warning("%d runs were left lying and are woken again", n)
            self._triggers.wake()
