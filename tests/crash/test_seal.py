"""Planes that seal are killed, two at a time, with one sink: one tree, signed once for each size, over everything on record."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from cxplane.adapters.clock import SystemClock
from cxplane.adapters.postgres.store import open_store
from cxplane.adapters.signing import new_private_key, signers_from, verify
from cxplane.adapters.sinks import sink_for
from cxplane.adapters.telemetry import PrometheusTelemetry
from cxplane.loop.audit import leaves, lines
from cxplane.loop.sealer import Sealer
from cxplane.record.verify import Verifier, read_checkpoints
from tests.crash.plane import estate
from tests.loop.world import TENANT

KEY = new_private_key(f"cxplane/{TENANT}")


async def test_a_record_sealed_by_planes_that_are_killed_is_verified_whole(
    dsn: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CXPLANE_SEAL_KEY", KEY)
    monkeypatch.setenv("CXPLANE_SEAL_EVERY", "20ms")
    monkeypatch.setenv("CXPLANE_DATA", str(tmp_path))
    rng = random.Random(4)
    async with estate(dsn, tmp_path) as world:
        planes = [await world.start(), await world.start()]
        await world.know(planes[0])
        for round in range(4):
            asking = [
                asyncio.create_task(world.ask(planes[n % 2], dispute=f"d{round}-{n}", amount=100)) for n in range(8)
            ]
            await asyncio.sleep(rng.uniform(0.05, 1.2))
            world.kill(planes[round % 2])
            with suppress(httpx.HTTPError):
                await asyncio.gather(*asking, return_exceptions=True)
            planes[round % 2] = await world.start()
        for plane in planes:
            world.kill(plane)
    store = await open_store(dsn, tenant=TENANT)
    try:
        sink = sink_for(str(tmp_path / "seals"), TENANT)
        sealer = Sealer(TENANT, store, signers_from(KEY), sink, SystemClock(), PrometheusTelemetry(), verify)
        await sealer.step()
        sealed = await store.seals.sealed(TENANT)
        assert sealed is not None and sealed.size == len(await store.entries(TENANT, limit=10_000))
        kept = (tmp_path / "seals" / TENANT / "checkpoints").read_text()
        hashes = b"".join([part async for part in leaves(store, TENANT, sealed)])
        (tmp_path / "leaves").write_bytes(hashes)
        batches = [[one.encode() for one in page] async for page in lines(store, TENANT, sealed)]
    finally:
        await store.aclose()
    checkpoints = read_checkpoints([kept])
    assert len(checkpoints) > 4 and len({c.size for c in checkpoints}) == len(checkpoints)
    whole = [one for page in batches for one in page]
    with (tmp_path / "leaves").open("rb") as file:
        pieces = iter([whole[n : n + 256] for n in range(0, len(whole), 256)])
        report = Verifier(checkpoints, sealer.keys, verify).run(pieces, file)
    assert report.good and report.sealed == sealed.size, report
