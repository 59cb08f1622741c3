"""API keys: `cxp_<id>_<secret>`, shown once, kept only as SHA-256."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

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
