"""Whether this process has been awake all the time: one that slept past its lease may not act on what it took before."""

from __future__ import annotations

import asyncio
import time

from cxplane.domain.catalog import Action
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import FailureKind, SystemFailure
from cxplane.domain.values import JsonObject
from cxplane.ports.systems import Connector, Reply

BEATS = 8  # in the longest pause that is none


class Pulse:
    """`naps` counts the times that the process was stopped (SIGSTOP, a suspended machine) for longer than `longest_s`."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._last = time.monotonic()
        self._naps = 0

    async def beat(self) -> None:
        """For ever."""
        while True:
            self.naps()
            self._last = time.monotonic()
            await asyncio.sleep(self._longest_s / BEATS)

    def naps(self) -> int:
        now = time.monotonic()
        if now - self._last > self._longest_s:
            self._naps += 1
            self._last = now
        return self._naps


class Awake:
    """Whether the process has been awake since something was taken. It stands alone, so that who holds it makes no cycle."""

    __slots__ = ("_naps", "_pulse")

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.took()

    def took(self) -> None:
        """It has been taken just now."""
        self._naps = self._pulse.naps()

    def still(self) -> bool:
        return self._pulse.naps() == self._naps

    def using(self, systems: Connector) -> WhileAwake:
        return WhileAwake(systems, self)


class WhileAwake:
    """The systems, for as long as whoever asks still holds what it took. After that nothing is sent any more."""

    def __init__(self, systems: Connector, awake: Awake) -> None:
        self._systems, self._awake = systems, awake

    async def read(self, action: Action, input: JsonObject, *, timeout_s: float) -> Reply:
        self._look(action)
        return await self._systems.read(action, input, timeout_s=timeout_s)

    async def write(self, action: Action, allowed: Allowed, *, timeout_s: float) -> Reply:
        self._look(action)
        return await self._systems.write(action, allowed, timeout_s=timeout_s)

    async def preview(self, action: Action, input: JsonObject) -> JsonObject:
        return await self._systems.preview(action, input)

    async def aclose(self) -> None:
        """They belong to the plane."""

    def _look(self, action: Action) -> None:
        if not self._awake.still():
            raise SystemFailure(
                action.system, "nothing: this worker was paused and was not asked to go on", kind=FailureKind.RETRY
            )
