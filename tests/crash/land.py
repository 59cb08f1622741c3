"""What the tests of journeys that survive share: a store, a business system, and workers as processes that come and go."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg

from cxplane.wiring import Settings, open_plane
from tests.connectors.fake import FakeSystem
from tests.loop.journeys import CHARTER, Country, journeys
from tests.loop.world import CREDIT, release

LEASE = timedelta(seconds=2)

WRITE = """
action: {id}
version: 1
summary: One effect of the dispute
owner: care
effect: write
risk: low
input: {{type: object, required: [dispute_id], properties: {{dispute_id: {{type: string}}}}}}
output: {{type: object, required: [credit_id], properties: {{credit_id: {{type: string}}}}}}
key: [dispute_id]
data: [billing]
confirm: {{read: billing.get_credit, with: {{key: request.key}}, expect: "result.credit_id != ''"}}
undo: {{none: "a test"}}
via: {{http: {{system: billing, method: POST, path: /{path}}}}}
limits: {{timeout: 10s, attempts: 2}}
"""

DISPUTE = """
journey: dispute
version: 1
summary: One event, three systems
owner: care
input:
  type: object
  required: [account_id, dispute_id, amount]
  properties: {account_id: {type: string}, dispute_id: {type: string}, amount: {type: integer}}
start:
  - signal: dispute.opened
    customer: signal.data.customer
    with: {account_id: signal.data.account, dispute_id: signal.key, amount: signal.data.amount}
do:
  - flag:
      call: crm.flag
      with: {dispute_id: input.dispute_id}
  - credit:
      call: billing.issue_credit
      with: {account_id: input.account_id, dispute_id: input.dispute_id, amount: input.amount}
  - note:
      call: cases.note
      with: {dispute_id: input.dispute_id}
  - settled:
      goal: {name: settled, achieved: "steps.credit.credit_id != '' && steps.note.credit_id != ''"}
"""

PARKED = """
journey: parked
version: 1
summary: Waits
owner: care
customer: none
input: {type: object, required: [claim_id], properties: {claim_id: {type: string}}}
do:
  - document:
      listen: {signal: claim.document, key: input.claim_id, within: 21d}
  - settled:
      goal: {name: settled, achieved: "true"}
"""

POLICY = """
@id("journeys-write") @reason("The dispute's own effects")
permit (principal in Role::"journey", action in [Action::"crm.flag", Action::"cases.note"], resource);
"""


def files(**more: str) -> dict[str, str]:
    """The control repo: the two journeys above, and more of them by name."""
    texts = {"dispute": DISPUTE, "parked": PARKED} | more
    found = journeys(**texts)
    found["catalog/crm/flag.yaml"] = WRITE.format(id="crm.flag", path="flags")
    found["catalog/cases/note.yaml"] = WRITE.format(id="cases.note", path="notes")
    found["catalog/billing/issue_credit.yaml"] = CREDIT.replace("timeout: 1s", "timeout: 10s")
    found["policies/journeys.cedar"] = POLICY
    for name in texts:
        found[f"journeys/{name}/charter.md"] = CHARTER.format(name=name).replace(
            "billing.issue_credit, billing.reverse_credit", "billing.issue_credit, crm.flag, cases.note"
        )
    return found


class Land:
    """A store, a system, worker processes that come and go, and a plane here that starts runs and looks."""

    def __init__(self, dsn: str, billing: FakeSystem, settings: Settings, log: Path) -> None:
        self.dsn, self.billing, self.settings, self.log = dsn, billing, settings, log
        self.workers: list[subprocess.Popen[bytes]] = []
        self.lease_s = LEASE.total_seconds()
        self.country: Country | None = None

    @property
    def here(self) -> Country:
        assert self.country is not None
        return self.country

    async def worker(self, *dying: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A worker that is ready. `dying`: see `tests.crash.worker`; `env`: what it finds in its environment besides."""
        url = self.settings.system_urls["billing"]
        command = [sys.executable, "-m", "tests.crash.worker", self.dsn, url, str(self.lease_s), *dying]
        before = self.log.read_text().count("working") if self.log.exists() else 0
        with self.log.open("ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | dict(env or {}))
        self.workers.append(process)
        for _ in range(600):
            if self.log.read_text().count("working") > before or process.poll() is not None:
                return process
            await asyncio.sleep(0.05)
        raise AssertionError(self.told())

    def told(self) -> str:
        """The end of what the workers logged."""
        return self.log.read_text()[-3000:] if self.log.exists() else ""

    async def gone(self, process: subprocess.Popen[bytes], within_s: float = 20) -> bool:
        end = time.monotonic() + within_s
        while process.poll() is None:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.02)
        return True

    async def all_done(self, runs: list[str], within_s: float) -> None:
        end = time.monotonic() + within_s
        link = await asyncpg.connect(self.dsn)
        try:
            while True:
                found = await link.fetch(
                    "select status, count(*) as n from cxplane.run where id = any($1) group by 1", runs
                )
                counts = {r["status"]: r["n"] for r in found}
                if counts == {"done": len(runs)}:
                    return
                assert time.monotonic() < end, f"{counts}: {self.told()}"
                await asyncio.sleep(0.1)
        finally:
            await link.close()

    async def ask(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """A question to the store, past everything that is tested."""
        link = await asyncpg.connect(self.dsn)
        try:
            found: list[asyncpg.Record] = await link.fetch(sql, *values)
            return found
        finally:
            await link.close()

    async def comes_to(self, sql: str, wanted: object, within_s: float = 30) -> None:
        """Until the one value that is asked for is this."""
        end = time.monotonic() + within_s
        while (found := (await self.ask(sql))[0][0]) != wanted:
            assert time.monotonic() < end, f"{sql}: {found}, not {wanted}; {self.told()}"
            await asyncio.sleep(0.1)

    async def nobody_acted(self) -> None:
        """No person was asked for anything, and none told a run anything."""
        found = await self.ask("select kind, body from cxplane.entry where kind in ('task.opened', 'run.told')")
        assert [(r["kind"], r["body"]) for r in found] == []

    def effects(self) -> Counter[str]:
        """How often each path was really done, by the system's own books."""
        done: Counter[str] = Counter()
        for key in self.billing.credits:
            done[next(s.path for s in self.billing.seen if s.headers.get("idempotency-key") == key)] += 1
        return done


@asynccontextmanager
async def land(dsn: str, tmp_path: Path, *, system: str | None = None, **more: str) -> AsyncIterator[Land]:
    """`system`: the address of one that is a process of its own; else it lives here. `more`: journeys besides."""
    billing = await FakeSystem().start()
    settings = Settings(dsn=dsn, work=False, system_urls={"billing": system or billing.url}, lease=LEASE)
    world = Land(dsn, billing, settings, tmp_path / "workers.log")
    try:
        await release(settings, files(**more))
        async with open_plane(settings) as plane:
            world.country = Country(plane, billing, settings)
            await world.here.know()
            yield world
    finally:
        for process in world.workers:
            if process.poll() is None:
                process.kill()
                process.wait()
        await billing.stop()
