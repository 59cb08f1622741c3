"""What row-level security costs an append: the same writes by sessions that it holds and by sessions that it does not.

    python -m benchmarks.tenants [--writes 4000] [--rounds 6]

A store of its own (embedded, fsync on); rounds alternate, so that both see the same disk and the same neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cxplane.adapters.postgres.access import Access, Guard, open_access
from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from cxplane.adapters.postgres.writer import Writer
from cxplane.domain.record import KeyClaim, NewEntry, Write

TENANT = "northwind"


def governed(id: str) -> Write:
    """Request, decision, intent of one write, and its business key."""
    at = datetime.now(UTC)
    body = {"id": id, "action": "billing.credit", "version": 1, "caller": "agent:fin", "input_hash": id, "key": id}
    said = {"request": id, "verdict": "allow", "status": "running", "determined_by": "policy", "key": id}
    will = {"request": id, "action": "billing.credit", "due": at.isoformat(), "key": id}
    entries = (
        NewEntry("request", id, at, "agent:fin", body, {"input": {"amount": 5}}),
        NewEntry("decision", id, at, "cxplane", said, release="rel1"),
        NewEntry("intent", id, at, "cxplane", will, release="rel1"),
    )
    return Write(TENANT, entries, new_request=id, claim=KeyClaim("billing.credit", id, id, id))


async def burst(writer: Writer, name: str, writes: int, at_once: int) -> float:
    """Writes a second."""
    left = iter(range(writes))

    async def one() -> None:
        for n in left:
            await writer.append(governed(f"{name}-{n}"))

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return writes / (time.perf_counter() - began)


async def measure(dsn: str, writes: int, rounds: int, at_once: int) -> None:
    held = await open_access(dsn, TENANT)
    assert held.guard is Guard.ROLE
    writers = {"held": Writer(dsn, held), "free": Writer(dsn, Access(TENANT, Guard.NONE))}
    rates: dict[str, list[float]] = {name: [] for name in writers}
    for name, writer in writers.items():
        await burst(writer, f"warm-{name}", 500, at_once)
    for n in range(rounds):
        for name in list(writers) if n % 2 else list(reversed(writers)):
            rates[name].append(await burst(writers[name], f"{name}-{n}", writes, at_once))
    for writer in writers.values():
        await writer.aclose()
    pairs = [held / free for held, free in zip(rates["held"], rates["free"], strict=True)]
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):.0f} writes/s of {[round(r) for r in found]}")
    print(f"held / free, {at_once} at once: median {statistics.median(pairs):.3f} of {[round(p, 3) for p in pairs]}")


def main() -> None:
    take = argparse.ArgumentParser(description=__doc__)
    take.add_argument("--writes", type=int, default=4000)
    take.add_argument("--rounds", type=int, default=6)
    take.add_argument("--at-once", type=int, default=64)
    given = take.parse_args()
    with tempfile.TemporaryDirectory(prefix="cxplane-tenants-") as folder:
        Path(folder).chmod(0o711)
        embedded = EmbeddedPostgres(Path(folder) / "store")
        try:
            asyncio.run(measure(embedded.start(), given.writes, given.rounds, given.at_once))
        finally:
            embedded.stop()


if __name__ == "__main__":
    main()
