"""A backup: one file with everything that is in the store as it was at one moment, taken while planes work.

The file is a tar of two: `store.dump` (pg_dump, custom format, compressed) and `manifest.json`, which says what must be
found again after a restore. Both are of one snapshot, so nothing in it is torn: a run and its queue, an intent and its
claim stand as they stood together. Not in it: the operator's keys, and secrets of systems.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
import msgspec

from cxplane import __version__
from cxplane.adapters.postgres.connect import CONNECT_S, asking, connecting
from cxplane.adapters.postgres.tools import MAY_READ, command, failed
from cxplane.domain.errors import StoreError

FORMAT = "cxplane-backup/1"
DUMP, MANIFEST = "store.dump", "manifest.json"
CHUNK = 1 << 20
NO_KEYS = (
    "Keys are not in it (what wraps the keys of customers, what signs the record, secrets of systems): keep them apart."
)

Tell = Callable[[int, int, str], None]
"""How far it is: done, total, what is being done."""


class Table(msgspec.Struct, frozen=True):
    """`sum`: over a hash of each row, in any order."""

    rows: int
    sum: str


class Dump(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup. `position`: of the last entry in it; `schema`: the step that the store was at."""

    format: str
    made_at: datetime
    cxplane: str
    schema: str
    postgres: int
    position: int
    tenants: tuple[str, ...]
    tables: Mapping[str, Table]
    dump: Dump
    note: str = NO_KEYS


async def back_up(dsn: str, file: Path, tell: Tell) -> Manifest:
    """Write a backup to `file`, which must not be there yet. It is whole, or not there at all.

    Raises StoreError: the file cannot be written, the store is none or cannot be read as a whole.
    """
    part = file.with_name(f".{file.name}.part")
    with _new_file(file, part) as out:
        return await _write(dsn, out, tell)


@contextmanager
def _new_file(file: Path, part: Path) -> Iterator[BinaryIO]:
    """Written beside, then moved: a name that is there stands for a whole file."""
    if file.exists():
        raise StoreError(f"{file} is there already", next="Name another file; a backup is never written over.")
    made = False
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            made = True
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
        _keep_name(file.parent)
    except OSError as problem:
        theirs = isinstance(problem, FileExistsError) and not made
        raise StoreError(
            f"the backup cannot be written to {file}: {problem.strerror}",
            next=f"Remove {part} if no other backup is under way."
            if theirs
            else "Name a folder with room, that you may write.",
        ) from None
    finally:
        if made:
            part.unlink(missing_ok=True)


async def _write(dsn: str, out: BinaryIO, tell: Tell) -> Manifest:
    link = await whole(dsn)
    try:
        with asking(), seeing_all():
            async with link.transaction(isolation="repeatable_read", readonly=True):
                made_at = await link.fetchval("select now()")
                snapshot = await link.fetchval("select pg_export_snapshot()")
                schema, major = await _about(link)
                position = await link.fetchval("select coalesce(max(position), 0) from cxplane.entry")
                tenants = await link.fetch("select distinct tenant from cxplane.release order by 1")
                tables = await sums(link, tell)
                out.write(_head(DUMP, 0))
                dump = await _dump(dsn, snapshot, out, tell)
    finally:
        link.terminate()
    manifest = Manifest(
        format=FORMAT,
        made_at=made_at,
        cxplane=__version__,
        schema=schema,
        postgres=major,
        position=position,
        tenants=tuple(row[0] for row in tenants),
        tables=tables,
        dump=dump,
    )
    told = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    out.write(b"\0" * (-dump.bytes % tarfile.BLOCKSIZE))
    out.write(_head(MANIFEST, len(told)) + told + b"\0" * (-len(told) % tarfile.BLOCKSIZE))
    out.write(b"\0" * tarfile.BLOCKSIZE * 2)
    out.seek(0)
    out.write(_head(DUMP, dump.bytes))
    return manifest


async def _about(link: Any) -> tuple[str, int]:
    """Step of the schema, and major version of Postgres."""
    if not await link.fetchval("select to_regclass('cxplane.alembic_version') is not null"):
        raise StoreError("there is no store of cxplane in this database", next="Check --dsn, or --data.")
    schema = await link.fetchval("select max(version_num) from cxplane.alembic_version")
    if schema is None:
        raise StoreError("a restore into this store was broken off", next="Run `cxplane restore` again.")
    return str(schema), int(await link.fetchval("select current_setting('server_version_num')::int / 10000"))


async def whole(dsn: str) -> Any:
    """A connection that sees every row or is told that it does not, and waits as long as it takes."""
    with connecting():
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_S,
            server_settings={
                "application_name": "cxplane backup",
                "timezone": "UTC",
                "datestyle": "ISO",
                "row_security": "off",
                "idle_in_transaction_session_timeout": "0",
                "statement_timeout": "0",
            },
        )


@contextmanager
def seeing_all() -> Iterator[None]:
    try:
        yield
    except asyncpg.InsufficientPrivilegeError:
        raise StoreError("this user of Postgres may not read everything", next=MAY_READ) from None


async def sums(link: Any, tell: Tell) -> dict[str, Table]:
    """Each table of the store, counted and summed up."""
    names = await link.fetch(
        "select relname from pg_class where relnamespace = 'cxplane'::regnamespace and relkind in ('r', 'p')"
        " and not relispartition and relname <> 'alembic_version' order by 1"
    )
    found: dict[str, Table] = {}
    for n, (name,) in enumerate(names):
        tell(n, len(names), f"counting {name}")
        quoted = name.replace('"', '""')
        row = await link.fetchrow(
            "select count(*), coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text"  # noqa: S608
            f' from cxplane."{quoted}" t'
        )
        found[name] = Table(row[0], row[1])
    return found


async def _dump(dsn: str, snapshot: str, out: BinaryIO, tell: Tell) -> Dump:
    words, env = command(
        "pg_dump",
        dsn,
        "--format=custom",
        "--compress=gzip:1",
        "--schema=cxplane",
        # comes last in a restore, and says that it is done
        "--exclude-table-data=cxplane.alembic_version",
        "--no-owner",
        "--no-privileges",
        f"--snapshot={snapshot}",
    )
    process = await asyncio.create_subprocess_exec(
        *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=CHUNK
    )
    assert process.stdout is not None and process.stderr is not None
    said = asyncio.create_task(last_lines(process.stderr))
    hash, size = hashlib.sha256(), 0
    try:
        while chunk := await process.stdout.read(CHUNK):
            hash.update(chunk)
            size += len(chunk)
            out.write(chunk)
            tell(0, 0, f"writing, {size / 1e6:.0f} MB")
        if await process.wait() != 0:
            raise failed("pg_dump", await said, next="See the log of Postgres for what it refused.")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await said
    return Dump(size, hash.hexdigest())


async def last_lines(stream: asyncio.StreamReader) -> list[str]:
    kept: deque[str] = deque(maxlen=50)
    while line := await stream.readline():
        kept.append(line.decode(errors="replace").rstrip())
    return list(kept)


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _keep_name(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_manifest(file: Path) -> tuple[Manifest, int]:
    """What a backup says of itself, and where its dump begins. StoreError if it is none."""
    try:
        with tarfile.open(file, "r:") as tar:
            dump, told = tar.getmember(DUMP), tar.extractfile(MANIFEST)
            manifest = msgspec.json.decode((told or BytesIO()).read(), type=Manifest)
    except OSError as problem:
        raise StoreError(
            f"{file} cannot be read: {problem.strerror}", next="Name a file of `cxplane backup`."
        ) from None
    except (tarfile.TarError, KeyError, msgspec.MsgspecError):
        raise StoreError(f"{file} is not a whole backup", next="Name a file of `cxplane backup`.") from None
    if manifest.format != FORMAT or dump.size != manifest.dump.bytes:
        raise StoreError(
            f"{file} is not a backup that this version reads ({manifest.format})", next="Use a newer cxplane."
        )
    return manifest, dump.offset_data


def check_file(file: Path, tell: Tell) -> Manifest:
    """StoreError unless every byte of the dump is as it was written."""
    manifest, begin = read_manifest(file)
    hash, left = hashlib.sha256(), manifest.dump.bytes
    total = max(1, left // CHUNK)
    with file.open("rb") as dump:
        dump.seek(begin)
        while left and (chunk := dump.read(min(CHUNK, left))):
            hash.update(chunk)
            left -= len(chunk)
            tell(total - left // CHUNK, total, "checking the file")
    if hash.hexdigest() != manifest.dump.sha256:
        raise StoreError(f"{file} is damaged: it is not what was written", next="Use another backup.")
    return manifest
