"""Keys that sign the record, put on record: who trusts the one before can follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cxplane.domain.key_entries import seal_key
from cxplane.domain.record import NewEntry, Write
from cxplane.ports.seal import Signer
from cxplane.ports.store import Store
from cxplane.record.note import Key, sign


async def announce(store: Store, signers: Sequence[Signer], *, at: datetime) -> None:
    """Put the newest key on record: by a person, where a sealer alone must not (after the store was set back)."""
    entry = announcement([(Key(s.name, s.public), s.sign) for s in signers], at=at)
    await store.append(Write(store.tenant, (entry,)))


def announcement(signers: Sequence[tuple[Key, object]], *, at: datetime) -> NewEntry:
    """The entry that says which key signs from now on, endorsed by each key before it."""
    key = signers[0][0]
    endorsed = str(sign(f"cxplane seal key\n{key}\n", signers[1:])) if len(signers) > 1 else None  # type: ignore[arg-type]
    return seal_key(str(key), endorsed=endorsed, at=at)
