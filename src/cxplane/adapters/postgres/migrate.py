"""The schema of the store: looked at on every start, moved forward where it is behind, never back."""

from __future__ import annotations

import logging
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg

from cxplane.domain.errors import StoreError

log = logging.getLogger("cxplane.store")

HEAD = "0003"
MIN_POSTGRES = 15
_LOCK = 1668313455  # one migration at a time, whoever starts it


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
    version = await link.fetchval("select max(version_num) from cxplane.alembic_version") if row["there"] else None
    if version == HEAD:
        return
    _not_newer(version)
    await _upgrade(link)


def _not_newer(version: str | None) -> None:
    if version is not None and version > HEAD:
        raise StoreError(
            f"the store was made by a newer cxplane (schema {version}; this one knows {HEAD})",
            next="Run the newer version of cxplane, or restore a backup from before the upgrade.",
        )


async def _upgrade(link: Any) -> None:
    try:
        async with link.transaction():
            await link.execute(f"select pg_advisory_xact_lock({_LOCK})")
            await link.execute("create schema if not exists cxplane")
            there = await link.fetchval("select to_regclass('cxplane.alembic_version') is not null")
            version = await link.fetchval("select max(version_num) from cxplane.alembic_version") if there else None
            _not_newer(version)  # somebody may have come first
            if version != HEAD:
                log.info("moving the schema of the store from %s to %s", version or "nothing", HEAD)
                await link.execute(script(version, HEAD), timeout=None)
    except asyncpg.InsufficientPrivilegeError:
        raise StoreError(
            "the database user may not create the schema cxplane",
            next="Grant it CREATE on the database, or make the schema for it: create schema cxplane authorization USER.",
        ) from None


def script(start: str | None, end: str) -> str:
    """The SQL that leads from one version to another, as Alembic writes it; run in one transaction."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # imported here: Alembic is needed only when there is something to move
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
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
