"""The schema of the store: looked at on every start, moved forward where it is behind, never back.

Steps only add (tables, columns that may be null or have a default, functions with other parameters) or replace a function by
one that does the same for those who call it as before. So planes of the version before go on working while the store is
moved under them. The store says (in the comment on its version) from which version on: a plane that is older refuses it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg

from cxplane.domain.errors import StoreError

log = logging.getLogger("cxplane.store")

HEAD = "0008"
COMPATIBLE_FROM = "0006"  # code that knows this step or a later one works on a store at HEAD
STEPS = Path(__file__).with_name("migrations")
MIN_POSTGRES = 15
_LOCK = 1668313455  # one migration at a time, whoever starts it
# A step waits this long for a table that is in use, while all others wait behind it; then it lets them pass, and tries again.
LOCK_TIMEOUT_S, TRIES, PAUSE_S = 0.5, 60, 0.5


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a store is. `version` None: nothing is in it yet."""

    version: str | None
    compatible_from: str | None = None  # None: of a time when stores did not say
    head: str = HEAD  # what this code knows

    @property
    def behind(self) -> bool:
        return self.version is None or self.version < self.head

    @property
    def usable(self) -> bool:
        """By this code as the store is, or after it is moved forward."""
        return self.version is None or self.version <= self.head or (self.compatible_from or "~") <= self.head


async def ensure_schema(link: Any) -> None:
    """Bring the schema to HEAD. One query where it is there already.

    Raises StoreError for a Postgres that is too old, an encoding other than UTF-8, and a store newer than this code.
    """
    row = await link.fetchrow(
        "select current_setting('server_version_num')::int / 10000 as major, current_setting('server_encoding') as encoding,"
        " to_regclass('cxplane.alembic_version') is not null as there"
    )
    if row["major"] < MIN_POSTGRES:
        raise StoreError(
            f"the store is Postgres {row['major']}, and cxplane needs {MIN_POSTGRES} or later",
            next="Upgrade that Postgres, or leave CXPLANE_DSN unset to use the embedded one.",
        )
    if row["encoding"] != "UTF8":
        raise StoreError(
            f"the database is encoded in {row['encoding']}, and cxplane needs UTF8",
            next="Create the database with ENCODING 'UTF8'.",
        )
    if row["there"] and await _version(link) == HEAD:
        return
    state = await schema_state(link)
    _must_be_usable(state)
    if state.behind:
        await _upgrade(link)


async def schema_state(link: Any) -> SchemaState:
    """Where the store is. StoreError where a restore was broken off."""
    if not await link.fetchval("select to_regclass('cxplane.alembic_version') is not null"):
        return SchemaState(None, head=HEAD)
    said = await link.fetchval("select obj_description('cxplane.alembic_version'::regclass)")
    found = re.fullmatch(r"compatible from (\w+)", said or "")
    return SchemaState(await _version(link), found[1] if found else None, HEAD)


async def _version(link: Any) -> str:
    version: str | None = await link.fetchval("select max(version_num) from cxplane.alembic_version")
    if version is None:
        raise StoreError(
            "a restore into this store was broken off", next="Run `cxplane restore` again, into the same place."
        )
    return version


def _must_be_usable(state: SchemaState) -> None:
    if not state.usable:
        raise StoreError(
            f"the store was made by a newer cxplane (schema {state.version}; this one knows {HEAD})",
            next="Run the newer version of cxplane, or restore a backup from before the upgrade.",
        )
    if state.version is not None and state.version > HEAD:
        log.warning(
            "the store is at schema %s, and this version knows %s: it works, and should be replaced",
            state.version,
            HEAD,
        )


async def _upgrade(link: Any) -> None:
    for left in range(TRIES, -1, -1):
        try:
            await _move(link)
            return
        except asyncpg.LockNotAvailableError:
            if not left:
                raise StoreError(
                    f"the schema cannot be moved: for {TRIES * (LOCK_TIMEOUT_S + PAUSE_S):.0f} s somebody has held a table of the store",
                    next="End backups and long transactions (pg_stat_activity), then run `cxplane store upgrade`.",
                ) from None
            log.info("a table of the store is in use; the schema waits")
            await asyncio.sleep(PAUSE_S)
        except asyncpg.InsufficientPrivilegeError:
            raise StoreError(
                "the database user may not create the schema cxplane",
                next="Grant it CREATE on the database, or make the schema for it: create schema cxplane authorization USER.",
            ) from None


async def _move(link: Any) -> None:
    """All steps in one transaction: the store is where it was, or where it should be."""
    async with link.transaction():
        await link.execute(f"select pg_advisory_xact_lock({_LOCK})")
        await link.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_S}s'")
        await link.execute("create schema if not exists cxplane")
        state = await schema_state(link)
        _must_be_usable(state)  # somebody may have come first
        if not state.behind:
            return
        log.info("moving the schema of the store from %s to %s", state.version or "nothing", HEAD)
        await link.execute(script(state.version, HEAD), timeout=None)
        await link.execute("select cxplane.guard()")  # also tables that this step made
        await link.execute(f"comment on table cxplane.alembic_version is 'compatible from {COMPATIBLE_FROM}'")


def script(start: str | None, end: str) -> str:
    """The SQL that leads from one version to another, as Alembic writes it; run in one transaction."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # imported here: Alembic is needed only when there is something to move
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(STEPS))
    config.set_main_option("path_separator", "os")
    steps = ScriptDirectory.from_config(config)
    text = StringIO()

    def path(revision: Any, context: Any) -> Any:
        return steps._upgrade_revs(end, revision)

    with EnvironmentContext(
        config, steps, fn=path, as_sql=True, starting_rev=start, destination_rev=end
    ) as environment:
        environment.configure(
            dialect_name="postgresql", output_buffer=text, version_table_schema="cxplane", transactional_ddl=False
        )
        environment.run_migrations()
    return text.getvalue()
