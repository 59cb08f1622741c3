"""What goes on without anybody asking: new releases, unknown outcomes, approvals that nobody decided.

A row that is due is taken by one plane, under a lease, and becomes a job of the work engine; a job may be delivered twice, so
each looks at the record first. Nobody guesses: an outcome comes from `confirm`, from the same key again, or from a person.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from cxplane.domain.errors import CxplaneError
from cxplane.domain.outcome import Status
from cxplane.domain.record import Appended, Write
from cxplane.loop.approvals import Approvals
from cxplane.loop.finding_out import find_out
from cxplane.loop.gate import Gate
from cxplane.loop.legs import LEG, Legs
from cxplane.loop.sealer import EVERY as SEAL_EVERY
from cxplane.loop.sealer import Sealer
from cxplane.ports.work import Job, Work

log = logging.getLogger("cxplane.background")

EVERY_S = 1.0
CONCURRENCY = 256  # jobs at once; most of them wait for a system
LEASE = timedelta(seconds=60)  # for one look into what is not known; a second look at the same time does no harm
RESOLVE = "resolve_outcome"
EXPIRE = "expire_approval"


class Background:
    def __init__(
        self,
        gate: Gate,
        approvals: Approvals,
        legs: Legs,
        work: Work,
        *,
        works: bool,
        sealer: Sealer | None = None,
        seal_every: timedelta = SEAL_EVERY,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._gate, self._approvals, self._legs, self._work, self._works = gate, approvals, legs, work, works
        self._concurrency, self._sealer, self._seal_every = concurrency, sealer, seal_every
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._always("releases", self._gate.releases.follow))]
        if self._works:
            handlers = {RESOLVE: self._resolve, EXPIRE: self._expire, LEG: self._legs.work}
            for name, step in (
                ("due", self._sweep),
                ("pulse", self._legs.pulse.beat),
                ("times", self._legs.watch_times),
                ("work", lambda: self._work.run(handlers, concurrency=self._concurrency)),
            ):
                self._tasks.append(asyncio.create_task(self._always(name, step)))

            if self._sealer is not None:
                self._tasks.append(asyncio.create_task(self._always("seal", self._seal)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _always(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Again and again, whatever goes wrong; the same trouble is said once."""
        said = ""
        while True:
            try:
                await step()
                said = ""
            except CxplaneError as problem:
                if str(problem) != said:
                    said = str(problem)
                    log.warning("%s: %s", name, problem)
            except Exception:
                log.exception("%s failed; it goes on in a moment", name)
            await asyncio.sleep(EVERY_S)

    async def _sweep(self) -> None:
        clock, store = self._gate.clock, self._gate.store
        now = clock.now()
        for tenant, intent in await store.take_due_intents(now, lease_until=now + LEASE):
            if tenant == self._gate.tenant:
                await self._work.enqueue(intent.request, RESOLVE, {"request": intent.request, "tries": intent.tries})
        for tenant, approval in await store.due_approvals(clock.business_now()):
            if tenant == self._gate.tenant:
                await self._work.enqueue(approval.id, EXPIRE, {"approval": approval.id})
        await self._legs.revive()
        for name, value in (await store.stats()).items():
            self._gate.telemetry.gauge("store", value, {"what": name})

    async def _seal(self) -> None:
        assert self._sealer is not None
        try:
            await self._sealer.step()
        finally:
            await asyncio.sleep(max(0.0, self._seal_every.total_seconds() - EVERY_S))  # and `_always` waits as well

    async def _expire(self, job: Job) -> None:
        row = await self._gate.store.approval(self._gate.tenant, job.payload["approval"])
        if row is not None and row.status == "open" and row.expires_at <= self._gate.clock.business_now():
            await self._approvals.expire(row)

    async def _resolve(self, job: Job) -> None:
        gate, id = self._gate, job.payload["request"]
        row = await gate.store.request(gate.tenant, id)
        if row is None or row.status not in (Status.RUNNING, Status.UNKNOWN):
            return
        found = await find_out(gate, id)
        if found is None:
            return
        result = await gate.store.append(Write(gate.tenant, (found.entry,), expect=(id, row.status)))
        if isinstance(result, Appended):
            log.info("request %s of %s: %s", id, found.action, found.outcome.status.value)
            if result.woke:
                self._work.wake()
