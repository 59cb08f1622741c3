"""The keys that sign the record, and who seals it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxplane.wiring.machinery import vault
from cxplane.wiring.settings import Settings

if TYPE_CHECKING:  # the heavy modules are imported where they are needed: `cxplane --help` stays quick
    from cxplane.loop.sealer import Sealer
    from cxplane.ports.clock import Clock
    from cxplane.ports.seal import Signer, Verify
    from cxplane.ports.store import Store
    from cxplane.ports.telemetry import Telemetry


log = logging.getLogger("cxplane.seal")

SEAL_KEY = "CXPLANE_SEAL_KEY"


def seal_key_file(settings: Settings) -> Path:
    """Where the embedded store keeps the key that signs its record."""
    return settings.data / "keys" / "seal.key"


def seal_signers(settings: Settings, tenant: str, *, make: bool = True) -> Sequence[Signer]:
    """Keys that sign the record, newest first: from the vault, else, for the embedded store alone, from its key file,
    which is made where there is none (`make`). Empty for a Postgres of one's own without a key. Raises SealKeyWrong.
    """
    from cxplane.adapters.signing import keys_in, new_private_key, put_first, signers_from
    from cxplane.domain.errors import SealKeyWrong, SecretMissing

    try:
        return signers_from(vault(settings).secret(SEAL_KEY))
    except SecretMissing as missing:
        if "chmod" in missing.next:  # it is there: a plane that does not seal is not what was meant
            raise SealKeyWrong("is in a file that everybody may read", next=missing.next) from None
        if settings.dsn and not settings.embedded:
            return ()
    file = seal_key_file(settings)
    if not keys_in(file):
        if not make:
            return ()
        put_first(file, new_private_key(f"cxplane/{tenant}"))
    return signers_from(keys_in(file) or "")


def seal_signers_from(secret: str) -> Sequence[Signer]:
    """Keys that are not where they will be kept yet. Raises SealKeyWrong."""
    from cxplane.adapters.signing import signers_from

    return signers_from(secret)


def new_seal_key(name: str) -> tuple[str, str]:
    """A fresh key: (private, public), both as text."""
    from cxplane.adapters.signing import Ed25519Signer, new_private_key
    from cxplane.record.note import Key

    private = new_private_key(name)
    return private, str(Key(name, Ed25519Signer(private).public))


def rotate_seal_key(settings: Settings, tenant: str, *, new_tree: bool) -> tuple[str, str, str | None]:
    """A new key before those there are: (what CXPLANE_SEAL_KEY must be, public key, the file that has it already or None).

    Raises SealKeyWrong where there is none: a new one alone could not be followed from the old one.
    """
    from cxplane.adapters.signing import keys_in, put_first
    from cxplane.domain.errors import SealKeyWrong, SecretMissing

    signers = seal_signers(settings, tenant)
    if not signers:
        raise SealKeyWrong(
            "is missing",
            next="Give the old one as CXPLANE_SEAL_KEY (was the output sent into its own file? then take it from your vault).",
        )
    name = signers[0].name
    if new_tree:
        base, _, count = name.partition("@")
        name = f"{base}@{int(count or 1) + 1}"
    private, public = new_seal_key(name)
    try:
        old = vault(settings).secret(SEAL_KEY)
    except SecretMissing:
        old = None
    file = seal_key_file(settings)
    if old is None and not settings.dsn:
        put_first(file, private)
        return keys_in(file) or "", public, str(file)
    return " ".join([private, *(old or "").split()]), public, None


def sealer(
    settings: Settings, tenant: str, store: Store, told: Telemetry, clock: Clock, *, make: bool = True
) -> Sealer | None:
    """Who seals the record of the tenant; None without a key. `make`: whether an embedded store without one gets one."""
    from cxplane.adapters.signing import verify
    from cxplane.adapters.sinks import sink_for
    from cxplane.domain.errors import SecretMissing
    from cxplane.loop.sealer import Sealer

    signers = seal_signers(settings, tenant, make=make)
    if not signers:
        if not make:
            return None
        log.warning("the record is NOT sealed: there is no %s (`cxplane audit keys new` makes one)", SEAL_KEY)
        return None
    try:
        token = vault(settings).secret("CXPLANE_SEAL_SINK_TOKEN")
    except SecretMissing:
        token = None
    sink = sink_for(settings.seal_sink or str(settings.data / "seals"), tenant, token)
    return Sealer(tenant, store, signers, sink, clock, told, verify)


def seal_verify() -> Verify:
    from cxplane.adapters.signing import verify

    return verify
