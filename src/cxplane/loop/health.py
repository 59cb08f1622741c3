"""Whether the plane can do its work, and what there is to see of it. Numbers and names, never customer data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from cxplane.domain.errors import CxplaneError, StoreError, StoreUnavailable
from cxplane.domain.views import Check
from cxplane.loop.background import Background
from cxplane.loop.live import Releases, Systems
from cxplane.loop.sealer import Sealer
from cxplane.ports.store import Figures, Store
from cxplane.ports.telemetry import Telemetry

FIGURES_S = 10.0  # counts are kept for so long, whoever scrapes how often
PATIENCE_S = 2.0  # for the store, before it is said not to answer
_LEFT: set[asyncio.Future[None]] = set()  # what was not waited for, until it ends
FUSES = {"closed": 0.0, "probing": 1.0, "open": 2.0}


class NotReady(StoreError):
    """The plane runs, and should be asked nothing now."""


class Health:
    def __init__(
        self,
        store: Store,
        live: Releases,
        systems: Systems,
        background: Background,
        telemetry: Telemetry,
        sealer: Sealer | None = None,
    ) -> None:
        self._store, self._live, self._systems, self._sealer = store, live, systems, sealer
        self._background, self._telemetry = background, telemetry
        self.draining = False
        self._figures: tuple[float, Figures] | None = None

    async def ready(self) -> None:
        """Raises what keeps the plane from answering."""
        if self.draining:
            raise NotReady("the plane is being stopped", next="Ask another plane; requests under way come to an end.")
        await self._answers()
        self._live.need()
        for name, seconds in self._background.stuck().items():
            raise NotReady(
                f"work in the background ({name}) has not gone on for {seconds:.0f} s",
                next="The log of the plane says why; `cxplane doctor` looks further.",
            )

    async def _answers(self) -> None:
        """StoreUnavailable, in time for whoever asks: a store may also hang."""
        try:
            await _in_time(self._store.ping())
        except TimeoutError:
            raise StoreUnavailable(f"the store does not answer within {PATIENCE_S:g} s") from None

    async def checks(self) -> list[Check]:
        """All that `ready` looks at, and what is no reason to ask another plane."""
        found = [Check("draining", "fail" if self.draining else "ok", "being stopped" if self.draining else "no")]
        try:
            await self._answers()
            found.append(Check("store", "ok", f"answers; appends take {self._store.append_s * 1000:.0f} ms"))
        except CxplaneError as problem:
            found.append(Check("store", "fail", str(problem), problem.next))
        live = self._live.live
        if live is None:
            trouble = self._live.trouble or "none is live"
            found.append(Check("release", "fail", trouble, "Run `cxplane release` in the control repo."))
        else:
            newer = self._live.trouble
            found.append(Check("release", "warn" if newer else "ok", newer or live.release.short))
        stuck = self._background.stuck()
        said = ", ".join(f"{name} for {seconds:.0f} s" for name, seconds in stuck.items())
        found.append(Check("background", "fail" if stuck else "ok", said or "goes on", "See the log." if stuck else ""))
        if self._sealer is not None:
            found.append(Check("seal", "warn" if self._sealer.trouble else "ok", self._sealer.trouble or "goes on"))
        for system, fuse in self._systems.states().items():
            status = "ok" if str(fuse) == "closed" else "warn"
            found.append(Check(f"system {system}", status, f"its circuit breaker is {fuse}"))
        return found

    async def measure(self) -> None:
        """Set the gauges. Raises StoreUnavailable; what needs no store is set even then."""
        gauge = self._telemetry.gauge
        for system, fuse in self._systems.states().items():
            gauge("breaker", FUSES[str(fuse)], {"system": system})
        gauge("runs_at_hand", self._background.at_hand)
        for name, value in (await self._store.stats()).items():
            gauge("store", value, {"what": name})
        if self._figures is None or time.monotonic() - self._figures[0] > FIGURES_S:
            self._tell(await self._store.figures())

    def _tell(self, figures: Figures) -> None:
        gauge = self._telemetry.gauge
        before = self._figures[1] if self._figures else figures
        self._figures = (time.monotonic(), figures)
        for what, seconds in figures.late_s.items():
            gauge("late_seconds", seconds, {"what": what})
        for status in {*before.runs, *figures.runs}:
            gauge("runs", figures.runs.get(status, 0), {"status": status})
        for kind, status in {*before.jobs, *figures.jobs}:
            gauge("jobs", figures.jobs.get((kind, status), 0), {"kind": kind, "status": status})
        gauge("open_tasks", figures.open_tasks)


async def _in_time(work: Coroutine[Any, Any, None]) -> None:
    """TimeoutError, if it takes longer; who asks does not wait for its end either: a store that hangs hangs there too."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
    if not done:
        _LEFT.add(task)
        task.add_done_callback(_end)
        task.cancel()
        raise TimeoutError
    await task


def _end(task: asyncio.Future[None]) -> None:
    _LEFT.discard(task)
    if not task.cancelled():
        task.exception()  # nobody waits for it; the next one says the same


async def numbers(health: Health, telemetry: Telemetry) -> tuple[bytes, str]:
    """All metrics, measured anew where the store answers, and their media type."""
    try:
        await _in_time(health.measure())
        await health.ready()
        telemetry.gauge("ready", 1)
    except (StoreError, TimeoutError):
        telemetry.gauge("ready", 0)
    return telemetry.render()
