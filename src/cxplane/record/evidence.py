"""The evidence file: one case in one JSON document, which a third party checks with a script that knows nothing of cxplane.

{"format": "cxplane-evidence/1", "tenant", "case", "made_at",
 "checkpoint": note, "keys": [verifier key], "entries": [{"index", "line", "proof": [base64]}],
 "disclosed": [{"position", "path": [name], "salt": base64url, "json": text}],
 "explanation": text, "signature": note | null}

Lines, proofs and checkpoint prove themselves. The signature is for the rest (words, case, time): a note whose text is
`cxplane evidence`, the case, and the SHA-256 of the document without it (sorted keys, no spaces, UTF-8).
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

FORMAT = "cxplane-evidence/1"
SEALED = "cxe1:"
COMMITMENT = 32  # bytes


@dataclass(frozen=True, slots=True)
class Disclosed:
    """A private value that was opened for this case. `json` is the text that was sealed, to the byte."""

    position: int
    path: tuple[str, ...]  # from `private` to the sealed value
    salt: bytes = field(repr=False)
    json: str = field(repr=False)


def opens(sealed: str, salt: bytes, text: str) -> bool:
    """Whether this salt and JSON text are what was sealed: SHA-256(salt || JSON) is the commitment at its head. No key needed."""
    mark, _, rest = sealed.partition(":")
    _, _, data = rest.partition(":")
    if f"{mark}:" != SEALED or not data:
        return False
    try:
        whole = urlsafe_b64decode(data + "=" * (-len(data) % 4))
    except (binascii.Error, ValueError):
        return False
    return len(whole) > COMMITMENT and whole[:COMMITMENT] == sha256(salt + text.encode()).digest()


def opens_in(line: str, disclosed: Disclosed) -> bool:
    """The same, for a value inside the line of its entry."""
    event = json.loads(line)
    value: Any = event["data"]["private"]
    for name in disclosed.path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return (
        event["id"] == str(disclosed.position)
        and isinstance(value, str)
        and opens(value, disclosed.salt, disclosed.json)
    )


def to_sign(document: Mapping[str, Any]) -> str:
    """The text that is signed for the whole document."""
    rest = {name: value for name, value in document.items() if name != "signature"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"cxplane evidence\n{document['case']}\n{sha256(canonical.encode()).hexdigest()}\n"
