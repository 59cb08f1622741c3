"""How fast a sealed export is verified: `python -m benchmarks.seal.run --entries 500000 --out report.json`.

The lines are as long as those of a governed write (some 1 kB with everything that explains it). One core, one process; the
export is written first and read from the page cache, as it would be after a download.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cxplane.adapters.signing import Ed25519Signer, new_private_key, verify
from cxplane.record.merkle import Frontier, leaf_hash
from cxplane.record.note import Checkpoint, Key, join_notes, sign
from cxplane.record.verify import Verifier, batches, read_checkpoints

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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--entries", type=int, default=500_000)
    options.add_argument("--length", type=int, default=1000, help="bytes of a line, about")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    told: dict[str, Any] = {"entries": given.entries, "bytes_a_line": given.length, "python": sys.version.split()[0]}
    with tempfile.TemporaryDirectory() as name:
        key = written(Path(name), given.entries, given.length)
        for what, with_leaves in (("with_hashes", True), ("lines_alone", False)):
            told[f"{what}_per_s"] = round(max(measured(Path(name), key, with_leaves=with_leaves) for _ in range(3)))
    text = json.dumps(told, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
