"""A worker as a process of its own, which ends or stops itself at a chosen point.

`python -m tests.crash.worker DSN BILLING_URL LEASE_S [how] [when] [n] [run]`: how = kill | stop; when = before | after the n-th commit
of a leg in this process. Without them it works until it is killed. `run`: a dispute that it starts itself, under this id.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.record import AppendResult, Write
from cxplane.wiring import Settings, open_plane

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def dying(how: str, when: str, n: int) -> None:
    """Make the n-th commit of a leg the last thing before, or the first after, this process is gone."""
    append: Callable[..., Any] = PostgresStore.append
    seen = 0

    async def counted(self: PostgresStore, write: Write) -> AppendResult:
        nonlocal seen
        if write.fence is None:
            result: AppendResult = await append(self, write)
            return result
        seen += 1
        mine = seen == n
        if mine and when == "before":
            os.kill(os.getpid(), SIGNALS[how])
        result = await append(self, write)
        if mine and when == "after":
            os.kill(os.getpid(), SIGNALS[how])
        return result

    PostgresStore.append = counted  # type: ignore[method-assign]


async def main() -> None:
    dsn, url, lease_s, *rest = sys.argv[1:]
    if rest:
        dying(rest[0], rest[1], int(rest[2]))
    settings = Settings(dsn=dsn, lease=timedelta(seconds=float(lease_s)), system_urls={"billing": url})
    async with open_plane(settings) as plane:
        print("working", flush=True)
        if len(rest) > 3:
            of = {"account_id": "a1", "dispute_id": "d1", "amount": 1000}
            await plane.start_run(plane.caller("system:crm"), "dispute", of, customer="c1", id=rest[3])
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    asyncio.run(main())
