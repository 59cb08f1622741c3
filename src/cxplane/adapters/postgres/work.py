"""Work in the background: PgQueuer on the same Postgres.

What PgQueuer gives: durable jobs, leases with heartbeats, take-over of a dead worker's jobs, delayed jobs. What is ours:
two waiting jobs of one kind and key are one; a job that fails waits longer each time, and one that never works is kept
as `failed`; a worker that stops gives its jobs back; nothing is notified inside a transaction that writes; nothing is
kept of finished jobs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from cxplane.adapters.postgres.access import Access
from cxplane.adapters.postgres.connect import COMMAND_S, CONNECT_S, as_it_was, asking, session
from cxplane.domain.errors import StoreUnavailable
from cxplane.domain.values import JsonObject
from cxplane.ports.work import Handler, Job, WorkState

if TYPE_CHECKING:
    from pgqueuer.core.qm import QueueManager

log = logging.getLogger("cxplane.work")

CHANNEL = "cxplane_work"
LEASE = timedelta(seconds=10)
POLL = timedelta(seconds=1)
FIRST_RETRY_S, LONGEST_RETRY_S, TRIES = 0.5, 300.0, 20
GRACE_S = 5.0  # for handlers under way when a worker stops
RECONNECT_S = 0.5

_ENQUEUE = """
insert into cxplane.pgqueuer as job (priority, entrypoint, payload, execute_after, dedupe_key, status, attempts, tenant)
values (0, $1, $2, coalesce($3, now() + $7::interval), $4, 'queued', $5, $6)
on conflict (dedupe_key) where status = 'queued'::cxplane.pgqueuer_status and dedupe_key is not null
do update set execute_after = least(job.execute_after, excluded.execute_after),
    payload = case when excluded.attempts = 0 then excluded.payload else job.payload end
"""
# the commit of a notification is not worth waiting for
_NOTIFY = "select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"


class _LeftToLease(BaseException):
    """Postgres cannot be told that a job was given up; whoever comes after the lease has it."""


class PgQueuerWork:
    """Work of one tenant; that of others is neither seen nor done.

    `lease`: after how long without a sign of life a worker's jobs go to another one."""

    def __init__(
        self,
        dsn: str,
        access: Access,
        *,
        lease: timedelta = LEASE,
        first_retry_s: float = FIRST_RETRY_S,
        tries: int = TRIES,
    ) -> None:
        self._access, self._channel = access, f"{CHANNEL}_{sha256(access.tenant.encode()).hexdigest()[:16]}"
        self._wakes = _told(self._channel)
        self._dsn, self._lease, self._first_retry_s, self._tries = dsn, lease, first_retry_s, tries
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._waking: asyncio.Task[None] | None = None
        self._down: float | None = None  # since when

    async def enqueue(self, key: str, kind: str, payload: JsonObject, *, due: datetime | None = None) -> None:
        await self._put(key, self._entrypoint(kind), msgspec.json.encode([key, dict(payload)]), due, 0)
        if due is None:
            self.wake()

    def wake(self) -> None:
        if self._waking is None or self._waking.done():
            self._waking = asyncio.create_task(self._wake())

    @property
    def down_s(self) -> float:
        return 0.0 if self._down is None else time.monotonic() - self._down

    async def inspect(self) -> Sequence[WorkState]:
        pool = await self._connected()
        with asking():
            found = await pool.fetch(
                "select entrypoint, status::text, count(*) from cxplane.pgqueuer where tenant = $1 group by 1, 2 order by 1, 2",
                self._access.tenant,
            )
        return [WorkState(row[0].partition("@")[0], row[1], row[2]) for row in found]

    async def run(self, handlers: Mapping[str, Handler], *, concurrency: int = 16) -> None:
        """A Postgres that goes away is waited for. Cancelled, it lets handlers end for a few seconds and gives back the rest."""
        said = False
        while True:
            try:
                await self._run_once(handlers, concurrency)
                said = False
            except Exception as problem:
                self._down = self._down or time.monotonic()
                if not said:
                    log.warning("work waits for Postgres (%s)", type(problem).__name__)
                    log.debug("what stopped it", exc_info=problem)
                said = True
            await asyncio.sleep(RECONNECT_S)

    async def aclose(self) -> None:
        if self._waking is not None:
            await asyncio.wait([self._waking])
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    # -------------------------------------------------------------------------------------------------

    async def _run_once(self, handlers: Mapping[str, Handler], concurrency: int) -> None:
        # imported here: only a process that works needs it
        from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
        from pgqueuer.adapters.persistence.qb import (
            QueryBuilderEnvironment,
            QueryQueueBuilder,
            QuerySchedulerBuilder,
        )
        from pgqueuer.adapters.persistence.queries import Queries
        from pgqueuer.core.qm import QueueManager
        from pgqueuer.domain.types import Channel

        settings = _settings(self._channel)
        doing: set[asyncio.Task[Any]] = set()
        with asking():
            pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=4,
                timeout=CONNECT_S,
                command_timeout=COMMAND_S,
                reset=as_it_was,
                # picked and finished jobs that are lost in a crash come again; handlers look at the record first
                server_settings=session("cxplane worker", self._access, durable=False),
            )
        self._down = None
        try:
            queries = Queries(
                AsyncpgPoolDriver(pool),
                QueryBuilderEnvironment(settings),
                QueryQueueBuilder(settings),
                QuerySchedulerBuilder(settings),
            )
            manager = QueueManager(queries, channel=Channel(self._channel))
            for kind, handler in handlers.items():
                manager.entrypoint(self._entrypoint(kind), accepts_context=False, on_failure="hold")(
                    self._doing(kind, handler, doing)
                )
            batch = max(1, concurrency // 2)
            loop = asyncio.create_task(
                manager.run(
                    dequeue_timeout=POLL,
                    batch_size=batch,
                    max_concurrent_tasks=max(concurrency, 2 * batch),
                    shutdown_on_listener_failure=True,
                    heartbeat_timeout=self._lease,
                    log_aggregation_interval=timedelta(0),
                )
            )
            try:
                await asyncio.shield(loop)
            except asyncio.CancelledError:
                await self._stop(manager, loop, doing)
                raise
        finally:
            pool.terminate()

    async def _stop(self, manager: QueueManager, loop: asyncio.Task[None], doing: set[asyncio.Task[Any]]) -> None:
        manager.shutdown.set()
        await asyncio.wait([loop], timeout=GRACE_S)
        for task in list(doing):
            task.cancel()
        await asyncio.wait([loop], timeout=GRACE_S)
        if not loop.done():
            loop.cancel()
            await asyncio.wait([loop], timeout=1.0)
        if loop.done() and not loop.cancelled():
            loop.exception()

    def _doing(self, kind: str, handler: Handler, doing: set[asyncio.Task[Any]]) -> Any:
        async def work(row: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            doing.add(task)
            try:
                key, payload = msgspec.json.decode(row.payload)
                await handler(Job(int(row.id), key, kind, payload, row.attempts))
            except asyncio.CancelledError:
                # not raised on: PgQueuer would take the job for cancelled, and delete it
                await self._give_back(row)
            except Exception as problem:
                if row.attempts + 1 >= self._tries:
                    log.error("%s failed %d times and is given up: %s", kind, self._tries, type(problem).__name__)
                    raise _GivenUp(f"{kind} failed {self._tries} times ({type(problem).__name__})") from None
                delay = min(LONGEST_RETRY_S, self._first_retry_s * 2.0**row.attempts) * random.uniform(0.8, 1.2)  # noqa: S311
                log.warning("%s failed (%s); again in %.1f s", kind, type(problem).__name__, delay)
                await self._give_back(row, delay)
            finally:
                doing.discard(task)

        return work

    async def _give_back(self, row: Any, delay: float | None = None) -> None:
        """Put the job into the queue anew; its present row is then finished. Merges with one that waits already."""
        after = timedelta(seconds=delay or 0.0)  # by the clock of Postgres
        tries = row.attempts if delay is None else row.attempts + 1
        try:
            key = msgspec.json.decode(row.payload)[0]
            await self._put(key, row.entrypoint, row.payload, None, tries, after=after)
        except (Exception, asyncio.CancelledError):
            raise _LeftToLease from None

    def _entrypoint(self, kind: str) -> str:
        """The store puts wake-ups of runs under this name too (see migrations/sql)."""
        return f"{kind}@{self._access.tenant}"

    async def _put(
        self,
        key: str,
        entrypoint: str,
        payload: bytes,
        due: datetime | None,
        tries: int,
        *,
        after: timedelta = timedelta(0),
    ) -> None:
        pool = await self._connected()
        with asking():
            dedupe = f"{entrypoint}|{key}"
            await pool.execute(_ENQUEUE, entrypoint, payload, due, dedupe, tries, self._access.tenant, after)

    async def _wake(self) -> None:
        """After the commit, and once for many."""
        await asyncio.sleep(0.001)
        with suppress(StoreUnavailable):  # they look for themselves anyway
            pool = await self._connected()
            with asking():
                await pool.execute(_NOTIFY, self._channel, self._wakes)

    async def _connected(self) -> Any:
        async with self._opening:
            if self._pool is None:
                with asking():
                    self._pool = await asyncpg.create_pool(
                        self._dsn,
                        min_size=0,
                        max_size=2,
                        timeout=CONNECT_S,
                        command_timeout=COMMAND_S,
                        reset=as_it_was,
                        server_settings=session("cxplane enqueue", self._access),
                    )
        return self._pool


def _told(channel: str) -> str:
    """What wakes workers that listen to this channel."""
    event = {
        "operation": "insert",
        "sent_at": "2000-01-01T00:00:00Z",
        "table": "pgqueuer",
        "type": "table_changed_event",
    }
    return msgspec.json.encode({"channel": channel} | event).decode()


class _GivenUp(Exception):
    """Tells PgQueuer to keep the job as failed."""


def _settings(channel: str) -> Any:
    """Names of PgQueuer's tables, whatever the environment says."""
    from pgqueuer.domain.settings import DBSettings, Durability
    from pgqueuer.domain.types import Channel

    return DBSettings(
        prefix="",
        db_schema="cxplane",
        channel=Channel(channel),
        function="fn_pgqueuer_changed",
        statistics_table="pgqueuer_statistics",
        queue_status_type="pgqueuer_status",
        queue_table="pgqueuer",
        queue_table_log="pgqueuer_log",
        trigger="tg_pgqueuer_changed",
        schedules_table="pgqueuer_schedules",
        durability=Durability.durable,
    )
