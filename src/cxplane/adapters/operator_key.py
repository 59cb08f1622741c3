"""The operator's key: it wraps the keys of customers. From the vault; several while it is being changed, newest first."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from cxplane.adapters.vault import EnvironmentVault
from cxplane.domain.errors import SecretMissing, StoreError
from cxplane.ports.systems import Vault

SECRET = "CXPLANE_DATA_KEY"  # noqa: S105 -- a name, not a secret
BYTES = 32
_MAKE = "Make one with `cxplane data-key new`, keep it where your secrets are, and give it to every plane and worker."


class OperatorKey:
    """Wraps with the newest of its keys; unwraps with each of them. No repr and no error holds a key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != BYTES for key in keys):
            raise ValueError(f"an operator key is {BYTES} bytes")
        self._ciphers = {name_of(key): AESSIV(key) for key in keys}
        self.newest = name_of(keys[0])

    @property
    def names(self) -> tuple[str, ...]:
        """Newest first. A name tells which key it is and nothing about it."""
        return tuple(self._ciphers)

    def wrap(self, tenant: str, id: str, secret: bytes) -> bytes:
        return self._ciphers[self.newest].encrypt(secret, [tenant.encode(), id.encode()])

    def unwrap(self, tenant: str, id: str, wrapped: bytes, by: str) -> bytes:
        """`by`: the name of the key that wrapped it. Raises StoreError."""
        if (cipher := self._ciphers.get(by)) is None:
            raise StoreError(
                f"the keys of customers are wrapped by the operator key {by}, and this process was given {', '.join(self.names)}",
                next=f"Put key {by} back: keys/data.key in the data folder, or {SECRET} (there behind a newer one, until "
                "`cxplane data-key rotate` has ended).",
            )
        try:
            return cipher.decrypt(wrapped, [tenant.encode(), id.encode()])
        except InvalidTag:
            raise StoreError(
                f"a customer's key ({id}) cannot be unwrapped: its row was changed",
                next="Restore the table subject_key from a backup.",
            ) from None

    def __repr__(self) -> str:
        return f"OperatorKey({', '.join(self.names)})"


def name_of(key: bytes) -> str:
    return sha256(b"cxplane operator key\0" + key).hexdigest()[:8]


def new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(BYTES)).rstrip(b"=").decode()


def read_keys(text: str) -> OperatorKey:
    """One or several keys, newest first, each 32 bytes in base64url, apart by blanks or commas. StoreError says what is wrong."""
    found = []
    for one in re.split(r"[\s,]+", text.strip()):
        try:
            key = base64.b64decode(one + "=" * (-len(one) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != BYTES:
            raise StoreError(f"{SECRET} does not hold keys of {BYTES} bytes in base64url", next=_MAKE)
        found.append(key)
    return OperatorKey(found)


def from_vault(vault: Vault | None = None) -> OperatorKey:
    """StoreError where the vault has none."""
    try:
        return read_keys((vault or EnvironmentVault()).secret(SECRET))
    except SecretMissing:
        raise StoreError(f"there is no operator key: the secret {SECRET} is missing", next=_MAKE) from None


def from_vault_or_file(vault: Vault, file: Path) -> OperatorKey:
    """For the embedded store: a key of its own beside it, made once, where the vault has none."""
    try:
        return read_keys(vault.secret(SECRET))
    except SecretMissing:
        pass
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(new_key() + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(fresh, file)  # whoever comes first; a key is never put in place of another
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return read_keys(file.read_text(encoding="ascii"))
