"""The store of the settings: opened, looked at, backed up, restored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cxplane.domain.errors import NothingLive, StoreError
from cxplane.wiring.machinery import operator_key
from cxplane.wiring.settings import Settings

if TYPE_CHECKING:  # the heavy modules are imported where they are needed: `cxplane --help` stays quick
    from cxplane.adapters.postgres.backup import Manifest, Tell
    from cxplane.adapters.postgres.migrate import SchemaState
    from cxplane.domain.views import Check
    from cxplane.ports.store import Store


@asynccontextmanager
async def open_dsn(settings: Settings, *, serve: bool = False) -> AsyncIterator[str]:
    """The address of a Postgres that answers: the one named, or the embedded one, started where it is not running."""
    if settings.dsn:
        yield settings.dsn
        return
    from cxplane.adapters.postgres.embedded import EmbeddedPostgres

    async with EmbeddedPostgres(settings.data / "store", serve=serve) as dsn:
        yield dsn


async def back_up(settings: Settings, file: Path, tell: Tell) -> Manifest:
    """Write everything in the store to one file, while planes work."""
    from cxplane.adapters.postgres.backup import back_up as write

    async with open_dsn(settings) as dsn:
        return await write(dsn, file, tell)


async def restore(settings: Settings, file: Path, tell: Tell, *, by: str) -> Manifest:
    """Make the store again from a backup; it must be empty."""
    from cxplane.adapters.postgres.backup import read_manifest
    from cxplane.adapters.postgres.restore import restore as load

    read_manifest(file)  # before a store is made for it
    async with open_dsn(settings, serve=True) as dsn:
        return await load(dsn, file, tell, by=by)


async def recovered(settings: Settings, *, by: str) -> int:
    """Make a store ready that came back to an earlier moment by other means; the position of its last entry."""
    from cxplane.adapters.postgres.restore import recovered as renew

    async with open_dsn(settings, serve=True) as dsn:
        return await renew(dsn, by=by)


async def schema_of(settings: Settings, *, upgrade: bool = False) -> tuple[SchemaState, SchemaState]:
    """Where the schema of the store is: as it was found, and as it is now."""
    from cxplane.adapters.postgres.connect import asking, connect
    from cxplane.adapters.postgres.migrate import ensure_schema, schema_state

    async with open_dsn(settings) as dsn:
        link = await connect(dsn)
        try:
            with asking():
                before = await schema_state(link)
                if upgrade:
                    await ensure_schema(link)
                return before, await schema_state(link)
        finally:
            link.terminate()


def check_backup(file: Path, tell: Tell) -> Manifest:
    """StoreError unless the file is a whole backup."""
    from cxplane.adapters.postgres.backup import check_file

    return check_file(file, tell)


@asynccontextmanager
async def open_store(settings: Settings, *, tenant: str | None = None) -> AsyncIterator[Store]:
    """The store of one tenant, migrated and ready. `tenant`: None = the one that the settings mean."""
    from cxplane.adapters.postgres.store import open_store as open_postgres

    async with open_dsn(settings) as dsn:
        found = tenant or await tenant_of(settings, dsn)
        store = await open_postgres(dsn, tenant=found, operator=operator_key(settings))
        try:
            yield store
        finally:
            await store.aclose()


async def examine_store(dsn: str) -> tuple[list[Check], bool]:
    """(what a look at the Postgres itself finds, whether its schema is ours). Changes nothing."""
    from cxplane.adapters.clock import SystemClock
    from cxplane.adapters.postgres.doctor import examine

    return await examine(dsn, SystemClock())


async def live_tenants(dsn: str) -> list[str]:
    """Tenants that have a live release, for who owns the store."""
    from cxplane.adapters.postgres.access import live_tenants as found

    return await found(dsn)


async def tenant_of(settings: Settings, dsn: str) -> str:
    """The tenant that is meant: the one named, the control repo's, or the only one there is.

    Raises StoreError (NothingLive where nothing is live yet).
    """
    if settings.tenant:
        return settings.tenant
    if settings.control:
        from cxplane.control.load import load

        return load(settings.control).plane.tenant
    found = await live_tenants(dsn)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NothingLive("no release is live yet", next="Run `cxplane release DIR`, or give `--control DIR`.")
    raise StoreError(
        f"the store serves {len(found)} tenants: {', '.join(sorted(found))}",
        next="Say which one with --tenant or CXPLANE_TENANT.",
    )
