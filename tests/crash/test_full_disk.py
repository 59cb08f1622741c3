"""The disk of the store is full: requests are turned away in order, nothing is half done, and with room all goes on."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import asyncpg
import httpx
import pytest

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from tests.crash.plane import Estate, estate

SIZE = 260_000_000


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own; only root can make one."""
    folder = Path(mkdtemp(prefix="cxplane-disk-"))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", folder], capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("only root can mount a small disk")
    folder.chmod(0o755)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    return ballast


async def ask(world: Estate, n: int) -> tuple[int, str, dict[str, Any]]:
    body = {
        "action": "billing.issue_credit",
        "input": {"account_id": "a1", "dispute_id": f"d{n}", "amount": 1},
        "customer": "c1",
        "channel": "chat",
    }
    async with world.client(world.planes[0]) as fin:
        answer = await fin.post("/v1/requests", json=body, headers={"Idempotency-Key": f"key-{n}"})
        return answer.status_code, answer.headers["content-type"].split(";")[0], answer.json()


async def write_log(dsn: str) -> None:
    """Until there is no room even for the log that Postgres writes ahead, which stops Postgres."""
    with suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
        link = await asyncpg.connect(dsn)
        for _ in range(400):
            await link.execute("select pg_logical_emit_message(false, 'x', repeat('x', 1000000))")


@pytest.mark.timeout(170)
@pytest.mark.parametrize("log_too", [False, True], ids=["tables", "tables and log"])
async def test_a_full_disk_turns_requests_away_and_nothing_is_half_done(
    small_disk: Path, tmp_path: Path, log_too: bool
) -> None:
    async with EmbeddedPostgres(small_disk / "store", serve=True) as dsn, estate(dsn, tmp_path) as world:
        plane = await world.start()
        await world.know(plane)
        answers = [await ask(world, n) for n in range(5)]
        assert {code for code, _, _ in answers} == {200}

        ballast = fill(small_disk)
        if log_too:
            await write_log(dsn)
        turned_away: list[tuple[int, str, dict[str, Any]]] = []
        asked = 5
        while len(turned_away) < 20:
            assert asked < 3000, "the disk does not get full"
            code, kind, told = await ask(world, asked)
            asked += 1
            assert code in (200, 202, 503), told
            if code == 503:
                assert kind == "application/problem+json" and told["next"], told
                turned_away.append((code, kind, told))
        assert plane.poll() is None

        ballast.unlink()
        for n in range(asked):  # whoever was turned away asks again with the same key
            for _ in range(100):
                with suppress(httpx.TimeoutException):
                    code, _, told = await ask(world, n)
                    if code == 200 and told["status"] == "done":
                        break
                await asyncio.sleep(0.3)
            else:
                raise AssertionError(f"{n} was not done: {code} {told}")
        assert len(world.billing.credits) == asked
        link = await asyncpg.connect(dsn)
        try:
            kinds = Counter(r[0] for r in await link.fetch("select kind from cxplane.entry where stream like 'req%'"))
            assert await link.fetchval("select count(*) from cxplane.intent") == 0
            assert kinds["request"] == kinds["decision"] == asked
            done = (
                "select count(distinct stream) from cxplane.entry where kind = 'outcome' and body ->> 'status' = 'done'"
            )
            assert await link.fetchval(done) == asked
        finally:
            await link.close()
