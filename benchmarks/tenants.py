"""What row-level security costs an append: the same writes by sessions that it holds and by sessions that it does not.

    python -m benchmarks.tenants [--writes 1000] [--rounds 20]

A store of its own (embedded, fsync on); rounds alternate, so that both see the same disk and the same neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import os
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
    """Request and decision of one write, and its business key."""
    at = datetime.now(UTC)
    body = {"id": id, "action": "billing.credit", "version": 1, "caller": "agent:fin", "input_hash": id, "key": id}
    said = {"verdict": "allow", "status": "running", "determined_by": "policy", "due": at.isoformat()}
    entries = (
        NewEntry("request", id, at, "agent:fin", body, {"input": {"amount": 5}}),
        NewEntry("decision", id, at, "cxplane", said, release="rel1"),
    )
    return Write(TENANT, entries, new_request=id, claim=KeyClaim("billing.credit", id, id))


async def burst(writer: Writer, name: str, writes: int, at_once: int) -> float:
    """Writes a second."""
    left = iter(range(writes))

    async def one() -> None:
        for n in left:
            write = governed(f"{name}-{n}")
            await writer.append(write, [entry.private for entry in write.entries])

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return writes / (time.perf_counter() - began)


def spent(writer: Writer) -> float:
    """Seconds of CPU that the writer's Postgres process has used."""
    fields = Path(f"/proc/{writer._link.get_server_pid()}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(dsn: str, writes: int, rounds: int, at_once: int) -> None:
    held = await open_access(dsn, TENANT)
    assert held.guard is Guard.ROLE
    writers = {"held": Writer(dsn, held, "held"), "free": Writer(dsn, Access(TENANT, Guard.NONE), "free")}
    rates: dict[str, list[float]] = {name: [] for name in writers}
    cpu: dict[str, list[float]] = {name: [] for name in writers}
    for name, writer in writers.items():
        await burst(writer, f"warm-{name}", 500, at_once)
    for n in range(rounds):
        for name in list(writers) if n % 2 else list(reversed(writers)):
            before = spent(writers[name])
            rates[name].append(await burst(writers[name], f"{name}-{n}", writes, at_once))
            cpu[name].append((spent(writers[name]) - before) / writes * 1e6)
    for writer in writers.values():
        await writer.aclose()
    for name in writers:
        rate, used = statistics.median(rates[name]), statistics.median(cpu[name])
        print(f"{name}: {rate:.0f} writes/s, {used:.0f} us of Postgres CPU a write (medians of {rounds})")
    for what, of in (("writes/s", rates), ("CPU", cpu)):
        pairs = sorted(held / free for held, free in zip(of["held"], of["free"], strict=True))
        low, high = pairs[len(pairs) // 4], pairs[-len(pairs) // 4]
        print(f"{what}, held / free: median {statistics.median(pairs):.3f}, quartiles {low:.3f} to {high:.3f}")


def main() -> None:
    take = argparse.ArgumentParser(description=__doc__)
    take.add_argument("--writes", type=int, default=1000)
    take.add_argument("--rounds", type=int, default=20)
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
