"""Limits around a connector: so many calls at once, so many a second, none while a system is down.

Every call goes through here, reads for facts too. When a system is tried again after a pause, the others wait a moment for what that
one call finds out: after an outage they do not lose another round. Waiting is first come, first served, and takes no more than half of
the call's time limit; the call gets the rest. The state is this process's; each plane and worker keeps its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum

from cxplane.connectors.failures import NotTheSystem
from cxplane.domain.catalog import Action, Breaker, System
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import CxplaneError, FailureKind, SystemFailure
from cxplane.domain.values import JsonObject
from cxplane.ports.systems import Connector, Reply

Seconds = Callable[[], float]  # a clock that only goes forward
PROBE_S = 1.0  # how long a call waits for the one that finds out, at most


class Fuse(StrEnum):
    CLOSED = "closed"  # calls go through
    OPEN = "open"  # calls fail at once
    PROBING = "probing"  # one call finds out


class CircuitBreaker:
    """After `failures` in a row nothing is called for `open_for`; then one call finds out for all."""

    def __init__(self, limits: Breaker, now: Seconds = time.monotonic) -> None:
        self._limits, self._now = limits, now
        self._failed = 0
        self._opened_at: float | None = None
        self._probing = False
        self._found_out = asyncio.Event()

    @property
    def state(self) -> Fuse:
        if self._opened_at is None:
            return Fuse.CLOSED
        return Fuse.PROBING if self._probing or self.wait_s() <= 0 else Fuse.OPEN

    def wait_s(self) -> float:
        """Seconds until a call is let through again; 0 if one is."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._limits.open_for.total_seconds() - self._now())

    def blocks(self) -> bool:
        return self._opened_at is not None and (self._probing or self.wait_s() > 0)

    def enter(self) -> bool:
        """Call when a call starts; True if it is the one that finds out."""
        if self._opened_at is None:
            return False
        self._probing = True
        self._found_out.clear()
        return True

    async def found_out(self, most_s: float) -> None:
        """When the call that finds out has ended, or after that time. At once if there is none."""
        until = self._now() + most_s
        while self._probing and (left_s := until - self._now()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._found_out.wait()

    def leave(self, *, well: bool | None, probe: bool) -> None:
        """Call when it ended; None: it told nothing about the system."""
        if probe:
            self._probing = False
            self._found_out.set()
        if well is True:
            if probe or self._opened_at is None:
                self._failed, self._opened_at = 0, None
        elif well is False:
            self._failed += 1
            if probe or self._failed >= self._limits.failures:
                self._opened_at = self._now()


class Pace:
    """At most `rate` calls a second, in the order they came; a tenth of a second's worth may go at once."""

    def __init__(self, rate: float, now: Seconds = time.monotonic) -> None:
        self._step = 1.0 / rate
        self._burst = max(0.0, max(1.0, rate / 10) - 1) * self._step
        self._now, self._next = now, 0.0

    def reserve(self, most_s: float) -> float | None:
        """Seconds to wait for one's turn, which is then taken; None if that is longer than `most_s`."""
        now = self._now()
        turn = max(self._next, now - self._burst)
        wait = max(0.0, turn - now)
        if wait > most_s:
            return None
        self._next = turn + self._step
        return wait


class _Limited:
    """One thing with a pace and a number of places: a system or an action."""

    def __init__(self, name: str, rate: float | None, concurrency: int | None) -> None:
        self.name, self.concurrency = name, concurrency
        self.pace = Pace(rate) if rate else None
        self.places = asyncio.Semaphore(concurrency) if concurrency else None


class Guards:
    """The limits of all systems and actions of this process. A release that changes no limit shares its state."""

    def __init__(self) -> None:
        self._limited: dict[object, _Limited] = {}
        self._breakers: dict[object, CircuitBreaker] = {}

    def limited(self, name: str, rate: float | None, concurrency: int | None) -> _Limited:
        key = (name, rate, concurrency)
        if key not in self._limited:
            self._limited[key] = _Limited(name, rate, concurrency)
        return self._limited[key]

    def breaker(self, system: System) -> CircuitBreaker:
        key = (system.id, system.breaker)
        if key not in self._breakers:
            self._breakers[key] = CircuitBreaker(system.breaker)
        return self._breakers[key]


class Guarded:
    """A Connector with the limits of its systems and actions around it."""

    def __init__(self, inner: Connector, systems: Mapping[str, System], guards: Guards | None = None) -> None:
        self._inner, self._systems = inner, dict(systems)
        self._guards = guards or Guards()

    async def read(self, action: Action, input: JsonObject, *, timeout_s: float) -> Reply:
        return await self._placed(action, timeout_s, lambda left_s: self._inner.read(action, input, timeout_s=left_s))

    async def write(self, action: Action, allowed: Allowed, *, timeout_s: float) -> Reply:
        return await self._placed(
            action, timeout_s, lambda left_s: self._inner.write(action, allowed, timeout_s=left_s)
        )

    async def preview(self, action: Action, input: JsonObject) -> JsonObject:
        return await self._inner.preview(action, input)

    def states(self) -> Mapping[str, Fuse]:
        """System -> state of its breaker, for health and metrics."""
        return {id: self._guards.breaker(system).state for id, system in self._systems.items()}

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _placed(self, action: Action, timeout_s: float, call: Callable[[float], Awaitable[Reply]]) -> Reply:
        """The call, once it has a place and a turn, with the seconds that are left for it."""
        began = time.monotonic()
        system = self._systems.get(action.system) or System(id=action.system, owner="")
        breaker = self._guards.breaker(system)
        most_s = timeout_s / 2
        await self._closed(breaker, system, min(PROBE_S, most_s))
        limits = (
            self._guards.limited(action.id, action.limits.rate, action.limits.concurrency),
            self._guards.limited(system.id, system.rate, system.concurrency),
        )
        held: list[asyncio.Semaphore] = []
        try:
            await self._wait(limits, held, system, began + most_s - time.monotonic())
            # it may have gone down while we waited
            await self._closed(breaker, system, min(PROBE_S, began + most_s - time.monotonic()))
            probe = breaker.enter()
            well: bool | None = None
            try:
                reply = await call(timeout_s - (time.monotonic() - began))
                well = True
                return reply
            except NotTheSystem:
                raise
            except SystemFailure as failure:
                well = failure.kind is FailureKind.REFUSED  # it answered
                raise
            except CxplaneError:
                raise
            except Exception:
                well = False
                raise
            finally:
                breaker.leave(well=well, probe=probe)
        finally:
            for places in held:
                places.release()

    async def _wait(
        self, limits: tuple[_Limited, ...], held: list[asyncio.Semaphore], system: System, timeout_s: float
    ) -> None:
        until = time.monotonic() + timeout_s
        try:
            for limited in limits:
                if (places := limited.places) is None:
                    continue
                if places.locked():
                    async with asyncio.timeout(until - time.monotonic()):
                        await places.acquire()
                else:
                    await places.acquire()  # at once
                held.append(places)
        except TimeoutError:
            raise NotTheSystem(
                system.id,
                f"nothing, it was not called: no place became free within {timeout_s:.2g} s",
                kind=FailureKind.RETRY,
            ) from None
        for limited in limits:
            if limited.pace is None:
                continue
            wait_s = limited.pace.reserve(until - time.monotonic())
            if wait_s is None:
                raise NotTheSystem(
                    system.id,
                    f"nothing, it was not called: {limited.name} is at its rate limit",
                    kind=FailureKind.RETRY,
                )
            if wait_s > 0:
                await asyncio.sleep(wait_s)

    async def _closed(self, breaker: CircuitBreaker, system: System, most_s: float) -> None:
        """At once while all is well. Waits for a call that finds out; NotTheSystem if nothing is to be called."""
        if not breaker.blocks():
            return
        await breaker.found_out(most_s)
        if breaker.blocks():
            wait_s = max(breaker.wait_s(), 0.05)
            raise NotTheSystem(
                system.id,
                f"nothing, it was not called: it failed several times in a row, calls pause for {wait_s:.0f} s more",
                kind=FailureKind.RETRY,
                retry_after_s=max(wait_s, 1.5),
            )
