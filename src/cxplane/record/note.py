"""Signed notes and checkpoints, as https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint say them.

A checkpoint is three lines (the name of the tree, its size, its root in base64), an empty line, and signatures:

    cxplane/acme
    1200
    3vwTnYZ5wg0J4CUnCLvQlDB+5JXZp5P3nT2hOQXoqWk=

    — cxplane/acme 5Ay2EVz9…

How Ed25519 is computed is not said here: `Verify` is an argument.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cxplane.record.merkle import HASH

ED25519 = 1
MOST_SIGNATURES = 100
Verify = Callable[[bytes, bytes, bytes], bool]  # (public key, signature, message)

_NAME = re.compile(r"^[^\s+]+$")
_SIZE = re.compile(r"^(0|[1-9][0-9]{0,18})$")
_SIGNATURE = re.compile(r"^— (\S+) (\S+)$")


class NoteError(ValueError):
    """This is no signed note, checkpoint or key; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key with a name. As text: `name+hash+base64`, the verifier key of a signed note."""

    name: str
    public: bytes  # 32 bytes

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or len(self.public) != 32:
            raise NoteError("a key has a name without spaces and plus signs, and 32 bytes")

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes([ED25519]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> Key:
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise NoteError("a key is written name+hash+base64")
        data = _base64(parts[2], "the key")
        if len(data) != 33 or data[0] != ED25519:
            raise NoteError("only Ed25519 keys can be read")
        key = cls(parts[0], data[1:])
        if key.id.hex() != parts[1]:
            raise NoteError("the hash of the key does not fit it; was it copied whole?")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes  # 4 bytes
    value: bytes  # 64 bytes for Ed25519

    def __str__(self) -> str:
        return f"— {self.name} {b64encode(self.key_id + self.value).decode()}"


@dataclass(frozen=True, slots=True)
class Note:
    text: str  # ends with a line end
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(f"{s}\n" for s in self.signatures)

    def signed_by(self, keys: Iterable[Key], verify: Verify) -> tuple[Key, ...]:
        """Those of the keys that have signed. NoteError for a signature in the name of one that does not fit."""
        found: list[Key] = []
        for signature in self.signatures:
            for key in keys:
                if (signature.name, signature.key_id) != (key.name, key.id):
                    continue
                if len(signature.value) != 64 or not verify(key.public, signature.value, self.text.encode()):
                    raise NoteError(f"the signature of {key.name}+{key.id.hex()} does not fit the text")
                found.append(key)
        return tuple(dict.fromkeys(found))


def parse_note(text: str) -> Note:
    """NoteError if it is none."""
    head, mark, tail = text.rpartition("\n\n")
    if not mark or not tail.endswith("\n") or not head:
        raise NoteError("a signed note is text, an empty line, and signatures")
    if any((ord(c) < 32 and c != "\n") or c == "\x7f" for c in text):
        raise NoteError("a signed note holds no control characters")
    signatures = []
    for line in tail[:-1].split("\n"):
        match = _SIGNATURE.match(line)
        if match is None or not _NAME.match(match[1]):
            raise NoteError("a signature line is — NAME BASE64")
        data = _base64(match[2], "a signature")
        if len(data) < 5:
            raise NoteError("a signature is too short")
        signatures.append(Signature(match[1], data[:4], data[4:]))
    if len(signatures) > MOST_SIGNATURES:
        raise NoteError("too many signatures")
    return Note(head + "\n", tuple(signatures))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a tree."""

    origin: str
    size: int
    root: bytes = field(repr=False)
    note: Note | None = field(default=None, repr=False, compare=False)

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """A signed checkpoint; its signatures are not looked at. NoteError if it is none."""
    note = parse_note(text)
    lines = note.text[:-1].split("\n")
    if len(lines) < 3 or not lines[0] or not _SIZE.match(lines[1]):
        raise NoteError("a checkpoint says its origin, size and root")
    root = _base64(lines[2], "the root")
    if len(root) != HASH:
        raise NoteError("the root of a checkpoint is 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root, note)


def join_notes(notes: Iterable[str]) -> str:
    """Several notes in one file: an empty line between them."""
    return "\n".join(notes)


def split_notes(text: str) -> Iterator[str]:
    """The notes of such a file. NoteError at the end where the last one is not whole."""
    part: list[str] = []
    signed = False
    for line in text.splitlines(keepends=True):
        if signed and line == "\n":
            yield "".join(part)
            part, signed = [], False
            continue
        part.append(line)
        if line.startswith("— "):
            signed = True
    if part:
        if not signed or not part[-1].endswith("\n"):
            raise NoteError("the last checkpoint of the file is cut off")
        yield "".join(part)


def sign(text: str, signers: Sequence[tuple[Key, Callable[[bytes], bytes]]]) -> Note:
    """The text, signed with each key in turn."""
    if not text.endswith("\n"):
        raise NoteError("the text of a note ends with a line end")
    return Note(text, tuple(Signature(key.name, key.id, use(text.encode())) for key, use in signers))


def _base64(text: str, what: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{what} is not base64") from None
    if b64encode(data).decode() != text:  # bits that say nothing
        raise NoteError(f"{what} is not written the one way base64 is")
    return data
