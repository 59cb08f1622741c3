"""A backup becomes a store again: in an empty place, whole or not at all, compared with what its manifest says.

What must not come back with it is made new: whoever held a run or a job before holds it no more, and no number of an
entry or a job that was given after the backup is ever given to another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from cxplane.adapters.postgres.backup import (
    CHUNK,
    Manifest,
    Tell,
    check_file,
    last_lines,
    read_manifest,
    seeing_all,
    sums,
    whole,
)
from cxplane.adapters.postgres.connect import asking
from cxplane.adapters.postgres.migrate import HEAD, ensure_schema
from cxplane.adapters.postgres.tools import command, failed
from cxplane.domain.errors import StoreError

JUMP = 10_000_000_000  # more entries or jobs than anybody loses

# An epoch, a job or a position of the store that was lost must mean nothing here.
_RENEW = """
select setval('cxplane.entry_position', last_value + $jump) from cxplane.entry_position;
select setval('cxplane.pgqueuer_id_seq', last_value + $jump) from cxplane.pgqueuer_id_seq;
update cxplane.mailbox set epoch = cxplane.fresh_epoch(), taken_at = null;
with job as (
    select id, row_number() over (partition by dedupe_key order by status, id) as n
    from cxplane.pgqueuer where status in ('queued', 'picked') and dedupe_key is not null
)
delete from cxplane.pgqueuer p using job where p.id = job.id and job.n > 1;
update cxplane.pgqueuer set id = nextval('cxplane.pgqueuer_id_seq'), status = 'queued', queue_manager_id = null, slot = null,
    heartbeat = now(), updated = now() where status in ('queued', 'picked');
select cxplane.ensure_month(date_trunc('month', now() at time zone 'UTC')::date);
"""
_TOLD = """
insert into cxplane.entry (position, at, tenant, stream, kind, actor, body)
values (nextval('cxplane.entry_position'), clock_timestamp(), $1, 'store', 'store.restored', $2, $3::text::jsonb)
"""


async def restore(dsn: str, file: Path, tell: Tell, *, by: str) -> Manifest:
    """Restore a backup into a database that holds no store; the schema is then brought forward to this version.

    Raises StoreError: the file is damaged or of a newer version, the store is not empty, something differs afterwards.
    """
    manifest = await asyncio.to_thread(check_file, file, tell)
    if manifest.schema > HEAD:
        raise StoreError(
            f"the backup was made by a newer cxplane (schema {manifest.schema}; this one knows {HEAD})",
            next=f"Restore it with cxplane {manifest.cxplane} or later.",
        )
    link = await whole(dsn)
    try:
        with asking(), seeing_all():
            await _must_be_empty(link, manifest)
            await _load(dsn, file, manifest, tell)
            found = await sums(link, tell)
            differs = sorted(
                name for name in found.keys() | manifest.tables.keys() if found.get(name) != manifest.tables.get(name)
            )
            if differs:
                raise StoreError(
                    f"after the restore, these tables are not as they were: {', '.join(differs)}",
                    next="Nothing was let loose. Restore again; if it is the same, use another backup.",
                )
            tell(0, 0, "making it ready")
            await _renew(link, manifest, by)
            await link.execute("analyze")
            await ensure_schema(link)
    finally:
        link.terminate()
    return manifest


async def _must_be_empty(link: Any, manifest: Manifest) -> None:
    major = int(await link.fetchval("select current_setting('server_version_num')::int / 10000"))
    if major < max(17, manifest.postgres):
        raise StoreError(
            f"this Postgres is version {major}, and the backup needs {max(17, manifest.postgres)} or later",
            next="Restore into a newer Postgres, or into the embedded one (leave CXPLANE_DSN unset).",
        )
    if not await link.fetchval("select to_regnamespace('cxplane') is not null"):
        return
    if await link.fetchval("select to_regclass('cxplane.alembic_version') is not null") and not await link.fetchval(
        "select exists (select from cxplane.alembic_version)"
    ):
        await link.execute("drop schema cxplane cascade")  # a restore that was broken off
        return
    raise StoreError(
        "there is a store here already, and a restore never writes over one",
        next="Name an empty folder with --data, or an empty database with --dsn.",
    )


async def _load(dsn: str, file: Path, manifest: Manifest, tell: Tell) -> None:
    words, env = command("pg_restore", dsn, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    process = await asyncio.create_subprocess_exec(
        *words, env=env, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None and process.stderr is not None
    said = asyncio.create_task(last_lines(process.stderr))
    _, begin = read_manifest(file)
    left = manifest.dump.bytes
    total = max(1, left // CHUNK)
    try:
        with file.open("rb") as dump, suppress(ConnectionError):  # it ended; why, it said
            dump.seek(begin)
            while left and (chunk := dump.read(min(CHUNK, left))):
                process.stdin.write(chunk)
                await process.stdin.drain()
                left -= len(chunk)
                tell(total - left // CHUNK, total, "restoring")
            process.stdin.close()
        tell(total, total, "making indexes")
        if await process.wait() != 0:
            raise failed("pg_restore", await said, next="Nothing was restored. See the log of Postgres.")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await said


async def _renew(link: Any, manifest: Manifest, by: str) -> None:
    told = {"taken_at": manifest.made_at, "position": manifest.position, "sha256": manifest.dump.sha256}
    async with link.transaction():
        await renew(link, told, manifest.tenants, by)
        await link.execute("insert into cxplane.alembic_version values ($1)", manifest.schema)


async def renew(link: Any, told: Mapping[str, Any], tenants: Sequence[str], by: str) -> None:
    """Let nothing of the time that was lost be worth anything here, and say on record that some was lost."""
    await link.execute(_RENEW.replace("$jump", str(JUMP)))
    for tenant in tenants:
        await link.execute(_TOLD, tenant, by, msgspec.json.encode(told).decode())


async def recovered(dsn: str, *, by: str) -> int:
    """The same for a store that came back by other means; the position of its last entry. StoreError, StoreUnavailable."""
    link = await whole(dsn)
    try:
        with asking(), seeing_all():
            await ensure_schema(link)
            async with link.transaction():
                position = int(await link.fetchval("select coalesce(max(position), 0) from cxplane.entry"))
                tenants = [row[0] for row in await link.fetch("select distinct tenant from cxplane.release order by 1")]
                await renew(link, {"position": position}, tenants, by)
        return position
    finally:
        link.terminate()
