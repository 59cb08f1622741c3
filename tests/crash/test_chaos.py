"""A crash storm: planes, workers, exporters and Postgres are killed or paused while systems lose answers. Then all is counted.

What the systems did, what the record says came of it, the entries, what was exported, what a listener heard and what was signed must
be the same: nothing missing, nothing twice. `make chaos MINUTES=5` goes on for longer, with other dice each time.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from cxplane.adapters.signing import new_private_key
from cxplane.wiring import Settings
from tests.connectors.fake import FakeSystem
from tests.crash.land import files as journey_files
from tests.crash.plane import Estate, estate
from tests.loop.world import CREDIT, TENANT, release

LONG = "CXPLANE_CHAOS_MINUTES" in os.environ
STORM_S = 60 * float(os.environ.get("CXPLANE_CHAOS_MINUTES", "0.4"))
ASKS, RUNS = int(2.4 * STORM_S), int(0.8 * STORM_S)
KILLS_S = 2.0  # mean time between two kills
PAUSE_S = 4.5  # longer than the lease
SEED = int(os.environ.get("CXPLANE_CHAOS_SEED") or (random.SystemRandom().randrange(10_000) if LONG else 11))
SEAL = new_private_key(f"cxplane/{TENANT}")
CLI = [sys.executable, "-m", "cxplane.edges.cli"]
ACTIONS = {"/credits": "billing.issue_credit", "/flags": "crm.flag", "/notes": "cases.note"}
FAULTS = ("drop_after_commit", "hang_after_commit", "503", "drop_before", "slow", "twice", "", "")


class Storm:
    """The estate, and who is killed in it."""

    def __init__(self, world: Estate, postgres: EmbeddedPostgres, folder: Path) -> None:
        self.world, self.postgres, self.folder = world, postgres, folder
        self.dice = random.Random(SEED)
        self.heard: list[tuple[int, str]] = []
        self.struck: Counter[str] = Counter()
        self.over = False
        self.others: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def planes(self) -> list[subprocess.Popen[bytes]]:
        return [p for p in self.world.planes if p.poll() is None and p.pid in self.world.ports]

    def run(self, what: str) -> subprocess.Popen[bytes]:
        args = {
            "worker": ["work"],
            "folder": ["export", str(self.folder / "record"), "--follow", "--resume"],
            "file": ["export", str(self.folder / "record.jsonl.gz"), "--follow", "--resume"],
            "manifest": ["export", str(self.folder / "record"), "--resume"],
        }[what]
        env = {
            **os.environ,
            "CXPLANE_DSN": self.world.dsn,
            "CXPLANE_TENANT": TENANT,
            "CXPLANE_LEASE": "3s",
            "CXPLANE_SYSTEM_BILLING_URL": self.world.billing.url,
        }
        with self.world.log.open("ab") as out:
            self.others[what] = subprocess.Popen([*CLI, *args], env=env, stdout=out, stderr=out)
        return self.others[what]

    async def keep_up(self, what: str) -> None:
        """Whoever is gone comes back, as under a service manager."""
        while not self.over:
            if self.others[what].poll() is not None:
                self.run(what)
            await asyncio.sleep(0.3)

    async def keep_planes(self) -> None:
        while not self.over:
            if len(self.planes) < 2:
                with suppress(AssertionError):  # Postgres may be away just now
                    await self.world.start()
            await asyncio.sleep(0.3)

    async def rage(self) -> None:
        """One after the other is killed or paused, at any moment."""
        until = time.monotonic() + STORM_S
        once = True
        while once or time.monotonic() < until:
            once = False
            deck = ["plane", "worker", "folder", "file"] * 3 + ["pause plane", "pause worker"]
            self.dice.shuffle(deck)
            deck.insert(len(deck) // 2, "postgres")
            for who in deck:
                await asyncio.sleep(self.dice.expovariate(1 / KILLS_S))
                await self._strike(who)

    async def _strike(self, who: str) -> None:
        if who == "postgres":
            assert self.postgres.pid is not None
            os.kill(self.postgres.pid, signal.SIGKILL)
            return
        how, _, name = who.rpartition(" ")
        victims = self.planes if name == "plane" else [p for p in [self.others.get(name)] if p]
        if not victims or (victim := self.dice.choice(victims)).poll() is not None:
            return
        self.struck[who] += 1
        if how == "pause":
            victim.send_signal(signal.SIGSTOP)
            await asyncio.sleep(PAUSE_S)
            victim.send_signal(signal.SIGCONT)
        else:
            victim.kill()
            await asyncio.to_thread(victim.wait)

    async def send(self, path: str, key: str, body: dict[str, Any], by: str) -> None:
        """A caller that asks again with the same key, anywhere, until it is answered."""
        for _ in range(400):
            with suppress(httpx.HTTPError, IndexError):
                async with self.world.client(self.dice.choice(self.planes), by) as http:
                    reply = await http.post(path, json=body, headers={"Idempotency-Key": key})
                    if reply.status_code < 300:
                        return
                    assert reply.status_code in (409, 429, 503), reply.text
            await asyncio.sleep(0.25)
        raise AssertionError(f"no answer for {key}")

    async def load(self, over_s: float) -> None:
        """Requests and runs, spread over the time."""

        async def one(n: int) -> None:
            await asyncio.sleep(over_s * n / (ASKS + RUNS))
            input = {"account_id": "a1", "dispute_id": f"d{n}", "amount": 10}
            if n % 4 == 3:
                run = {"journey": "dispute", "input": input, "customer": "c1"}
                await self.send("/v1/runs", f"run-{n}", run, "system:crm")
            else:
                ask = {"action": "billing.issue_credit", "input": input, "customer": "c1", "channel": "chat"}
                await self.send("/v1/requests", f"ask-{n}", ask, "agent:fin")

        await asyncio.gather(*(one(n) for n in range(ASKS + RUNS)))

    async def listen(self) -> None:
        """Server-sent events, as a stock client hears them: connect again after the last id."""
        while not self.over:
            with suppress(httpx.HTTPError, IndexError):
                headers = {"Last-Event-ID": str(self.heard[-1][0])} if self.heard else {}
                async with (
                    self.world.client(self.dice.choice(self.planes), "person:maria") as http,
                    http.stream("GET", "/v1/entries/stream", headers=headers) as reply,
                ):
                    id = 0
                    async for line in reply.aiter_lines():
                        if line.startswith("id: "):
                            id = int(line[4:])
                        elif line.startswith("data: {"):
                            self.heard.append((id, line[6:]))
            await asyncio.sleep(0.2)

    async def calm(self, within_s: float) -> None:
        """All is answered, nothing is open, and who exports has all of it."""
        end = time.monotonic() + within_s
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                link = await asyncpg.connect(self.world.dsn)
                try:
                    busy = await link.fetch(
                        "select 'intent' as what, count(*) as n from cxplane.intent"
                        " union all select 'run ' || status, count(*) from cxplane.run"
                        " where status not in ('done', 'stuck', 'failed') group by 1"
                        " union all select 'request ' || status, count(*) from cxplane.request"
                        " where status not in ('done', 'refused', 'failed') group by 1"
                    )
                    left = {r["what"]: r["n"] for r in busy if r["n"]}
                    last = await link.fetchval("select max(position) from cxplane.entry")
                finally:
                    await link.close()
                if not left and self.heard and self.heard[-1][0] == last and self._exported() == last:
                    return
            assert time.monotonic() < end, f"{left} {last} {self._exported()}: {self.world.log.read_text()[-2000:]}"
            await asyncio.sleep(0.3)

    def _exported(self) -> int:
        places = [self.folder / "record" / "cursor.json", self.folder / "record.jsonl.gz.cursor.json"]
        return min(int(json.loads(p.read_bytes())["position"]) if p.exists() else 0 for p in places)

    async def end(self) -> None:
        self.over = True
        for process in self.others.values():
            if process.poll() is None:
                process.terminate()
        for process in self.others.values():
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 20)
            if process.poll() is None:
                process.kill()
                process.wait()


def _files() -> dict[str, str]:
    found = journey_files()
    found["catalog/billing/issue_credit.yaml"] = CREDIT  # which gives a system one second
    return {
        name: text.replace("limits: {timeout: 10s, attempts: 2}", "limits: {timeout: 1s, attempts: 2}")
        for name, text in found.items()
    }


@pytest.mark.timeout(240 + 4 * STORM_S)
async def test_after_a_crash_storm_effects_outcomes_entries_and_exports_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"CXPLANE_CHAOS_SEED={SEED}")
    os.chmod(tmp_path, 0o755)
    monkeypatch.setenv("CXPLANE_SEAL_KEY", SEAL)
    monkeypatch.setenv("CXPLANE_SEAL_SINK", str(tmp_path / "seals"))
    monkeypatch.setenv("CXPLANE_SEAL_EVERY", "1s")
    postgres = EmbeddedPostgres(tmp_path / "store", serve=True)
    async with postgres as dsn, estate(dsn, tmp_path) as world:
        await release(Settings(dsn=dsn), _files())
        storm = Storm(world, postgres, tmp_path)
        dice = random.Random(5)
        tasks: list[asyncio.Task[None]] = []
        try:
            await world.know(await world.start())
            await world.start()
            for what in ("worker", "folder", "file"):
                storm.run(what)
                tasks.append(asyncio.create_task(storm.keep_up(what)))
            tasks += [asyncio.create_task(storm.listen()), asyncio.create_task(storm.keep_planes())]
            world.billing.fail("write", *(dice.choice(FAULTS) for _ in range(int(2 * STORM_S))))
            await asyncio.gather(storm.load(STORM_S), storm.rage())
            await storm.calm(120)
        finally:
            await storm.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert set(storm.struck) == {"plane", "worker", "folder", "file", "pause plane", "pause worker"}, storm.struck
        await _all_the_same(storm)
        await asyncio.to_thread(_signed, storm)


async def _all_the_same(storm: Storm) -> None:
    link = await asyncpg.connect(storm.world.dsn)
    try:
        entries = await link.fetch(
            "select position, kind, stream, body, cxplane.line(e) as line from cxplane.entry e order by position"
        )
    finally:
        await link.close()
    # effects = what the record says came of what was asked
    billing = storm.world.billing
    effects = Counter((ACTIONS[path], dispute) for path, dispute in _effects(billing))
    asked = {e["stream"]: json.loads(e["body"]) for e in entries if e["kind"] == "request"}
    done = [asked[e["stream"]] for e in entries if _is_done(e)]
    assert Counter(request["key"] for request in done) == Counter(
        list(billing.credits)
    )  # the key that the system was given
    assert Counter(action for action, _ in effects) == Counter(request["action"] for request in done)
    assert set(effects.values()) == {1}
    assert sum(action == "billing.issue_credit" for action, _ in effects) > (ASKS + RUNS) / 2
    assert sum(action == "cases.note" for action, _ in effects) > 0
    # entries = exported lines = what a listener heard, in order and byte for byte
    lines = [e["line"] for e in entries]
    folder = storm.folder / "record"
    exported = b"".join(p.read_bytes() for p in sorted((folder / "entries").iterdir())).decode().splitlines()
    assert exported == lines
    with gzip.open(storm.folder / "record.jsonl.gz", "rt") as file:
        assert file.read().splitlines() == lines
    assert [text for _, text in storm.heard] == lines
    assert [id for id, _ in storm.heard] == [e["position"] for e in entries]
    last = storm.run("manifest")  # who exports once more finds nothing to add
    assert await asyncio.to_thread(last.wait, 60) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["count"] == len(entries)
    assert manifest["kinds"] == Counter(e["kind"] for e in entries)


def _signed(storm: Storm) -> None:
    """What planes that were killed and paused have signed verifies, without the store."""
    env = {**os.environ, "CXPLANE_DSN": storm.world.dsn, "CXPLANE_TENANT": TENANT}
    to = storm.folder / "sealed"
    apart = storm.folder / "seals" / TENANT / "checkpoints"  # all that were ever signed
    for words in (["seal"], ["export", str(to)], ["verify", str(to), "--checkpoints", str(apart)]):
        done = subprocess.run([*CLI, "audit", *words, "--json"], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["good"] and told["unsealed"] == 0 and told["checkpoints"] > 3
    assert (to / "entries.jsonl").read_text().splitlines() == [text for _, text in storm.heard]


def _effects(billing: FakeSystem) -> list[tuple[str, str]]:
    """(path, dispute) of all that was really done, by the system's own books."""
    seen = {s.headers.get("idempotency-key"): s for s in billing.seen}
    return [(seen[key].path, seen[key].body["dispute_id"]) for key in billing.credits]


def _is_done(entry: Any) -> bool:
    return entry["kind"] == "outcome" and json.loads(entry["body"])["status"] == "done"
