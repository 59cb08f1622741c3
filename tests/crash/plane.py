"""A plane as a real process, to be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from cxplane.domain.key_entries import key_created
from cxplane.domain.keys import new_api_key
from cxplane.domain.record import Write
from cxplane.wiring import Settings, open_store
from tests.connectors.fake import FakeSystem
from tests.loop.world import TENANT, control, release

READY_S = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Estate:
    """One store, one business system, and planes that come and go."""

    dsn: str
    billing: FakeSystem
    keys: dict[str, str]
    log: Path
    planes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)

    async def start(self) -> subprocess.Popen[bytes]:
        port = free_port()
        env = os.environ | {"CXPLANE_DSN": self.dsn, "CXPLANE_SYSTEM_BILLING_URL": self.billing.url}
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "cxplane.edges.cli", "serve", "--port", str(port)]
            plane = subprocess.Popen(command, env=env, stdout=out, stderr=out)
        self.planes.append(plane)
        self.ports[plane.pid] = port
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(READY_S * 10):
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200:
                        return plane
                except httpx.HTTPError:
                    pass
                assert plane.poll() is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.1)
        raise AssertionError(f"the plane is not ready: {self.log.read_text()[-3000:]}")

    def kill(self, plane: subprocess.Popen[bytes], how: signal.Signals = signal.SIGKILL) -> None:
        plane.send_signal(how)
        plane.wait(30)

    def client(self, plane: subprocess.Popen[bytes], caller: str = "agent:fin") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.ports[plane.pid]}",
            headers={"Authorization": f"Bearer {self.keys[caller]}"},
            timeout=30,
            trust_env=False,
        )

    async def know(self, plane: subprocess.Popen[bytes]) -> None:
        async with self.client(plane, "system:crm") as crm:
            (await crm.put("/v1/customers/c1", json={})).raise_for_status()
            proof = {"level": 2, "method": "otp", "lifetime": "30m"}
            (await crm.post("/v1/customers/c1/assurance", json=proof)).raise_for_status()
            said = {"purpose": "service", "granted": True, "source": "test"}
            (await crm.post("/v1/customers/c1/consents", json=said)).raise_for_status()

    async def ask(self, plane: subprocess.Popen[bytes], *, dispute: str = "d1", amount: int = 1000) -> dict[str, Any]:
        input = {"account_id": "a1", "dispute_id": dispute, "amount": amount}
        body = {"action": "billing.issue_credit", "input": input, "customer": "c1", "channel": "chat"}
        async with self.client(plane) as fin:
            answer = await fin.post("/v1/requests", json=body)
            told: dict[str, Any] = answer.json() | {"http": answer.status_code}
            return told

    async def ends(
        self, plane: subprocess.Popen[bytes], status: str, *, count: int = 1, within_s: float = 40
    ) -> list[Any]:
        """All requests, once so many of them stand at this status."""
        async with self.client(plane) as fin:
            for _ in range(int(within_s * 5)):
                answer = await fin.get("/v1/requests", params={"limit": 100})
                if answer.status_code == 503:  # Postgres is not back yet
                    await asyncio.sleep(0.2)
                    continue
                items: list[Any] = answer.json()["items"]
                if sum(one["status"] == status for one in items) >= count:
                    return items
                await asyncio.sleep(0.2)
        raise AssertionError(f"no {count} × {status} after {within_s} s: {answer.text}")

    async def until(self, true: Any, within_s: float = 20) -> None:
        for _ in range(int(within_s * 50)):
            if true():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not come to that")


@asynccontextmanager
async def estate(dsn: str, tmp_path: Path) -> AsyncIterator[Estate]:
    billing = await FakeSystem().start()
    settings = Settings(dsn=dsn)
    await release(settings, control())
    keys: dict[str, str] = {}
    async with open_store(settings, tenant=TENANT) as store:
        for caller in ("agent:fin", "person:maria", "system:crm"):
            key = new_api_key()
            entry = key_created(
                key.id, caller=caller, hash=key.hash, expires_at=None, at=datetime.now(UTC), actor="test"
            )
            await store.append(Write(TENANT, (entry,)))
            keys[caller] = key.text
    world = Estate(dsn, billing, keys, tmp_path / "plane.log")
    try:
        yield world
    finally:
        for plane in world.planes:
            if plane.poll() is None:
                plane.kill()
                plane.wait()
        await billing.stop()
