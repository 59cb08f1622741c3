"""Appends, batched: what waits while one commit is under way goes into the next, in one call and one commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from datetime import date
from typing import Any

import asyncpg

from cxplane.adapters.postgres.connect import GONE, MALFORMED, PATIENCE_S, Held, asking, connect, malformed
from cxplane.adapters.postgres.encoding import Waiting, encode, ends
from cxplane.domain.errors import KeyDestroyed, Overloaded, StoreError, StoreUnavailable, where_it_broke
from cxplane.domain.record import (
    Appended,
    AppendResult,
    BudgetExhausted,
    Changed,
    Fenced,
    KeyTaken,
    Moved,
    RequestTaken,
    RunTaken,
    SignalTaken,
    Write,
)
from cxplane.domain.values import JsonObject

log = logging.getLogger("cxplane.store")

BATCH = 200  # writes in one commit
BATCH_BYTES = 8_000_000  # of JSON in one commit, a single write apart
STALE_S = 1.0  # after that, how long appends took says nothing about now
WAITING = 20_000  # writes that may wait before callers are sent away
ANALYZE = (100, 1_000, 10_000)  # writes of a process after which the planner is told what the tables hold

# Plans are kept; those made while the tables were empty may take any index, and autovacuum looks only now and then. What the
# planner knows is left alone: to look at a table of a hundred thousand rows takes a tenth of a second of the server's time.
_OUTGROWN = """
select 'cxplane.' || relname as name from pg_class
where relnamespace = 'cxplane'::regnamespace and relkind = 'r' and relname = any (array['request', 'claim', 'budget_use', 'intent',
    'approval', 'customer', 'conversation', 'run', 'mailbox', 'inbox', 'timer', 'listen', 'recent', 'signal', 'task', 'pgqueuer'])
and (reltuples < 0 or pg_relation_size(oid) > 2 * relpages * current_setting('block_size')::bigint)
"""
_APPEND = "select a from cxplane.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) a"
_TRANSIENT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.OutOfMemoryError,  # also: no room in the table of locks
    asyncpg.LockNotAvailableError,
)


class Writer:
    """One task and one connection. Each caller gets the result of its own write."""

    def __init__(self, dsn: str, access: Held, worker: str) -> None:
        """`worker`: who has the runs at hand that are written so."""
        self._dsn, self._access, self._worker = dsn, access, worker
        self._link: Any = None
        self._months: set[tuple[int, int]] = set()  # that have a partition
        self._releases: set[str] = set()  # that have a number
        self._queue: deque[Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._written = 0
        self._append_s, self._measured = 0.0, 0.0
        self._looking: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run(), name="cxplane-writer")

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def append_s(self) -> float:
        """Seconds from an append to its commit, of late; what has waited longer counts."""
        now = time.monotonic()
        oldest = now - self._queue[0].since if self._queue else 0.0
        return max(oldest, self._append_s if now - self._measured < STALE_S else 0.0)

    async def append(self, write: Write, kept: Sequence[JsonObject | None], keys: Sequence[str] = ()) -> AppendResult:
        """`kept`: `private` of each entry, sealed; `keys`: ids of those that seal it. Raises Malformed, KeyDestroyed, Overloaded, StoreUnavailable (then it is on record or not: ask again with the same request id)."""
        if self._closing:
            raise StoreUnavailable("the store is being closed")
        if len(self._queue) >= WAITING:
            raise Overloaded("more is being written than the store takes", retry_after_s=1.0)
        item = encode(write, asyncio.get_running_loop().create_future(), kept, keys)
        self._queue.append(item)
        self._wake.set()
        return await item.answer

    async def aclose(self) -> None:
        """What waits is still written."""
        self._closing = True
        self._wake.set()
        await asyncio.wait([self._task])
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await self._drop()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch: list[Waiting] = []
            size = 0
            while self._queue and len(batch) < BATCH and (not batch or size + len(self._queue[0].raw) <= BATCH_BYTES):
                if not (item := self._queue.popleft()).answer.done():  # nobody waits for it any more
                    batch.append(item)
                    size += len(item.raw)
            if not batch:
                continue
            try:
                await self._send(batch)
            except StoreUnavailable as problem:
                _fail([*batch, *self._queue], problem)  # who waited behind has waited as long
                self._queue.clear()
            except Exception as problem:
                _fail(batch, problem)
                if not isinstance(problem, StoreError):
                    log.error("appending failed: %s", where_it_broke(problem))
                    await self._drop()

    async def _send(self, batch: Sequence[Waiting]) -> None:
        link = await self._connected()
        for month in sorted({m for item in batch for m in item.months} - self._months):
            await self._ensure("select cxplane.ensure_month($1)", date(*month, 1))
            self._months.add(month)
        for release in sorted({r for item in batch for r in item.releases} - self._releases):
            await self._ensure("insert into cxplane.release_name (hash) values ($1) on conflict do nothing", release)
            self._releases.add(release)
        try:
            answers = await self._call(link, batch)
        except MALFORMED as problem:
            if len(batch) == 1:
                _fail(batch, malformed(problem))
                return
            await self._one_by_one(batch)
        except _TRANSIENT as problem:
            log.warning("appending again: %s", type(problem).__name__)
            await asyncio.sleep(0.01)
            if len(batch) == 1:
                with asking():
                    _settle(batch, await self._call(link, batch))
                return
            half = len(batch) // 2
            await self._send(batch[:half])
            await self._send(batch[half:])
        except GONE as problem:
            await self._drop()
            raise StoreUnavailable(f"Postgres went away while writing ({type(problem).__name__})") from None
        except asyncpg.PostgresError as problem:
            if len(batch) > 1:
                await self._one_by_one(batch)
                return
            log.error("a write cannot be kept: %s %s", type(problem).__name__, problem.sqlstate)
            with asking():
                raise
        else:
            _settle(batch, answers)
            self._measured = time.monotonic()
            self._append_s += 0.2 * (self._measured - batch[0].since - self._append_s)
            before, self._written = self._written, self._written + len(batch)
            if any(before < n <= self._written for n in ANALYZE):
                self._looking = asyncio.create_task(self._analyze())

    async def _one_by_one(self, batch: Sequence[Waiting]) -> None:
        """One of them is poisoned: the others must not suffer."""
        for item in batch:
            try:
                await self._send([item])
            except StoreUnavailable:
                raise  # for all that are left
            except Exception as problem:
                _fail([item], problem)

    async def _call(self, link: Any, batch: Sequence[Waiting]) -> list[Any]:
        rows = await link.fetch(
            _APPEND,
            b"[" + b",".join(item.raw for item in batch) + b"]",
            list({name for item in batch for name in item.names}),
            [tenant for item in batch for tenant, _ in item.settling],
            [id for item in batch for _, id in item.settling],
            *([call[n] for item in batch for call in item.calling] for n in range(3)),
            *([key[n] for key in {key for item in batch for key in item.sealing}] for n in range(2)),
            ends(batch),
            self._worker if any(item.at_hand for item in batch) else None,
        )
        return [row["a"] for row in rows]

    async def _ensure(self, sql: str, value: Any) -> None:
        """In a commit of its own, before the batch that needs it."""
        link = await self._connected()
        try:
            with asking():
                await link.execute(sql, value)
        except StoreUnavailable:
            await self._drop()
            raise

    async def _analyze(self) -> None:
        try:
            link = await connect(self._dsn, "cxplane analyze")
            try:
                if outgrown := [row["name"] for row in await link.fetch(_OUTGROWN)]:
                    await link.execute(f"analyze {', '.join(outgrown)}")
            finally:
                link.terminate()
        except (StoreError, asyncpg.PostgresError, *GONE) as problem:
            log.info("the planner was not told what the tables hold: %s", type(problem).__name__)

    async def _connected(self) -> Any:
        if self._link is not None and not self._link.is_closed():
            return self._link
        self._link = None
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                self._link = await connect(self._dsn, "cxplane writer", self._access, planned=True)
                return self._link
            except StoreUnavailable:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(0.05)

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.terminate()


def _fail(batch: Sequence[Waiting], problem: Exception) -> None:
    for item in batch:
        if not item.answer.done():
            item.answer.set_exception(problem)
            item.answer.exception()  # a caller who left does not make it a warning


def _settle(batch: Sequence[Waiting], answers: Sequence[Any]) -> None:
    for item, answer in zip(batch, answers, strict=True):
        if item.answer.done():
            continue
        if "gone" in answer:
            _fail([item], KeyDestroyed(answer["gone"]))
        else:
            item.answer.set_result(_result(answer))


def _result(answer: dict[str, Any]) -> AppendResult:
    if "p" in answer:
        return Appended(tuple(answer["p"]), "w" in answer, "m" in answer, answer.get("s", 0))
    if "fenced" in answer:
        return Fenced(answer["fenced"])
    if "changed" in answer:
        return Changed(answer["changed"])
    if "signal" in answer:
        return SignalTaken(answer["signal"])
    if "run" in answer:
        return RunTaken(answer["run"])
    if "taken" in answer:
        return RequestTaken(answer["taken"])
    if "moved" in answer:
        return Moved(*answer["moved"])
    if "key" in answer:
        return KeyTaken(*answer["key"])
    return BudgetExhausted(*answer["budget"])
