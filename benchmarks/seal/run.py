"""How fast a sealed export is verified, and what sealing costs: `python -m benchmarks.seal.run --out report.json`.

The lines are as long as those of a governed write (some 1 kB with everything that explains it). One core, one process; the
export is written first and read from the page cache, as it would be after a download. Sealing is measured on an embedded
Postgres (`--sealed` entries, 0 for none): the time of a step, most of which the store takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxplane.adapters.clock import SystemClock
from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from cxplane.adapters.postgres.store import open_store
from cxplane.adapters.signing import Ed25519Signer, new_private_key, verify
from cxplane.adapters.sinks import FolderSink
from cxplane.adapters.telemetry import PrometheusTelemetry
from cxplane.domain.record import NewEntry, Write
from cxplane.loop.sealer import Sealer
from cxplane.record.merkle import Frontier, leaf_hash
from cxplane.record.note import Checkpoint, Key, join_notes, sign
from cxplane.record.verify import Verifier, batches, read_checkpoints

os.environ.setdefault("CXPLANE_DATA_KEY", "A" * 43)  # 32 zero bytes: sealing costs the same

STRIDE = 10_000


def written(folder: Path, entries: int, length: int) -> Key:
    """An export of so many lines, with a checkpoint every 10,000. Returns the key."""
    signer = Ed25519Signer(new_private_key("cxplane/bench"))
    key, tree, notes, rng = Key(signer.name, signer.public), Frontier(), list[str](), random.Random(1)
    with (folder / "entries.jsonl").open("wb") as lines, (folder / "leaves").open("wb") as leaves:
        for n in range(1, entries + 1):
            line = json.dumps(
                {"id": str(n), "type": "cxplane.decision", "data": rng.randbytes(length // 2).hex()}
            ).encode()
            hash = leaf_hash(line)
            lines.write(line + b"\n")
            leaves.write(hash)
            tree.push(hash)
            if n % STRIDE == 0 or n == entries:
                notes.append(str(sign(Checkpoint(key.name, n, tree.root()).text, [(key, signer.sign)])))
    (folder / "checkpoints").write_text(join_notes(notes))
    return key


def measured(folder: Path, key: Key, *, with_leaves: bool) -> float:
    """Entries verified in a second of this process's time on the CPU."""
    start = time.process_time()
    checkpoints = read_checkpoints([(folder / "checkpoints").read_text()])
    with (folder / "entries.jsonl").open("rb", buffering=1 << 20) as lines, (folder / "leaves").open("rb") as leaves:
        report = Verifier(checkpoints, [key], verify).run(batches(lines), leaves if with_leaves else None)
    assert report.good, report.finding
    return report.entries / (time.process_time() - start)


async def sealing(dsn: str, folder: Path, entries: int) -> dict[str, float]:
    """Microseconds an entry, and milliseconds of a step with nothing to seal."""
    store = await open_store(dsn, tenant="bench")
    body, private = {"request": "r", "verdict": "allow", "text": "x" * 300}, {"facts": {"a": "y" * 300}}
    for start in range(0, entries, 2000):
        now = datetime.now(UTC)
        made = [NewEntry("note", f"s-{n}", now, "bench", body, private) for n in range(start, start + 2000)]
        await asyncio.gather(*(store.append(Write("bench", (entry,))) for entry in made))
    signers = [Ed25519Signer(new_private_key("cxplane/bench"))]
    sealer = Sealer("bench", store, signers, FolderSink(folder), SystemClock(), PrometheusTelemetry(), verify)
    start_s, cpu_s = time.perf_counter(), time.process_time()
    count = await sealer.step()
    told = {
        "seal_us_per_entry": round((time.perf_counter() - start_s) / count * 1e6, 1),
        "of_it_in_the_plane": round((time.process_time() - cpu_s) / count * 1e6, 1),
    }
    start_s = time.perf_counter()
    for _ in range(100):
        await sealer.step()
    told["idle_step_ms"] = round((time.perf_counter() - start_s) * 10, 2)
    await store.aclose()
    return told


def measure_sealing(entries: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        postgres = EmbeddedPostgres(Path(name) / "store")
        try:
            return asyncio.run(sealing(postgres.start(), Path(name) / "sink", entries))
        finally:
            postgres.stop()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--entries", type=int, default=500_000)
    options.add_argument("--length", type=int, default=1000, help="bytes of a line, about")
    options.add_argument("--sealed", type=int, default=40_000, help="entries that are sealed in a store")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    told: dict[str, Any] = {"entries": given.entries, "bytes_a_line": given.length, "python": sys.version.split()[0]}
    with tempfile.TemporaryDirectory() as name:
        key = written(Path(name), given.entries, given.length)
        for what, with_leaves in (("with_hashes", True), ("lines_alone", False)):
            told[f"{what}_per_s"] = round(max(measured(Path(name), key, with_leaves=with_leaves) for _ in range(3)))
    if given.sealed:
        told |= measure_sealing(given.sealed)
    text = json.dumps(told, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
