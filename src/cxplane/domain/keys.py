"""API keys: `cxp_<id>_<secret>`, shown once, kept only as SHA-256."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

SCOPES: Mapping[str, str] = {
    "read": "look at what the caller may see",
    "ask": "ask for actions, and undo them",
    "decide": "approve, reject, answer tasks, settle",
    "customers": "change customers",
    "assurance": "record how sure it is who they are",
    "consents": "record what they allow",
    "facts": "open conversations and record facts",
    "erase": "erase customers, and hold them from being erased",
    "journeys": "start, steer and migrate runs",
    "signals": "send signals",
}
"""What a key may be limited to. It never adds to what its caller may do."""

_SHAPE = re.compile(r"^cxp_([0-9a-f]{12})_[0-9a-f]{48}$")


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str  # public: for lists, logs and revoking
    text: str = field(repr=False)  # secret: the whole key
    hash: str  # what the store keeps


def new_api_key() -> ApiKey:
    id = secrets.token_hex(6)
    text = f"cxp_{id}_{secrets.token_hex(24)}"
    return ApiKey(id, text, key_hash(text))


def key_hash(text: str) -> str:
    """SHA-256 in hex. The secret has 192 random bits, so no salt and no slow hash are needed."""
    return hashlib.sha256(text.encode()).hexdigest()


def looks_like_api_key(text: str) -> bool:
    return _SHAPE.match(text) is not None
