"""The sealer: puts settled entries under a signed checkpoint, and says loudly when the record is not what was signed.

One step is two questions to the store: what comes next, as hashes; and the tree moved forward with its checkpoint, which
succeeds for one plane only. All state is in the store, so a step may stop anywhere. A checkpoint leaves the process (to
the sink) only after the store has it: no two trees of one size are ever signed to the outside.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from cxplane.domain.errors import SealBroken, SinkFailure
from cxplane.domain.record import Write
from cxplane.loop.seal_keys import announcement
from cxplane.ports.clock import Clock
from cxplane.ports.seal import Growth, Sealed, Signer, Sink, Verify
from cxplane.ports.store import Store
from cxplane.ports.telemetry import Telemetry
from cxplane.record import merkle, tiles
from cxplane.record.merkle import Frontier
from cxplane.record.note import Checkpoint, Key, NoteError, parse_checkpoint, sign

log = logging.getLogger("cxplane.seal")

EVERY = timedelta(seconds=5)
MOST = 10_000  # entries under one checkpoint
CHECK_TILES = 4  # tiles of 256 entries looked at again after each step
REST = timedelta(hours=24)  # after all were looked at
NEXT = (
    "If that was meant: `cxplane audit keys rotate --new-tree`, and start the planes again; else find out who did it."
)


class Sealer:
    """Seals one tenant. `signers`: newest first; all of them sign, so that who trusts an old key can follow.

    The name of the newest is the origin of the tree. A key with another name begins another tree, over the same record:
    the way on after the store was set back (restored from a backup), decided where the keys are and not in the store.
    """

    def __init__(
        self,
        tenant: str,
        store: Store,
        signers: Sequence[Signer],
        sink: Sink,
        clock: Clock,
        telemetry: Telemetry,
        verify: Verify,
    ) -> None:
        if not signers:
            raise ValueError("a sealer needs a key")
        self.tenant, self._store, self._sink, self._verify = tenant, store, sink, verify
        self._clock, self._telemetry = clock, telemetry
        self._signers = [(Key(s.name, s.public), s.sign) for s in signers]
        self._origin = self._signers[0][0].name
        self._announced = False
        self._sent: Checkpoint | None = None  # the last that the sink is known to have
        self._begun: int | None = None  # where the record says that this tree was begun
        self._next_check, self._rests_until = 0, clock.now() + timedelta(minutes=1)
        self.trouble: str | None = None  # for people; None while all is well
        self.sealed: Sealed | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(key for key, _ in self._signers)

    async def step(self) -> int:
        """Seal all that is settled, send what was not sent, look at a little of the old; how many entries were sealed.

        Raises SealBroken where it would sign something else than was signed, and SinkFailure where the sink fails.
        """
        total = 0
        try:
            if not self._announced:
                await self._announce()
            while (count := await self._grow()) == MOST:
                total += count
            total += count
            await self._send()
            await self._check()
        except SealBroken as broken:
            self._say(broken)
            raise
        except SinkFailure as failure:
            self._telemetry.gauge("seal_trouble", 1, {"what": "sink"})
            self.trouble = self.trouble or str(failure)
            raise
        return total

    async def look(self) -> Sealed | None:
        """How far the record is sealed, where it may be sealed on; signs and sends nothing. SealBroken, SinkFailure."""
        sealed = await self._store.seals.sealed(self.tenant)
        if sealed is not None and sealed.origin in {key.name for key in self.keys} - {self._origin}:
            await self._not_restored(sealed)  # another tree is to be begun
        else:
            self._trusted(sealed)
            await self._not_restored(sealed)
            await self._not_behind()
        return sealed

    async def _grow(self) -> int:
        new = await self._store.seals.next(self.tenant, MOST)
        if not new.positions and self.sealed is not None and self.sealed.size == new.size:
            return 0
        before = self.sealed = await self._store.seals.sealed(self.tenant)
        if before is not None and await self._begins_anew(before):
            self.sealed = None
            return await self._grow()
        frontier = self._trusted(before)
        if not new.positions or frontier.size != new.size:  # or another plane was quicker
            return 0
        await self._not_restored(before)
        await self._not_behind()
        origin = self._origin
        held = await self._store.seals.tiles(self.tenant, tiles.open_places(new.size))
        try:
            grown = tiles.grow(
                frontier, tiles.split(new.leaves), new.positions, {level: hashes for (level, _), hashes in held.items()}
            )
        except ValueError as problem:
            raise SealBroken(f"the sealed tree of {self.tenant} was changed: {problem}") from None
        note = str(sign(Checkpoint(origin, frontier.size, frontier.root()).text, self._signers))
        after = Sealed(origin, frontier.size, new.positions[-1], frontier.to_bytes(), note, self._clock.now())
        if not await self._store.seals.move(
            self.tenant, Growth(new.size, after, [(t.level, t.n, t.first, t.hashes) for t in grown])
        ):
            return 0
        self.sealed = after
        self._telemetry.gauge("sealed_entries", after.size)
        self._telemetry.gauge("sealed_at_seconds", after.at.timestamp())
        return len(new.positions)

    async def _begins_anew(self, before: Sealed) -> bool:
        """Whether a tree of an older key's name was put away, so that one of the newest key's name is begun."""
        if before.origin == self._origin or before.origin not in {key.name for key in self.keys}:
            return False
        log.warning(
            "the record of %s is sealed anew as %s; %s ends at %d",
            self.tenant,
            self._origin,
            before.origin,
            before.size,
        )
        await self._store.seals.restart(self.tenant, before.origin)  # or another plane was quicker
        return True

    def _trusted(self, sealed: Sealed | None) -> Frontier:
        """The tree as the store has it, if it is the one that a key of ours signed."""
        if sealed is None:
            return Frontier()
        try:
            frontier = Frontier.from_bytes(sealed.size, sealed.frontier)
            checkpoint = parse_checkpoint(sealed.note)
            assert checkpoint.note is not None
            signed = checkpoint.note.signed_by(self.keys, self._verify)
        except (ValueError, NoteError) as problem:
            raise SealBroken(f"the sealed tree of {self.tenant} was changed: {problem}") from None
        if not signed or sealed.origin != self._origin:
            raise SealBroken(
                f"the last checkpoint of {self.tenant} is signed by none of the keys in CXPLANE_SEAL_KEY",
                next="Put the key that signed it after the new one: both sign until you take the old one away.",
            )
        if (checkpoint.origin, checkpoint.size, checkpoint.root) != (sealed.origin, sealed.size, frontier.root()):
            raise SealBroken(f"the sealed tree of {self.tenant} does not have the root that was signed")
        return frontier

    async def _not_restored(self, before: Sealed | None) -> None:
        """Whether the store came back from a backup, and no tree was begun since: by its key, put on record by a person.

        What was signed after the backup is in somebody's hands: to go on would be to sign two trees in one name. A sink
        that was lost together with the store cannot tell; the record can.
        """
        if self._begun is None:
            announced = await self._store.entries(self.tenant, kind="seal.key", limit=1000)
            self._begun = next((e.position for e in announced if Key.parse(e.body["key"]).name == self._origin), None)
        after = max(self._begun or 0, before.position if before is not None else 0)
        for restored in await self._store.entries(self.tenant, after=after, kind="store.restored", limit=1):
            latest, size = None, before.size if before is not None else 0
            with suppress(SinkFailure):
                latest = await self._latest()
            gone = latest.size - size if latest is not None and latest.origin == self._origin else 0
            known = f"; {gone} entries that were signed are gone" if gone > 0 else ""
            raise SealBroken(
                f"the store was set back to an earlier moment (entry {restored.position} says so){known}", next=NEXT
            )

    async def _not_behind(self) -> None:
        """Whether the sink holds nothing that contradicts the store: a store that was set back must not sign anew.

        The sink is asked first: what another plane sends meanwhile is in the store before it is there.
        """
        latest = await self._latest()
        if latest is None:
            if self._sent is not None:
                raise SealBroken(f"the sink {self._sink} lost what it had")
            return
        sealed = await self._store.seals.sealed(self.tenant)
        size = sealed.size if sealed else 0
        if latest.origin != self._origin and latest.origin in {key.name for key in self.keys}:
            return  # of a tree before this one
        if latest.size > size:
            raise SealBroken(
                f"the store holds {size} sealed entries, and {latest.size} were signed: it was set back, or entries are gone",
                next=NEXT,
            )
        stands = await self._store.seals.checkpoint(self.tenant, origin=latest.origin, size=latest.size)
        if stands is None or parse_checkpoint(stands).root != latest.root:
            raise SealBroken(f"the sink {self._sink} holds another tree of {latest.size} entries than the store")

    async def _latest(self) -> Checkpoint | None:
        text = await self._sink.latest()
        if text is None:
            return None
        try:
            self._sent = parse_checkpoint(text)
        except NoteError as problem:
            raise SealBroken(f"the latest checkpoint in {self._sink} cannot be read: {problem}") from None
        return self._sent

    async def _send(self) -> None:
        """Everything that the sink does not have yet, oldest first."""
        if self.sealed is None or self._sent == parse_checkpoint(self.sealed.note):
            return
        latest = await self._latest()
        done = latest.size if latest is not None and latest.origin == self.sealed.origin else 0
        if done >= self.sealed.size:
            await self._not_behind()
        while done < self.sealed.size:
            page = await self._store.seals.checkpoints(self.tenant, origin=self.sealed.origin, after=done)
            if not page:
                raise SealBroken(f"the store lost checkpoints of {self.tenant} past {done} entries")
            for size, note in page:
                await self._sink.put(size, note)
                self._sent, done = parse_checkpoint(note), size
        self._telemetry.gauge("seal_trouble", 0, {"what": "sink"})
        if self.trouble is not None and self.trouble.startswith("the checkpoints' sink"):
            self.trouble = None

    async def _announce(self) -> None:
        """Put a new key on record, in the words of the key before it: never one that the tree does not know."""
        before = await self._store.seals.sealed(self.tenant)
        if before is not None and before.origin not in {key.name for key in self.keys[1:]}:
            self._trusted(before)
        known = [e.body["key"] for e in await self._store.entries(self.tenant, kind="seal.key", limit=1000)]
        key, _ = self._signers[0]
        if str(key) not in known:
            await self._not_restored(before)
            entry = announcement(self._signers, at=self._clock.now())
            await self._store.append(Write(self.tenant, (entry,)))
            log.info("the record of %s is sealed with key %s from now on", self.tenant, key)
        self._announced = True

    async def _check(self) -> None:
        """Look whether a few tiles still are what their entries give and what was signed; a round takes its time."""
        now = self._clock.now()
        sealed = self.sealed
        if sealed is None or now < self._rests_until:
            return
        first, last = self._next_check, (sealed.size - 1) // tiles.WIDTH
        until = min(first + CHECK_TILES - 1, last)
        await look_again(self._store, self.tenant, sealed, first, until)
        self._telemetry.gauge("seal_trouble", 0, {"what": "record"})
        if until == last:
            self._next_check, self._rests_until = 0, now + REST
        else:
            self._next_check = until + 1

    def _say(self, broken: SealBroken) -> None:
        self._telemetry.gauge("seal_trouble", 1, {"what": "record"})
        what = f"{broken} → {broken.next}"
        if what != self.trouble:
            log.error("THE RECORD IS NOT WHAT WAS SIGNED: %s", what)
        self.trouble = what


async def look_again(store: Store, tenant: str, sealed: Sealed, first: int, last: int) -> None:
    """Whether these tiles of level 0 are what their entries give, and are under the last root. SealBroken names the entry."""
    differs = await store.seals.differs(tenant, first, last)
    if differs is not None:
        raise SealBroken(f"entry number {differs} of {tenant} (counted from 0) is not the one that was signed")
    root = parse_checkpoint(sealed.note).root
    for n in range(first, last + 1):
        index = n * tiles.WIDTH
        plan = merkle.inclusion_plan(index, sealed.size)
        kept = await store.seals.tiles(tenant, sorted(tiles.needed(plan) | {(0, n)}))
        try:
            proof = tiles.prove(plan, kept)
            good = merkle.included(kept[0, n][: merkle.HASH], index, sealed.size, proof, root)
        except (ValueError, KeyError):
            good = False
        if not good:
            raise SealBroken(f"the hashes of entries {index} and following of {tenant} are not those that were signed")
