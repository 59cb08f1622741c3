"""What the store gives to those who do not want to believe it: exports, proofs and evidence."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from cxplane.domain.errors import NotFound, NotSealed
from cxplane.domain.values import JsonObject
from cxplane.ports.seal import Sealed
from cxplane.ports.store import Store
from cxplane.record import merkle, tiles
from cxplane.record.note import parse_checkpoint

PAGE = 5000  # lines read at once
STRIDE = 10_000  # entries between the checkpoints that go along with an export


async def sealed_of(store: Store, tenant: str) -> Sealed:
    """How far the record is sealed. NotSealed if it is not."""
    sealed = await store.seals.sealed(tenant)
    if sealed is None:
        raise NotSealed(
            f"the record of {tenant} is not sealed",
            next="Set CXPLANE_SEAL_KEY and run a plane, or `cxplane audit seal`.",
        )
    return sealed


async def lines(store: Store, tenant: str, sealed: Sealed) -> AsyncIterator[list[str]]:
    """All sealed lines in order, a page at a time."""
    after = 0
    while page := await store.seals.lines(tenant, after=after, last=sealed.position, limit=PAGE):
        yield [line for _, line in page]
        after = page[-1][0]


async def leaves(store: Store, tenant: str, sealed: Sealed) -> AsyncIterator[bytes]:
    """The hashes that were signed, as the tiles hold them."""
    last = (sealed.size - 1) // tiles.WIDTH
    for start in range(0, last + 1, 64):
        kept = await store.seals.tiles(tenant, [(0, n) for n in range(start, min(start + 64, last + 1))])
        for n in range(start, min(start + 64, last + 1)):
            yield kept.get((0, n), b"")[: (sealed.size - n * tiles.WIDTH) * merkle.HASH]


async def checkpoints(store: Store, tenant: str, sealed: Sealed) -> AsyncIterator[str]:
    """Checkpoints of the tree, some 10,000 entries apart; the last one always."""
    done = told = 0
    while page := await store.seals.checkpoints(tenant, origin=sealed.origin, after=done):
        for size, note in page:
            if size >= sealed.size:
                yield sealed.note
                return
            if size >= told + STRIDE:
                yield note
                told = size
        done = page[-1][0]
    yield sealed.note


async def announced(store: Store, tenant: str) -> list[str]:
    """Public keys that were put on record, newest first."""
    found = await store.entries(tenant, kind="seal.key", limit=1000)
    return list(dict.fromkeys(str(e.body["key"]) for e in reversed(found)))


@dataclass(frozen=True, slots=True)
class Proven:
    """A line, and what proves that it is under the checkpoint."""

    position: int
    index: int
    line: str
    proof: tuple[str, ...]  # base64


async def prove_lines(store: Store, tenant: str, sealed: Sealed, found: Sequence[tuple[int, str]]) -> list[Proven]:
    """Inclusion proofs, checked before they are given. NotSealed for a line past the checkpoint, or one that was changed."""
    root = parse_checkpoint(sealed.note).root
    proven = []
    for position, line in found:
        index = await store.seals.index_of(tenant, position)
        if index is None or index >= sealed.size:
            raise NotSealed(f"position {position} is not under a signed checkpoint yet")
        plan = merkle.inclusion_plan(index, sealed.size)
        try:
            proof = tiles.prove(plan, await store.seals.tiles(tenant, sorted(tiles.needed(plan))))
        except ValueError:
            proof = ()
        if not merkle.included(merkle.leaf_hash(line.encode()), index, sealed.size, proof, root):
            raise NotSealed(
                f"the entry at position {position} is not the one that was signed",
                next="The record was changed. Do not delete anything; read docs/how-to/verify-the-record.md.",
            )
        proven.append(Proven(position, index, line, tuple(b64encode(step).decode() for step in proof)))
    return proven


async def prove_position(store: Store, tenant: str, position: int) -> JsonObject:
    """That the entry at this position is under the last checkpoint. NotFound, NotSealed."""
    sealed = await sealed_of(store, tenant)
    found = await store.seals.lines(tenant, after=position - 1, last=position, limit=1)
    if not found:
        raise NotFound(f"there is no entry at position {position}", next="`cxplane entries` shows positions.")
    (proven,) = await prove_lines(store, tenant, sealed, found)
    return {
        "format": "cxplane-inclusion/1",
        "entry": {"index": proven.index, "line": proven.line, "proof": list(proven.proof)},
        "checkpoint": sealed.note,
        "keys": await announced(store, tenant),
    }


async def prove_consistency(store: Store, tenant: str, old: int, new: int | None) -> JsonObject:
    """That the tree of `old` entries is the beginning of the one of `new` (None: the last). NotFound, NotSealed."""
    sealed = await sealed_of(store, tenant)
    notes = []
    for size in (old, new or sealed.size):
        note = await store.seals.checkpoint(tenant, origin=sealed.origin, size=size)
        if note is None:
            raise NotFound(
                f"no checkpoint of {size} entries was signed", next="Take the sizes from the checkpoints in the sink."
            )
        notes.append(note)
    older, newer = (parse_checkpoint(note) for note in notes)
    if older.size > newer.size:
        raise NotFound("the first size must be the smaller one", next="Turn them round.")
    plan = merkle.consistency_plan(older.size, newer.size)
    proof = tiles.prove(plan, await store.seals.tiles(tenant, sorted(tiles.needed(plan))))
    if not merkle.consistent(older.size, newer.size, older.root, newer.root, proof):
        raise NotSealed(
            f"the tree of {newer.size} entries does not begin with the one of {older.size}",
            next="The record was changed. Do not delete anything; read docs/how-to/verify-the-record.md.",
        )
    return {
        "format": "cxplane-consistency/1",
        "old": notes[0],
        "new": notes[1],
        "proof": [b64encode(step).decode() for step in proof],
        "keys": await announced(store, tenant),
    }
