"""Ed25519 by `cryptography`. A private key is written as https://pkg.go.dev/golang.org/x/mod/sumdb/note does:
`PRIVATE+KEY+name+hash+base64`; several, newest first, with spaces or line ends between them.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cxplane.domain.errors import SealKeyWrong

_PREFIX = "PRIVATE+KEY+"


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class Ed25519Signer:
    """One private key. Raises SealKeyWrong, which never shows it."""

    def __init__(self, text: str) -> None:
        name, mark, rest = text.removeprefix(_PREFIX).partition("+")
        hash, _, seed = rest.partition("+")
        try:
            data = b64decode(seed, validate=True)
        except ValueError:
            data = b""
        if not text.startswith(_PREFIX) or not mark or not name or len(data) != 33 or data[0] != 1:
            raise SealKeyWrong("cannot be read")
        self._key = Ed25519PrivateKey.from_private_bytes(data[1:])
        self.name, self.public = name, self._key.public_key().public_bytes_raw()
        if hash != _id(name, self.public):
            raise SealKeyWrong("is not whole: its hash does not fit it")

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.name})"


def signers_from(text: str) -> Sequence[Ed25519Signer]:
    """All keys of a secret, newest first."""
    found = [Ed25519Signer(part) for part in text.split()]
    if not found:
        raise SealKeyWrong("is empty")
    return found


def new_private_key(name: str) -> str:
    key = Ed25519PrivateKey.generate()
    hash = _id(name, key.public_key().public_bytes_raw())
    return f"{_PREFIX}{name}+{hash}+{b64encode(bytes([1]) + key.private_bytes_raw()).decode()}"


def keys_in(path: Path) -> str | None:
    """What the key file of an embedded store says; None where there is none."""
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None


def put_first(path: Path, key: str) -> None:
    """Write a key file with this key before those that are in it; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{key}\n{keys_in(path) or ''}")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _id(name: str, public: bytes) -> str:
    return sha256(name.encode() + b"\n\x01" + public).digest()[:4].hex()
