"""What goes on without anybody asking: new releases, unknown outcomes, approvals that nobody decided.

A row that is due is taken by one plane, under a lease, and becomes a job of the work engine; a job may be delivered twice, so
each looks at the record first. Nobody guesses: an outcome comes from `confirm`, from the same key again, or from a person.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from cxplane.domain.errors import CxplaneError, where_it_broke
from cxplane.domain.outcome import Status
from cxplane.domain.record import Appended, Write
from cxplane.loop.approvals import Approvals
from cxplane.loop.at_hand import AtHand
from cxplane.loop.erasing import Erasing
from cxplane.loop.finding_out import find_out
from cxplane.loop.gate import Gate
from cxplane.loop.legs import LEG, Legs
from cxplane.loop.sealer import EVERY as SEAL_EVERY
from cxplane.loop.sealer import Sealer
from cxplane.ports.telemetry import FOLLOWED, Followed
from cxplane.ports.work import Job, Work

log = logging.getLogger("cxplane.background")

EVERY_S = 1.0
STUCK_S = 30.0  # without a success: no passing trouble any more
RETAIN_S = 3600.0  # between two looks at what has been kept long enough
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
        at_hand: AtHand,
        work: Work,
        erasing: Erasing,
        *,
        works: bool,
        sealer: Sealer | None = None,
        seal_every: timedelta = SEAL_EVERY,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._gate, self._approvals, self._legs, self._work, self._works = gate, approvals, legs, work, works
        self._concurrency, self._erasing, self._at_hand = concurrency, erasing, at_hand
        self._sealer, self._seal_every = sealer, seal_every
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: dict[str, float] = {}  # step -> since when, without a success between

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._always("releases", self._gate.releases.follow))]
        if self._works:
            handlers = {RESOLVE: self._resolve, EXPIRE: self._expire, LEG: self._legs.work}
            self._at_hand.open(self._legs.begin)
            for name, step in (
                ("due", self._sweep),
                ("at hand", self._at_hand.beat),
                ("pulse", self._legs.pulse.beat),
                ("times", self._legs.watch_times),
                ("retention", self._retain),
                ("work", lambda: self._work.run(handlers, concurrency=self._concurrency)),
            ):
                self._tasks.append(asyncio.create_task(self._always(name, step)))

            if self._sealer is not None:
                self._tasks.append(asyncio.create_task(self._always("seal", self._seal)))

    async def stop(self) -> None:
        closing = asyncio.create_task(self._at_hand.close())
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await closing
        if self._works:
            await self._at_hand.leave()

    @property
    def at_hand(self) -> int:
        """Runs that were started here and are worked here."""
        return self._at_hand.count

    def stuck(self) -> Mapping[str, float]:
        """Work that does not go on -> for how many seconds."""
        now = time.monotonic()
        found = {name: now - since for name, since in self._failing.items()}
        if self._works and self._work.down_s:
            found["work"] = max(self._work.down_s, found.get("work", 0.0))
        return {name: seconds for name, seconds in found.items() if seconds > STUCK_S}

    async def _always(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Again and again, whatever goes wrong; the same trouble is said once."""
        said = ""
        while True:
            try:
                await step()
                said = ""
                self._failing.pop(name, None)
            except CxplaneError as problem:
                self._failing.setdefault(name, time.monotonic())
                if str(problem) != said:
                    said = str(problem)
                    log.warning("%s: %s", name, problem)
            except Exception as problem:
                self._failing.setdefault(name, time.monotonic())
                log.error("%s failed; it goes on in a moment: %s", name, where_it_broke(problem))
            await asyncio.sleep(EVERY_S)

    async def _retain(self) -> None:
        await self._erasing.retain()
        await asyncio.sleep(RETAIN_S)

    async def _sweep(self) -> None:
        clock, store = self._gate.clock, self._gate.store
        now = clock.now()
        tenant = self._gate.tenant
        for intent in await store.take_due_intents(tenant, now, lease_until=now + LEASE):
            await self._work.enqueue(intent.request, RESOLVE, {"request": intent.request, "tries": intent.tries})
        for approval in await store.due_approvals(tenant, clock.business_now()):
            await self._work.enqueue(approval.id, EXPIRE, {"approval": approval.id})
        await self._legs.revive()

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
        token = FOLLOWED.set(Followed(id, gate.tenant))
        try:
            with gate.telemetry.span(
                "resolve", {"cxplane.request": id, "cxplane.tenant": gate.tenant}, kind="consumer"
            ):
                found = await find_out(gate, id)
        finally:
            FOLLOWED.reset(token)
        if found is None:
            return
        result = await gate.store.append(Write(gate.tenant, (found.entry,), expect=(id, row.status)))
        if isinstance(result, Appended):
            log.info("request %s of %s: %s", id, found.action, found.outcome.status.value)
            if result.woke:
                self._work.wake()
