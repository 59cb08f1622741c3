"""Whether the lines of an export are those that were signed: offline, in one pass, naming the first that is not.

The lines are hashed into the tree again; where a checkpoint stands, the root must be the one that was signed. Hashes of all
leaves that go along (`leaves`) prove nothing by themselves; they are used to say exactly which line is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import SEEK_END
from itertools import islice
from typing import BinaryIO

from cxplane.record.findings import UNREADABLE, Finding, Restored, diagnosis, restored_in, split
from cxplane.record.merkle import HASH, Frontier, complete_root, leaf_hash
from cxplane.record.note import Checkpoint, Key, NoteError, Verify, parse_checkpoint, parse_note, split_notes

BATCH = 256
HEIGHT = 8
NEAR = 4096  # how far a line that moved is looked for
ENDORSEMENT = "cxplane seal key\n"
_ANNOUNCES = b'"type":"cxplane.seal.key"'
_RESTORED = b'"type":"cxplane.store.restored"'


@dataclass(slots=True)
class Report:
    entries: int = 0  # lines that were read
    sealed: int = 0  # of them, under a checkpoint that a trusted key signed
    checkpoints: int = 0  # that were checked
    origin: str = ""
    keys: list[str] = field(default_factory=list)  # trusted at the end: those given, and those that they endorsed
    other_trees: int = 0  # checkpoints of other origins, which were not looked at
    others: list[str] = field(default_factory=list)  # these origins
    restored: list[Restored] = field(default_factory=list)
    finding: Finding | None = None

    @property
    def unsealed(self) -> int:
        return self.entries - self.sealed

    @property
    def good(self) -> bool:
        return self.finding is None and self.unsealed == 0 and self.sealed > 0


class _Wrong(Exception):
    def __init__(self, finding: Finding) -> None:
        self.finding = finding


def batches(file: Iterable[bytes]) -> Iterator[list[bytes]]:
    """256 lines at a time, without their line ends. A last line that is cut off keeps one, which no good line has."""
    rows = iter(file)
    while batch := list(islice(rows, BATCH)):
        yield [line[:-1] if line.endswith(b"\n") else line + b"\n" for line in batch]


def read_checkpoints(texts: Iterable[str]) -> list[Checkpoint]:
    """Of several files, each once, smallest first. NoteError for what is none."""
    found: dict[str, Checkpoint] = {}
    for text in texts:
        for note in split_notes(text):
            found.setdefault(note, parse_checkpoint(note))
    return sorted(found.values(), key=lambda c: c.size)


class Verifier:
    """`trusted`: keys of the tree that the verifier has from elsewhere. `known`: keys that may sign besides."""

    def __init__(
        self, checkpoints: Sequence[Checkpoint], trusted: Sequence[Key], verify: Verify, *, known: Sequence[Key] = ()
    ) -> None:
        self._verify, self._trusted, self._known = verify, list(trusted), [*trusted, *known]
        origin = _origin(checkpoints, trusted)
        self._due = [c for c in checkpoints if c.origin == origin]
        self._others = [c for c in checkpoints if c.origin != origin]
        self._next = 0
        self._before = b""  # the line before the batch
        self._announced: list[tuple[Key, str]] = []
        self._tree, self._good = Frontier(), Frontier()  # all lines so far; those up to the last good checkpoint
        others = sorted({c.origin for c in self._others})
        self.report = Report(origin=origin, other_trees=len(self._others), others=others)

    def run(
        self, lines: Iterator[list[bytes]], leaves: BinaryIO | None = None, tell: Callable[[int], None] = lambda n: None
    ) -> Report:
        """Read everything, or up to the first thing that is wrong. `tell` is called with the number of lines read."""
        report = self.report
        try:
            if not self._due:
                raise _Wrong(Finding("checkpoint", "there is no checkpoint: nothing says what was signed"))
            self._pass(0)
            for batch in lines:
                self._batch(batch, lines, leaves)
                report.entries = self._tree.size
                tell(report.entries)
            if self._next < len(self._due):
                raise _Wrong(self._short(leaves))
            if leaves is not None and leaves.read(1):
                raise _Wrong(Finding("hashes", "there are hashes of more entries than there are lines", report.entries))
            for other in self._others:
                self._signed(other)
        except _Wrong as wrong:
            report.finding = wrong.finding
            report.entries = max(report.entries, self._tree.size)
        report.keys = [str(key) for key in self._trusted]
        return report

    def _short(self, leaves: BinaryIO | None) -> Finding:
        """There are fewer lines than were signed. With the hashes of lines each line was the right one, so the last are missing."""
        size = self._due[-1].size
        missing = size - self._tree.size
        many = "1 of them is" if missing == 1 else f"{missing} of them are"
        if leaves is not None:
            return Finding("removed", f"the last {missing} of {size} signed entries are missing", self._tree.size)
        what = (
            f"{size} entries were signed, and {many} missing: at the end, or anywhere after the first {self._good.size}"
        )
        return Finding("removed", what, self._tree.size)

    def _batch(self, batch: list[bytes], more: Iterator[list[bytes]], leaves: BinaryIO | None) -> None:
        start = self._tree.size
        hashes = [sha256(b"\x00" + line).digest() for line in batch]
        if leaves is not None and leaves.read(HASH * len(hashes)) != b"".join(hashes):
            self._differs(start, batch, hashes, more, leaves)
        for index, line in enumerate(batch, start):
            if _ANNOUNCES in line:
                self._hear(line)
            if _RESTORED in line and (one := restored_in(index, line)) is not None:
                self.report.restored.append(one)
        self._before = batch[-1]
        end = start + len(batch)
        due = self._due[self._next].size if self._next < len(self._due) else end + 1
        if len(batch) == BATCH and due > end:
            self._tree.push_tree(complete_root(hashes), HEIGHT)
            return
        for hash in hashes:
            self._tree.push(hash)
            self._pass(self._tree.size)

    def _pass(self, size: int) -> None:
        """Check what was signed of a tree of this size."""
        while self._next < len(self._due) and self._due[self._next].size == size:
            checkpoint = self._due[self._next]
            trusted = self._signed(checkpoint)
            if checkpoint.root != self._tree.root():
                raise _Wrong(self._between(checkpoint))
            self._next += 1
            self.report.checkpoints += 1
            self._good = self._tree.copy()
            if trusted:
                self.report.sealed = size
                self._follow()

    def _signed(self, checkpoint: Checkpoint) -> bool:
        """Whether a trusted key signed it. A wrong signature, or none of a key that is known, is a finding."""
        assert checkpoint.note is not None
        try:
            known = checkpoint.note.signed_by(
                dict.fromkeys([*self._known, *(k for k, _ in self._announced)]), self._verify
            )
        except NoteError as problem:
            raise _Wrong(Finding("signature", f"checkpoint of {checkpoint.size} entries: {problem}")) from None
        if not known:
            raise _Wrong(
                Finding("signature", f"the checkpoint of {checkpoint.size} entries is signed by no key that is known")
            )
        return any(key in self._trusted for key in known)

    def _hear(self, line: bytes) -> None:
        """Remember a key that an entry announces. It is trusted once a trusted key has signed the entry and the key."""
        try:
            event = json.loads(line)
            if event["type"] == "cxplane.seal.key":
                body = event["data"]["body"]
                self._announced.append((Key.parse(body["key"]), str(body.get("endorsed", ""))))
        except UNREADABLE:
            return

    def _follow(self) -> None:
        for key, endorsed in self._announced:
            if key not in self._trusted and endorses(endorsed, key, self._trusted, self._verify):
                self._trusted.append(key)

    def _between(self, checkpoint: Checkpoint) -> Finding:
        good = self._good.size
        if good == checkpoint.size:
            two = f"two checkpoints of {good} entries were signed over different entries"
            return Finding(
                "fork", f"{two}: the store was set back and signed on, or the signer tells two stories", good
            )
        which = (
            f"one of the entries number {good} to {checkpoint.size - 1}"
            if good
            else f"one of {checkpoint.size} entries"
        )
        return Finding(
            "between", f"{which} (counted from 0) is not what was signed, or one was added or taken away", good
        )

    def _differs(
        self, start: int, batch: list[bytes], hashes: list[bytes], more: Iterator[list[bytes]], leaves: BinaryIO
    ) -> None:
        """Lines and hashes do not agree: say which of them is wrong, and where. Always raises _Wrong."""
        lines, found = list(batch), list(hashes)
        reach = next((c.size for c in self._due[self._next :] if c.size > start + BATCH), self._due[-1].size) - start
        for batch in more:
            lines += batch
            found += [leaf_hash(line) for line in batch]
            if len(found) >= max(NEAR, reach):
                break
        leaves.seek(max(0, start - NEAR) * HASH)
        earlier = set(split(leaves.read(min(start, NEAR) * HASH)))
        wanted = max(len(found), reach)
        there = leaves.seek(0, SEEK_END) - start * HASH
        leaves.seek(start * HASH)
        data = leaves.read(min(wanted * HASH, max(0, there)))  # a checkpoint may say any size
        signed = split(data)
        at = next((n for n, pair in enumerate(zip(found, signed, strict=False)) if pair[0] != pair[1]), None)
        at = min(len(found), len(signed)) if at is None else at
        checkpoint = self._ahead(start + at)
        count = checkpoint.size - start
        if self._gives(signed[:count], count, checkpoint):
            raise _Wrong(
                diagnosis(
                    start + at,
                    lines[at - 1] if at else self._before,
                    lines[at:],
                    found[at:],
                    signed[at:],
                    earlier.union(signed[:at]),
                )
            )
        if self._gives(found[:count], count, checkpoint):
            raise _Wrong(
                Finding("hashes", f"the hash of entry number {start + at} was changed; the entry was not", start + at)
            )
        raise _Wrong(self._between(checkpoint))

    def _ahead(self, index: int) -> Checkpoint:
        """The next checkpoint that says something about this leaf."""
        for checkpoint in self._due[self._next :]:
            if checkpoint.size > index:
                return checkpoint
        raise _Wrong(Finding("inserted", "there are more lines than were signed, or hashes were added", index))

    def _gives(self, hashes: Sequence[bytes], count: int, checkpoint: Checkpoint) -> bool:
        tree = self._tree.copy()
        for hash in hashes:
            tree.push(hash)
        return len(hashes) == count and tree.root() == checkpoint.root


def endorses(endorsed: str, key: Key, trusted: Sequence[Key], verify: Verify) -> bool:
    """Whether a note of a trusted key says that this key signs from now on."""
    try:
        note = parse_note(endorsed)
        return note.text == f"{ENDORSEMENT}{key}\n" and bool(note.signed_by(trusted, verify))
    except NoteError:
        return False


def _origin(checkpoints: Sequence[Checkpoint], trusted: Sequence[Key]) -> str:
    """Of the trees there are, the one that a trusted key is named after; else that of the largest checkpoint."""
    names = [key.name for key in trusted]
    for checkpoint in reversed(checkpoints):
        if checkpoint.origin in names:
            return checkpoint.origin
    return checkpoints[-1].origin if checkpoints else ""
