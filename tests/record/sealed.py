"""An export that is sealed as a plane would seal it, in memory, to be tampered with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

from cxplane.adapters.signing import Ed25519Signer, new_private_key, verify
from cxplane.record.merkle import Frontier, leaf_hash
from cxplane.record.note import Checkpoint, Key, join_notes, sign
from cxplane.record.verify import ENDORSEMENT, Report, Verifier, batches, read_checkpoints

ORIGIN = "cxplane/acme"
SIGNER = Ed25519Signer(new_private_key(ORIGIN))
STRANGER = Ed25519Signer(new_private_key(ORIGIN))


def key_of(signer: Ed25519Signer) -> Key:
    return Key(signer.name, signer.public)


def signed(checkpoint: Checkpoint, *signers: Ed25519Signer) -> str:
    return str(sign(checkpoint.text, [(key_of(s), s.sign) for s in signers]))


def line(position: int, kind: str = "request", /, **body: object) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": str(position), "type": f"cxplane.{kind}", "data": {"body": body}},
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()


def announces(signer: Ed25519Signer, *by: Ed25519Signer, position: int = 0) -> bytes:
    endorsed = str(sign(f"{ENDORSEMENT}{key_of(signer)}\n", [(key_of(s), s.sign) for s in by]))
    return line(position, "seal.key", key=str(key_of(signer)), endorsed=endorsed)


@dataclass(frozen=True)
class Export:
    lines: bytes
    checkpoints: str
    leaves: bytes | None

    def changed(self, **what: object) -> Export:
        return replace(self, **what)  # type: ignore[arg-type]


LINES = [line(n) for n in range(1, 5)]


def sealed(
    lines: Sequence[bytes],
    sizes: Sequence[int],
    *,
    leaves: bool = True,
    signers: Sequence[Sequence[Ed25519Signer]] = (),
) -> Export:
    """Checkpoints at these sizes; `signers` of each, by default the one."""
    tree, notes, hashes = Frontier(), [], []
    by_size = dict(zip(sizes, signers or [[SIGNER]] * len(sizes), strict=True))
    for n, one in enumerate(lines, start=1):
        hashes.append(leaf_hash(one))
        tree.push(hashes[-1])
        if n in by_size:
            notes.append(signed(Checkpoint(ORIGIN, n, tree.root()), *by_size[n]))
    return Export(b"".join(one + b"\n" for one in lines), join_notes(notes), b"".join(hashes) if leaves else None)


def report_of(
    export: Export, *, trusted: Sequence[Ed25519Signer] = (SIGNER,), apart: str = "", known: Sequence[Key] = ()
) -> Report:
    """NoteError for checkpoints that cannot be read. `apart`: checkpoints that were kept apart."""
    verifier = Verifier(
        read_checkpoints(text for text in (export.checkpoints, apart) if text),
        [key_of(s) for s in trusted],
        verify,
        known=known,
    )
    leaves = BytesIO(export.leaves) if export.leaves is not None else None
    return verifier.run(batches(BytesIO(export.lines)), leaves)
