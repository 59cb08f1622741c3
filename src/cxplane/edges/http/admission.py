"""How many requests are worked on at once, and who is next.

A plane that takes more than it can do well answers everybody late. So requests wait outside, not inside, and not for long:

- **The limit** follows what the plane measures of itself, not a guess: as long as its event loop and the store's commits are
  on time, more may come in whenever somebody waits, the more the less late they are; when either is late, the limit goes
  down by a tenth or faster. Time that a request waits for a business system makes nobody late and does not lower it.
- **The queue** is bounded twice: by its length, and by `patience_s`. Who cannot expect a place within that time is told at
  once (429, Retry-After), so that accepted requests stay quick and refused ones cost next to nothing.
- **Who is next**: the tenant, then the caller, that has the fewest in work, and among equals the one that was served
  longest ago. Nobody has more than four fifths of all places. A caller at a low rate passes the queue of a noisy one; a full
  queue makes room for it at the end of the longest line.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from cxplane.domain.errors import Overloaded

Share = tuple[str, str]  # tenant, caller

FLOOR, FIRST = 32, 64  # places: never fewer, and at the start
MOST_OF_ONE = 0.8
LOOK_S, LOOKS = 0.02, 5  # between two looks at the event loop; looks between two changes of the limit
LATE_LOOP_S = 0.03  # a loop that is this late makes a request of a dozen turns a third of a second late
LATE_STORE_S = 0.1  # from an append to its commit


class Refused(Overloaded):
    """No place. `why`: full | waited, as the metric says it."""

    def __init__(self, why: str, retry_after_s: float) -> None:
        self.why = why
        super().__init__("more is asked than this plane does well at once", retry_after_s=retry_after_s)


@dataclass(slots=True, eq=False)
class _Waiter:
    share: Share
    granted: asyncio.Future[None]
    expiry: asyncio.TimerHandle


class Place:
    """Among those in work. Given back once, whatever happens."""

    __slots__ = ("_admission", "_held", "_share")

    def __init__(self, admission: Admission, share: Share) -> None:
        self._admission, self._share, self._held = admission, share, True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._admission._left(self._share)

    def take_again(self) -> None:
        """After a rest: who has begun is let end, whatever the limit says."""
        if not self._held:
            self._held = True
            self._admission._entered(self._share)


class Admission:
    """One lane. `store_late_s`: how long appends took of late; None where nothing is measured and the limit stays."""

    def __init__(
        self, most: int, *, queue: int, patience_s: float, store_late_s: Callable[[], float] | None = None
    ) -> None:
        self._most, self._queue, self._patience_s, self._store_late_s = most, queue, patience_s, store_late_s
        self.limit = most if store_late_s is None else min(most, FIRST)
        self.taken = self.waiting = 0
        self.late_s = 0.0  # the event loop, of late
        self._held: Counter[Share] = Counter()
        self._tenants: Counter[str] = Counter()
        self._served: dict[
            Share, int
        ] = {}  # when it last got a place; callers are those of releases, so they are bounded
        self._lines: dict[Share, deque[_Waiter]] = {}
        self._rate: float | None = None  # places given a second while somebody waits
        self._given = self._entries = 0
        self._wanted = False
        self._looking = False

    # coming and going --------------------------------------------------------------------------------

    async def enter(self, share: Share) -> Place:
        """A place, at once or after a wait. Refused where there is none in time."""
        if not self.waiting and self._free(share):
            self._entered(share)
            return Place(self, share)
        self._wanted = True
        if (refused := self.hopeless(share)) is not None:
            raise refused
        if self.waiting >= self._queue:
            self._make_room(share)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(share, loop.create_future(), None)  # type: ignore[arg-type]
        waiter.expiry = loop.call_later(self._patience_s, self._expired, waiter)
        self._lines.setdefault(share, deque()).append(waiter)
        self.waiting += 1
        self._look()
        self._give()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._left(share)
            else:
                self._forget(waiter)
            raise
        return Place(self, share)

    def hopeless(self, share: Share) -> Refused | None:
        """Why this caller cannot expect a place in time; None if it can, or if nobody knows."""
        line = self._lines.get(share)
        if not line:
            return None
        expected_s = 0.0
        if self._rate:
            expected_s = (len(line) + 1) * len(self._lines) / self._rate
        full = self.waiting >= self._queue and len(line) >= max(map(len, self._lines.values()))
        if full or expected_s > self._patience_s:
            self._wanted = True
            return Refused("full", _retry_after_s(expected_s))
        return None

    def _free(self, share: Share) -> bool:
        most = self.limit if self.limit < 5 else math.ceil(self.limit * MOST_OF_ONE)
        return self.taken < self.limit and self._held[share] < most

    def _entered(self, share: Share) -> None:
        self.taken += 1
        self._entries += 1
        self._served[share] = self._entries
        self._held[share] += 1
        self._tenants[share[0]] += 1
        self._look()

    def _left(self, share: Share) -> None:
        self.taken -= 1
        for held, key in ((self._held, share), (self._tenants, share[0])):
            held[key] -= 1  # type: ignore[index]
            if not held[key]:  # type: ignore[index]
                del held[key]
        self._give()

    # the queue ---------------------------------------------------------------------------------------

    def _give(self) -> None:
        """Places that are free to those who are next."""
        while self.waiting and self.taken < self.limit:
            free = [line for share, line in self._lines.items() if self._free(share)]
            if not free:
                return
            line = min(free, key=self._turn)
            waiter = line[0]
            self._forget(waiter)
            if waiter.granted.done():  # it goes away, and has not heard of it yet
                continue
            self._given += 1
            self._entered(waiter.share)
            waiter.granted.set_result(None)

    def _turn(self, line: deque[_Waiter]) -> tuple[int, int, int]:
        share = line[0].share
        return self._tenants[share[0]], self._held[share], self._served.get(share, 0)

    def _make_room(self, share: Share) -> None:
        """The last of the longest line goes. Refused if that would be the newcomer."""
        longest = max(self._lines.values(), key=len)
        if len(self._lines.get(share, ())) + 1 >= len(longest):
            raise Refused("full", _retry_after_s(self._patience_s))
        self._send_away(longest[-1], "full")

    def _expired(self, waiter: _Waiter) -> None:
        self._send_away(waiter, "waited")

    def _send_away(self, waiter: _Waiter, why: str) -> None:
        if not waiter.granted.done():
            self._forget(waiter)
            waiter.granted.set_exception(Refused(why, _retry_after_s(self._patience_s)))

    def _forget(self, waiter: _Waiter) -> None:
        waiter.expiry.cancel()
        line = self._lines.get(waiter.share)
        if line is None or waiter not in line:
            return
        line.remove(waiter)
        self.waiting -= 1
        if not line:
            del self._lines[waiter.share]

    # the limit ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Measure while there is work; an idle plane sleeps."""
        if self._looking or self._store_late_s is None:
            return
        self._looking = True
        self._given, self._wanted, self.late_s = 0, False, 0.0
        self._next_look(0, time.perf_counter())

    def _next_look(self, n: int, began: float) -> None:
        asyncio.get_running_loop().call_later(LOOK_S, self._looked, n, began, time.perf_counter() + LOOK_S)

    def _looked(self, n: int, began: float, due: float) -> None:
        now = time.perf_counter()
        self.late_s += 0.3 * (max(0.0, now - due) - self.late_s)
        if n + 1 < LOOKS:
            self._next_look(n + 1, began)
            return
        self._adjust(now - began)
        if self.taken or self.waiting:
            self._next_look(0, now)
        else:
            self._looking = False

    def _adjust(self, took_s: float) -> None:
        assert self._store_late_s is not None
        late = max(self.late_s / LATE_LOOP_S, self._store_late_s() / LATE_STORE_S)
        if late > 1:
            self.limit = max(min(self._most, FLOOR), int(self.limit * (0.9 if late < 2 else 0.7)))
        elif self._wanted or self.waiting:
            room = max(0.0, 1 - 2 * late)  # nothing is late: those who come may well only wait for a system
            self.limit = min(self._most, self.limit + max(1, int(self.limit * (0.05 + 0.45 * room))))
        if self.waiting and self._given:
            rate = self._given / took_s
            self._rate = rate if self._rate is None else self._rate + 0.3 * (rate - self._rate)
        elif not self._wanted and not self.waiting:
            self._rate = None  # nobody waits: what it was is of no use to the next storm
        self._given, self._wanted = 0, False
        self._give()


def _retry_after_s(expected_s: float) -> float:
    """Whole seconds, spread, so that they do not all come back in the same moment."""
    return float(max(1, math.ceil(expected_s)) + random.randint(0, 1))  # noqa: S311
