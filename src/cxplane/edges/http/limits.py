"""How much one plane takes: a rate for each caller, and a number of requests at once for all."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cxplane.domain.errors import Overloaded, StoreError

BODY_BYTES = 256 * 1024
BODY_SECONDS = 10.0
ADDRESS_BYTES = 4096
WAIT_SECONDS = 60.0

URGENT = 32  # places for what must get through: approvals, tasks, steering, people who look
URGENT_QUEUE, URGENT_PATIENCE_S = 128, 5.0


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Set in the environment, each with the prefix `CXPLANE_HTTP_`: RATE, BURST, IN_FLIGHT, QUEUE, PATIENCE, WAITING, LISTENERS."""

    rate: float = 1000.0  # requests per second and caller
    burst: float = 2000.0  # how many may come at once after a silence
    in_flight: int = (
        512  # requests being worked on at most, all callers together; the plane finds out how many are well
    )
    queue: int = 1000  # requests that wait for a place
    patience_s: float = 1.0  # how long one waits for a place
    waiting: int = 1000  # requests that wait for an outcome (`wait`), all callers together
    listeners: int = 200  # who listens to the record as it grows

    @property
    def inside(self) -> int:
        """Requests that this process holds at all, whatever they wait for: a bound of its memory."""
        return self.in_flight + self.queue + self.waiting + URGENT + URGENT_QUEUE

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> HttpLimits:
        """StoreError if one of them is no positive number."""
        env = os.environ if environ is None else environ

        def number(name: str, default: float) -> float:
            text = env.get(f"CXPLANE_HTTP_{name}", "")
            try:
                value = float(text) if text else default
            except ValueError:
                value = 0.0
            if not 0 < value < 1e9:
                raise StoreError(f"CXPLANE_HTTP_{name} must be a positive number", next="Mend it, then start again.")
            return value

        return cls(
            rate=number("RATE", cls().rate),
            burst=number("BURST", max(cls().burst, 2 * number("RATE", cls().rate))),
            in_flight=max(1, int(number("IN_FLIGHT", cls().in_flight))),
            queue=max(1, int(number("QUEUE", cls().queue))),
            patience_s=number("PATIENCE", cls().patience_s),
            waiting=int(number("WAITING", cls().waiting)),
            listeners=int(number("LISTENERS", cls().listeners)),
        )


class Buckets:
    """One token bucket for each caller. Callers are those of the release, so their number is bounded."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Overloaded if the caller has none left."""
        now = time.monotonic()
        left, since = self._left.get(caller, (self._limits.burst, now))
        left = min(self._limits.burst, left + (now - since) * self._limits.rate)
        if left < 1:
            self._left[caller] = (left, now)
            raise Overloaded(
                f"{caller} asks more than {self._limits.rate:g} times a second",
                retry_after_s=max(1.0, (1 - left) / self._limits.rate),
            )
        self._left[caller] = (left - 1, now)


class Slots:
    """Requests being worked on. Shedding early keeps those inside fast."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self.taken = 0

    def take(self) -> None:
        """Overloaded if all are taken."""
        if self.taken >= self._most:
            raise Overloaded(f"{self._most} {self._what} already", retry_after_s=1.0)
        self.taken += 1

    def give_back(self) -> None:
        self.taken -= 1
