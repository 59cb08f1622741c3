"""Workers that drain mailboxes, in this process or as one of their own: what a leg does, without a journey.

`python -m tests.contracts.mailroom DSN LEASE_S PAUSE_S` works until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.adapters.postgres.access import Access, Guard
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.adapters.postgres.work import PgQueuerWork
from cxplane.domain.record import Appended, Fenced, NewEntry, NewRun, TakenRun, Write
from cxplane.domain.run_entries import run_started, run_told
from cxplane.ports.work import Job

T = "northwind"
RELEASE = "rel1"


def begun(id: str, **more: Any) -> Write:
    entry = run_started(
        id,
        journey="j",
        key=None,
        customer=None,
        conversation=None,
        input={},
        started_by="test",
        at=datetime.now(UTC),
        release=RELEASE,
        **more,
    )
    return Write(T, (entry,), new_run=NewRun(id, "j"))


def letter(run: str, n: int) -> Write:
    return Write(T, (run_told(run, what="note", by="test", at=datetime.now(UTC), subject=None, n=n),))


def drained(taken: TakenRun, seen: list[Any], took: list[str], *, idle: bool, **more: Any) -> Write:
    body = {"run": taken.fence.run, "status": "waiting", "took": took} | ({"idle": True} if idle else {}) | more
    entry = NewEntry(
        "run.advanced", taken.fence.run, datetime.now(UTC), "cxplane", body, {"state": {"seen": seen}}, release=RELEASE
    )
    return Write(T, (entry,), fence=taken.fence)


class Mailroom:
    """Takes a run, works in its mail letter by letter, rests."""

    def __init__(self, store: PostgresStore, *, pause_s: float = 0.0, steps: bool = False) -> None:
        self.store, self.pause_s, self.steps = store, pause_s, steps
        self.busy: set[str] = set()
        self.overlaps = 0
        self.fenced = 0

    async def __call__(self, job: Job) -> None:
        run = job.payload["run"]
        if run in self.busy:
            self.overlaps += 1
        self.busy.add(run)
        try:
            await self._drain(run)
        finally:
            self.busy.discard(run)

    async def _drain(self, run: str) -> None:
        while True:
            taken = await self.store.runs.take(T, run)
            assert taken is not None
            seen = list((taken.state or {}).get("seen", []))
            for mail in taken.mail:
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
                if mail.body["kind"] == "told":
                    seen.append(mail.body["n"])
                if not self.steps:
                    continue
                one = drained(taken, seen, [mail.ref], idle=False)  # one commit a letter
                if isinstance(await self.store.append(one), Fenced):
                    self.fenced += 1
                    return
            result = await self.store.append(drained(taken, seen, [m.ref for m in taken.mail], idle=True))
            if isinstance(result, Fenced):
                self.fenced += 1
                return
            assert isinstance(result, Appended)
            if not result.more:
                return


async def main(dsn: str, lease_s: float, pause_s: float) -> None:
    store = await open_store(dsn, tenant="northwind")
    room = Mailroom(store, pause_s=pause_s, steps=True)
    print("ready", flush=True)
    await PgQueuerWork(dsn, Access("northwind", Guard.ROLE), lease=timedelta(seconds=lease_s)).run(
        {"leg": room}, concurrency=64
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
