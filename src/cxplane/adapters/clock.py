"""The wall clock: this machine's, or the store's, which all planes and workers share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from cxplane.domain.errors import CxplaneError

log = logging.getLogger("cxplane.clock")

EVERY_S = 5.0  # between two looks at the store's clock
SLOW_S = 2.0  # an answer that took longer tells too little
_WHICH: int | None = getattr(time, "CLOCK_BOOTTIME", None)
WRONG_S = 5.0  # by so much this machine's clock may differ before it is said


class SystemClock:
    """The machine's time. With a fixed business time (demos, tests), facts and policies see that one instead."""

    def __init__(self, fixed_business_now: datetime | None = None) -> None:
        if fixed_business_now is not None and fixed_business_now.tzinfo is None:
            raise ValueError("the fixed business time needs a time zone, such as 2026-01-05T10:00:00Z")
        self._fixed = None if fixed_business_now is None else fixed_business_now.astimezone(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def business_now(self) -> datetime:
        return self._fixed if self._fixed is not None else self.now()


class StoreClock(SystemClock):
    """The store's time, carried on by what this machine counts since it started: a wall clock that is wrong or steps does nothing.

    `look()` before the first `now()`, then `follow()`. Off by half of what a question to the store takes, at most.
    """

    def __init__(self, ask: Callable[[], Awaitable[datetime]], fixed_business_now: datetime | None = None) -> None:
        super().__init__(fixed_business_now)
        self._ask = ask
        self._ahead: float | None = None  # of the store's time, in seconds since 1970, to ours by `_count`
        self._said = False

    def now(self) -> datetime:
        return self._then(_count())

    async def look(self) -> None:
        """Compare with the store. What fits stays as it is, so that time does not tremble. Errors of the store."""
        before = _count()
        told = await self._ask()
        after = _count()
        if self._ahead is not None and (after - before > SLOW_S or self._then(before) <= told <= self._then(after)):
            return
        self._ahead = told.timestamp() - (before + after) / 2
        wrong = (datetime.now(UTC) - self.now()).total_seconds()
        if abs(wrong) > WRONG_S and not self._said:
            log.warning("this machine's clock is off by %.0f s; times are those of the store", wrong)
        self._said = abs(wrong) > WRONG_S

    async def follow(self) -> None:
        """For ever. A store that does not answer is asked again; time goes on meanwhile."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.look()
            except CxplaneError as problem:
                log.debug("the store does not tell the time: %s", problem)

    def _then(self, count: float) -> datetime:
        assert self._ahead is not None, "look at the store's clock first"
        return datetime.fromtimestamp(count + self._ahead, UTC)


def _count() -> float:
    """Seconds that nobody sets, sleep of the machine included where it tells."""
    return time.monotonic() if _WHICH is None else time.clock_gettime(_WHICH)
