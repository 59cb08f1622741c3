"""Runs that this worker begins with as soon as it has started them, without a way through the queue.

They are its own as long as it shows signs of life; what it cannot do, or does not come to, goes into the queue like the rest.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from cxplane.domain.errors import CxplaneError, Malformed, Overloaded, where_it_broke
from cxplane.domain.record import TakenRun
from cxplane.ports.store import Store

log = logging.getLogger("cxplane.journeys")

GRACE_S = 5.0  # for legs under way when the worker stops
BEATS = 4  # signs of life in a lease
AWHILE_S = 10.0
SOME = 200  # runs that go into the queue in one statement
SHARE = 8  # of what a worker does at once, at hand while there are others: they take the rest from the queue
LONG_S = 5.0  # at hand for so long: told to the store, so that nobody takes it for left lying


class AtHand:
    """`room` for one more, then `starting` and `begin`. Closed until `open`, and in a plane that does not work."""

    def __init__(self, tenant: str, store: Store, lease: timedelta, most: int, wake: Callable[[], None]) -> None:
        self._tenant, self._store, self._lease, self._most, self._wake = tenant, store, lease, most, wake
        self._work: Callable[[TakenRun], Awaitable[None]] | None = None
        self._others = 0
        self._starting: Counter[str] = Counter()  # runs whose start is on its way to the record
        self._under_way: dict[asyncio.Task[None], tuple[str, float]] = {}
        self._dropped: dict[str, float] = {}  # runs for the queue -> since when
        self._some_dropped = asyncio.Event()

    def open(self, work: Callable[[TakenRun], Awaitable[None]]) -> None:
        """`work`: one leg after another of a run, to its next wait."""
        self._work = work

    def room(self) -> bool:
        """With other workers about, most goes through the queue, from which each takes as much as it can do."""
        most = self._most // SHARE if self._others else self._most
        return self._work is not None and self._starting.total() + len(self._under_way) < most

    @property
    def count(self) -> int:
        return len(self._under_way)

    @contextmanager
    def starting(self, run: str) -> Iterator[None]:
        """Around the write that starts it, and `begin`. Where nobody knows whether it is on record, the queue shall have it."""
        self._starting[run] += 1
        try:
            yield
        except (Malformed, Overloaded):  # certainly not
            raise
        except BaseException:
            self._drop(run)
            raise
        finally:
            self._starting[run] -= 1
            if not self._starting[run]:
                del self._starting[run]

    def begin(self, taken: TakenRun) -> None:
        run = taken.row.id
        if self._work is None:  # it was closed meanwhile
            self._drop(run)
            return
        self._dropped.pop(run, None)
        # in a context of its own: nothing of whoever started the run belongs to its legs
        task = asyncio.create_task(self._do(self._work, taken), context=contextvars.Context())
        self._under_way[task] = (run, time.monotonic())
        task.add_done_callback(lambda done: self._under_way.pop(done, None))

    async def _do(self, work: Callable[[TakenRun], Awaitable[None]], taken: TakenRun) -> None:
        run = taken.row.id
        try:
            await work(taken)
        except asyncio.CancelledError:
            self._drop(run)
        except Exception as problem:
            told = str(problem) if isinstance(problem, CxplaneError) else where_it_broke(problem)
            log.warning("run %s goes into the queue: %s", run, told)
            self._drop(run)

    async def beat(self) -> None:
        """Signs of life. For a while: whoever calls again knows that it goes on."""
        until = time.monotonic() + AWHILE_S
        while True:
            await self._beat()
            if time.monotonic() > until:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._some_dropped.wait(), self._lease.total_seconds() / BEATS)

    async def _beat(self) -> None:
        runs = self._store.runs
        if self._dropped:
            await self._let_go()
        now = time.monotonic()
        long = [run for run, since in self._under_way.values() if now - since > LONG_S]
        self._others, woken = await runs.at_work(self._tenant, lease=self._lease, runs=long)
        if woken:
            log.warning("%d runs of a worker that is gone are put into the queue", woken)
            self._wake()

    async def close(self) -> None:
        """Begin nothing more. What is under way gets a moment to end."""
        self._work = None
        until = time.monotonic() + GRACE_S
        while self._starting and time.monotonic() < until:  # noqa: ASYNC110 -- a moment at the very end
            await asyncio.sleep(0.01)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=max(0.0, until - time.monotonic()))
        for task in list(self._under_way):
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=GRACE_S)

    async def leave(self) -> None:
        """After the last leg of this worker: what is left goes into the queue."""
        try:
            await self._let_go(leaving=True)
        except CxplaneError as problem:  # after a lease another worker puts it there
            log.info("what was at hand is left to the lease: %s", problem)

    def _drop(self, run: str) -> None:
        self._dropped[run] = time.monotonic()
        self._some_dropped.set()

    async def _let_go(self, *, leaving: bool = False) -> None:
        """Asked again for a while: a start whose answer was lost may come on record a moment later."""
        self._some_dropped.clear()
        mine = {run for run, _ in self._under_way.values()} | self._starting.keys()
        dropped = [run for run in self._dropped if run not in mine]
        gone = 0
        for some in range(0, max(1, len(dropped)), SOME):
            gone += await self._store.runs.let_go(self._tenant, dropped[some : some + SOME], leaving=leaving)
        if gone:
            self._wake()
        old = time.monotonic() - AWHILE_S
        self._dropped = {run: since for run, since in self._dropped.items() if since > old}
