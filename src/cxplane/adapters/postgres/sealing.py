"""Personal data, sealed: `private` of an entry as the record keeps it, and back.

A sealed value is the text `cxe1:<key id>:<base64url of commitment(32) + AES-SIV ciphertext>`. What is enciphered is salt(16),
one byte that says how the rest is packed, and the JSON of the value. The commitment is SHA-256(salt + JSON): who is shown salt
and JSON can check them against the sealed entry with a hash alone. The salt comes from the key, so the same value of the same
field and customer is sealed to the same text, and nobody without the key can guess a value by trying.
"""

from __future__ import annotations

import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

PREFIX = "cxe1:"
WHOLE = "~"  # the only name in a `private` that is sealed as one value
PACK = 96  # bytes of JSON from which packing is tried
_SALT, _COMMITMENT = 16, 32
_RAW, _ZLIB = b"\0", b"\1"
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode
# names that are in most of what is sealed: what is packed may point to them. It never changes: `cxe1` means this text
_NAMES = (
    b'"comment":"","at":"","reason":"","value":"","name":"","text":"","candidates":[{"action":"","score":0.'
    b'"state":{"status":"","tokens":[{"step":"","wait":{"kind":"","request":"req_"},"vars":{"goals":{},"error":null'
    b'"recorded":{"output":{"account":{"account_id":"","amount":"balance":"currency":"EUR","customer":"","id":"","status":"'
    b'"context":{"assurance":0,"channel":"chat","confidence":"confirmed":false,"mode":"act","facts":{"input":{'
)


class Salter:
    """HMAC-SHA-256 under one key; what depends on the key alone is worked out once."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        """`secret`: at most 64 bytes."""
        padded = secret.ljust(64, b"\0")
        self._inner, self._outer = (sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))

    def __call__(self, text: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.digest()


@dataclass(frozen=True, slots=True)
class Key:
    """A key of one subject, ready to seal and to open."""

    id: str
    tenant: str
    cipher: AESSIV = field(repr=False)
    salter: Salter = field(repr=False)
    about: list[bytes] = field(repr=False)  # bound to every ciphertext


def ready(tenant: str, id: str, secret: bytes) -> Key:
    """`secret`: 32 random bytes. One key to encipher, one to salt, both derived from it."""

    def derived(what: bytes) -> bytes:
        return hmac.digest(secret, b"cxe1 " + what, "sha256")

    cipher = AESSIV(derived(b"seal 1") + derived(b"seal 2"))
    return Key(id, tenant, cipher, Salter(derived(b"salt")), [tenant.encode(), id.encode()])


def sealed(key: Key, value: Any, field: str = "") -> str:
    """One value. TypeError, ValueError, OverflowError, RecursionError for what is not JSON; ValueError for NUL in a text."""
    text = _encode(value)
    if b"\\u0000" in text and _has_nul(value):
        raise ValueError("a text holds a NUL character")
    salt = key.salter(field.encode() + b"\0" + text)[:_SALT]
    packed = _RAW + text
    if len(text) >= PACK:
        window, memory = (-12, 5) if len(text) < 4096 else (-15, 8)  # what is small is packed ten times as fast
        packer = zlib.compressobj(1, zlib.DEFLATED, window, memory, zdict=_NAMES)
        smaller = packer.compress(text) + packer.flush()
        if len(smaller) < len(text):
            packed = _ZLIB + smaller
    commitment = sha256(salt + text).digest()
    whole = commitment + key.cipher.encrypt(salt + packed, key.about)
    return f"{PREFIX}{key.id}:{urlsafe_b64encode(whole).rstrip(b'=').decode()}"


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(one) for pair in value.items() for one in pair)
    return isinstance(value, (list, tuple)) and any(map(_has_nul, value))


class Damaged(ValueError):
    """A sealed value that its key does not open, or that is not what was committed to."""


def disclosed(key: Key, text: str) -> tuple[bytes, bytes]:
    """(salt, JSON) of a sealed value: what a third party needs to check it against its commitment. Raises Damaged."""
    try:
        coded = text.split(":", 2)[2]
        whole = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
        plain = key.cipher.decrypt(whole[_COMMITMENT:], key.about)
        salt, packed = plain[:_SALT], plain[_SALT + 1 :]
        if plain[_SALT : _SALT + 1] == _ZLIB:
            packed = zlib.decompressobj(-15, zdict=_NAMES).decompress(packed)
    except (IndexError, ValueError, InvalidTag, zlib.error):
        raise Damaged("a sealed value cannot be opened with its key") from None
    if sha256(salt + packed).digest() != whole[:_COMMITMENT]:
        raise Damaged("a sealed value is not what was committed to")
    return salt, packed


def opened_value(key: Key, text: str) -> Any:
    return _decode(disclosed(key, text)[1])


def key_id(value: Any) -> str | None:
    """The id of the key of a sealed value; None for anything else."""
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    id, colon, _ = value[len(PREFIX) :].partition(":")
    return id if colon and id else None


# whole `private` ------------------------------------------------------------------------------------------


def _each_name(key: Key, private: Mapping[str, Any]) -> dict[str, Any]:
    """Names stay, each value is sealed: projections copy them one by one."""
    return {name: None if value is None else sealed(key, value, name) for name, value in private.items()}


def _customer(key: Key, private: Mapping[str, Any]) -> dict[str, Any]:
    """A null attribute takes one away; the same identity twice is one."""
    told: dict[str, Any] = {}
    if "attributes" in private:
        told["attributes"] = _each_name(key, private["attributes"])
    if "identities" in private:
        told["identities"] = [sealed(key, one, "identity") for one in private["identities"]]
    return told


def _advanced(key: Key, private: Mapping[str, Any]) -> dict[str, Any]:
    told = _each_name(key, {name: value for name, value in private.items() if name != "waits"})
    if "waits" in private:
        told["waits"] = [sealed(key, one, "wait") for one in private["waits"]]
    return told


_DEEPER: Mapping[str, Callable[[Key, Mapping[str, Any]], dict[str, Any]]] = {
    "customer.changed": _customer,
    "fact.recorded": _each_name,
    "run.started": _each_name,
    "run.advanced": _advanced,
    "approval.decided": _each_name,
}


def sealed_private(kind: str, private: Mapping[str, Any], key: Key) -> dict[str, Any]:
    """`private` of an entry of this kind as it is kept: one sealed value, or several where projections need names."""
    if (deeper := _DEEPER.get(kind)) is not None:
        return deeper(key, private)
    return {WHOLE: sealed(key, private, kind)}


def key_ids(value: Any) -> Iterator[str]:
    """Ids of the keys that a kept value needs."""
    if (id := key_id(value)) is not None:
        yield id
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from key_ids(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from key_ids(one)


_GONE = object()


def opened(value: Any, keys: Mapping[str, Key | None]) -> Any:
    """A kept value as it was given. What the key was destroyed of (None in `keys`) is as if it had never been there.

    What no key is known for stays as it is. Raises Damaged.
    """
    found = _opened(value, keys)
    return None if found is _GONE else found


def _opened(value: Any, keys: Mapping[str, Key | None]) -> Any:
    if (id := key_id(value)) is not None:
        if id not in keys:
            return value
        key = keys[id]
        return _GONE if key is None else opened_value(key, value)
    if isinstance(value, Mapping):
        if len(value) == 1 and WHOLE in value:
            return _opened(value[WHOLE], keys)
        pairs = ((name, _opened(one, keys)) for name, one in value.items())
        return {name: one for name, one in pairs if one is not _GONE}
    if isinstance(value, (list, tuple)):
        return [one for one in (_opened(one, keys) for one in value) if one is not _GONE]
    return value
