#!/usr/bin/env python3
"""Verify an evidence file of cxplane, or a proof of `cxplane audit prove`, with the Python standard library alone.

    python verify_evidence.py case.json --key NAME+HASH+BASE64

The key is the one thing that you must have from elsewhere: from the operator, long before the case, or from a published
place. Ends with 0 if everything is proven, 1 if anything is not, 2 if the file cannot be read. Python 3.8 or newer.

What is checked: the checkpoint is signed by the key (or by one that the key endorsed, on record); each entry is in the
signed tree (RFC 6962); each disclosed value is the one that was sealed; the document as a whole is signed.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import sys
from typing import Any

# Ed25519 (RFC 8032, section 6) --------------------------------------------------------------------------

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_M1 = pow(2, (P - 1) // 4, P)


def _add(a: Any, b: Any) -> Any:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    x, y, z, t = f - e, h - g, h + g, f + e
    return (x * y % P, z * t % P, y * z % P, x * t % P)


def _times(n: int, point: Any) -> Any:
    total: Any = (0, 1, 1, 0)
    while n > 0:
        if n & 1:
            total = _add(total, point)
        point = _add(point, point)
        n >>= 1
    return total


def _same(a: Any, b: Any) -> bool:
    return bool((a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0)


def _x_of(y: int, sign: int) -> int | None:
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_M1 % P
    if (x * x - square) % P != 0:
        return None
    return P - x if x & 1 != sign else x


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = _x_of(BASE_Y, 0) or 0
BASE: Any = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def _point(data: bytes) -> Any:
    if len(data) != 32:
        return None
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def ed25519_verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature is that of the public key on the message."""
    key = _point(public)
    if key is None or len(signature) != 64:
        return False
    r, s = _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if r is None or s >= Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    return _same(_times(s, BASE), _add(r, _times(h, key)))


# Signed notes and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint) --------------------------


class Wrong(Exception):
    """Something is not proven; the message says what."""


def b64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Wrong("base64 that is not written the one way")
    return data


class Key:
    """NAME+HASH+BASE64"""

    def __init__(self, text: str) -> None:
        name, _, rest = text.strip().partition("+")
        hash, _, encoded = rest.partition("+")
        try:
            data = b64(encoded)
        except (binascii.Error, ValueError):
            data = b""
        self.id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
        if len(data) != 33 or data[0] != 1 or self.id.hex() != hash:
            raise Wrong("a key is not whole; it is written NAME+HASH+BASE64")
        self.name, self.public, self.text = name, data[1:], text.strip()


def signed_by(note: str, keys: list[Key]) -> tuple[str, list[Key]]:
    """The text of a note, and which of these keys have signed it."""
    head, mark, tail = note.rpartition("\n\n")
    if not mark or not tail.endswith("\n"):
        raise Wrong("a note is cut off")
    text, found = head + "\n", []
    for line in tail[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            raise Wrong("a signature line cannot be read")
        data = b64(parts[2])
        for key in keys:
            if (parts[1], data[:4]) == (key.name, key.id):
                if not ed25519_verify(key.public, data[4:], text.encode()):
                    raise Wrong("the signature of " + key.name + " does not fit its note")
                found.append(key)
    return text, found


def head_of(note: str, keys: list[Key]) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that a trusted key signed."""
    text, found = signed_by(note, keys)
    if not found:
        raise Wrong("the checkpoint is not signed by a key that you trust")
    lines = text.split("\n")
    root = b64(lines[2])
    if not lines[0] or not lines[1].isascii() or not lines[1].isdigit() or len(root) != 32:
        raise Wrong("the checkpoint cannot be read")
    return lines[0], int(lines[1]), root


# The tree (RFC 6962; RFC 9162, 2.1.3.2 and 2.1.4.2) ----------------------------------------------------------


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def included(line: str, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    if not 0 <= index < size:
        return False
    fn, sn, now = index, size - 1, hashlib.sha256(b"\x00" + line.encode()).digest()
    for step in proof:
        if sn == 0 or len(step) != 32:
            return False
        if fn & 1 or fn == sn:
            now = node(step, now)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            now = node(now, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and now == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = ([old_root] if old & (old - 1) == 0 else []) + proof
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for step in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node(step, first), node(step, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node(second, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


# The document ---------------------------------------------------------------------------------------------


def opens(sealed: Any, salt: bytes, text: str) -> bool:
    """Whether salt and JSON text are what was sealed: SHA-256(salt || JSON) stands at its head."""
    if not isinstance(sealed, str) or not sealed.startswith("cxe1:"):
        return False
    data = sealed.rpartition(":")[2]
    whole = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    return len(whole) > 32 and whole[:32] == hashlib.sha256(salt + text.encode()).digest()


def follow(document: dict[str, Any], trusted: list[Key]) -> list[Key]:
    """Trusted keys, and those that entries of this document announce in a note of a trusted key."""
    keys = list(trusted)
    for entry in document.get("entries", []):
        event = json.loads(entry["line"])
        if event["type"] == "cxplane.seal.key" and event["data"]["body"].get("endorsed"):
            key = Key(event["data"]["body"]["key"])
            text, by = signed_by(event["data"]["body"]["endorsed"], keys)
            if by and text == "cxplane seal key\n" + key.text + "\n":
                keys.append(key)
    return keys


def check_entries(document: dict[str, Any], keys: list[Key]) -> list[dict[str, Any]]:
    origin, size, root = head_of(document["checkpoint"], keys)
    events = []
    if not document["entries"]:
        raise Wrong("there are no entries")
    for entry in document["entries"]:
        if not included(entry["line"], entry["index"], size, [b64(step) for step in entry["proof"]], root):
            raise Wrong("an entry is not in the signed tree: number " + str(entry["index"]))
        events.append(json.loads(entry["line"]))
    order = [entry["index"] for entry in document["entries"]]
    if order != sorted(set(order)):
        raise Wrong("the entries do not stand in the order of the record")
    say("checkpoint of " + origin + ", " + str(size) + " entries: signed")
    say(str(len(events)) + " entries: each is in the signed tree")
    return events


def check_disclosed(document: dict[str, Any], events: list[dict[str, Any]]) -> None:
    by_position = {event["id"]: event for event in events}
    for one in document["disclosed"]:
        value = by_position[str(one["position"])]["data"]["private"]
        for name in one["path"]:
            value = value[name]
        salt = base64.urlsafe_b64decode(one["salt"] + "=" * (-len(one["salt"]) % 4))
        if not opens(value, salt, one["json"]):
            raise Wrong("a disclosed value is not the one that was sealed at position " + str(one["position"]))
    if document["disclosed"]:
        say(str(len(document["disclosed"])) + " disclosed values: each is the one that was sealed")


def check_whole(document: dict[str, Any], keys: list[Key]) -> None:
    rest = {name: value for name, value in document.items() if name != "signature"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if not document["signature"]:
        raise Wrong("the document as a whole is not signed")
    said, by = signed_by(document["signature"], keys)
    hash = hashlib.sha256(text.encode()).hexdigest()
    if not by or said != "cxplane evidence\n" + document["case"] + "\n" + hash + "\n":
        raise Wrong("the document was changed after it was signed")
    say("the document as a whole: signed")


def check_consistency(document: dict[str, Any], keys: list[Key]) -> None:
    old_origin, old, old_root = head_of(document["old"], keys)
    origin, new, root = head_of(document["new"], keys)
    proof = [b64(step) for step in document["proof"]]
    if old_origin != origin or not consistent(old, new, old_root, root, proof):
        raise Wrong("the older tree is not the beginning of the newer one")
    say(
        "the tree of "
        + str(old)
        + " entries is the beginning of the one of "
        + str(new)
        + ": nothing was changed between"
    )


def check(document: dict[str, Any], keys: list[Key]) -> None:
    """Raises Wrong, or an error of Python where the document has not the shape that it must have."""
    form = document["format"]
    if form == "cxplane-consistency/1":
        check_consistency(document, keys)
    elif form == "cxplane-inclusion/1":
        check_entries({**document, "entries": [document["entry"]]}, keys)
    elif form == "cxplane-evidence/1":
        keys = follow(document, keys)
        events = check_entries(document, keys)
        check_disclosed(document, events)
        check_whole(document, keys)
        for event in events:
            say(
                "  " + event["time"] + "  " + event["type"] + "  " + event["subject"] + "  by " + event["data"]["actor"]
            )
    else:
        raise Wrong("this is a document of another kind or of a newer version: " + repr(form))


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice would be read in two ways."""
    if len(dict(pairs)) != len(pairs):
        raise Wrong("a name stands twice")
    return dict(pairs)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description="Verify an evidence file or a proof of cxplane.")
    options.add_argument("file")
    options.add_argument(
        "--key", action="append", required=True, metavar="NAME+HASH+BASE64", help="a key that you trust"
    )
    options.add_argument("--words", action="store_true", help="print the explanation, once it is verified")
    given = options.parse_args(arguments)
    try:
        with open(given.file, encoding="utf-8", newline="") as file:  # noqa: PTH123 -- nothing but the language
            document = json.load(file, object_pairs_hook=unique)
        keys = [Key(text) for text in given.key]
    except (OSError, ValueError, RecursionError, Wrong) as problem:
        sys.stderr.write("cannot be read: " + str(problem) + "\n")
        return 2
    try:
        check(document, keys)
    except Wrong as problem:
        say("NOT PROVEN: " + str(problem))
        return 1
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as problem:
        say("NOT PROVEN: the document has not the shape that it must have (" + type(problem).__name__ + ")")
        return 1
    say("PROVEN")
    if given.words and "explanation" in document:
        say("")
        say(document["explanation"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
