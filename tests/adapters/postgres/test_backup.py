"""Backup and restore: one moment of the store, whole or not at all, and what the past held is worth nothing after."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from cxplane.adapters.postgres import restore
from cxplane.adapters.postgres.backup import back_up, check_file, read_manifest
from cxplane.adapters.postgres.restore import JUMP
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.adapters.postgres.tools import command
from cxplane.domain.errors import StoreError
from cxplane.domain.record import Appended, Fenced
from tests.contracts.mailroom import begun, drained, letter
from tests.contracts.writes import T, allowed, told
from tests.loop.world import TENANT, control, release


def silent(done: int, total: int, what: str) -> None:
    pass


async def sql(dsn: str, text: str, *values: object) -> list[asyncpg.Record]:
    link = await asyncpg.connect(dsn)
    try:
        return list(await link.fetch(text, *values))
    finally:
        await link.close()


async def test_what_is_restored_is_what_was_there(
    store: PostgresStore, dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    from cxplane.wiring import Settings

    await release(Settings(dsn=dsn), control())
    for n in range(20):
        await store.append(allowed(f"r{n}", f"k{n}"))
    await store.append(told("r1", "done"))
    before = await store.entries(T)
    manifest = await back_up(dsn, tmp_path / "b", silent)
    await store.append(allowed("later", "later"))
    assert manifest.tables["entry"].rows == 41 + 2 and manifest.position == 43

    assert await restore.restore(empty_dsn, tmp_path / "b", silent, by="operator:sam") == manifest
    again = await open_store(empty_dsn, tenant="northwind")
    try:
        assert await again.entries(T) == before
        assert isinstance(await again.append(allowed("r1x", "k1x")), Appended)
        assert not isinstance(await again.append(allowed("r0", "k0")), Appended)
        acme = await open_store(empty_dsn, tenant=TENANT)
        told_ = (await acme.entries(TENANT, kind="store.restored"))[0]
        await acme.aclose()
        assert told_.actor == "operator:sam" and told_.body["position"] == 43
        assert told_.body["sha256"] == manifest.dump.sha256
    finally:
        await again.aclose()


async def test_a_backup_taken_while_writes_come_holds_one_moment(
    store: PostgresStore, dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    written, stopping = 0, False

    async def write() -> None:
        nonlocal written
        while not stopping:
            written += 1
            assert isinstance(await store.append(allowed(f"r{written}", f"k{written}")), Appended)

    writers = [asyncio.create_task(write()) for _ in range(4)]
    while written < 50:
        await asyncio.sleep(0.01)
    manifest = await back_up(dsn, tmp_path / "b", silent)
    at_the_end = written
    while written < at_the_end + 10:
        await asyncio.sleep(0.01)
    stopping = True
    await asyncio.gather(*writers)
    rows = {name: table.rows for name, table in manifest.tables.items()}
    assert rows["entry"] == 2 * rows["request"] == 2 * rows["intent"] == 2 * rows["claim"] > 0
    await restore.restore(empty_dsn, tmp_path / "b", silent, by="test")
    for name in ("request", "intent", "claim"):
        assert (await sql(empty_dsn, f"select count(*) from cxplane.{name}"))[0][0] == rows[name]


async def test_who_held_a_run_or_a_job_before_the_restore_holds_it_no_more(
    store: PostgresStore, dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    for run in ("r1", "r2"):
        await store.append(begun(run))
    held = await store.runs.take(T, "r1")
    assert held is not None
    await sql(dsn, "update cxplane.pgqueuer set status = 'picked', queue_manager_id = gen_random_uuid()")
    await sql(  # woken again while its job was being done
        dsn,
        "insert into cxplane.pgqueuer (priority, entrypoint, dedupe_key, status)"
        " select 0, entrypoint, dedupe_key, 'queued' from cxplane.pgqueuer where dedupe_key like '%r1'",
    )
    old_jobs = {row[0] for row in await sql(dsn, "select id from cxplane.pgqueuer")}
    await back_up(dsn, tmp_path / "b", silent)
    await restore.restore(empty_dsn, tmp_path / "b", silent, by="test")

    again = await open_store(empty_dsn, tenant="northwind")
    try:
        assert await again.append(drained(held, [1], [], idle=True)) == Fenced("r1")
        written = await again.append(letter("r1", 1))
        assert isinstance(written, Appended) and written.positions[0] > JUMP
        new = await again.runs.take(T, "r1")
        assert new is not None and [m.body["kind"] for m in new.mail] == ["started", "told"]
    finally:
        await again.aclose()
    jobs = await sql(empty_dsn, "select id, status::text, dedupe_key from cxplane.pgqueuer")
    assert sorted(job[2][-2:] for job in jobs) == ["r1", "r2"]
    assert {job[1] for job in jobs} == {"queued"}
    assert not old_jobs & {job[0] for job in jobs}


async def test_a_restore_never_writes_over_a_store(dsn: str, tmp_path: Path) -> None:
    await back_up(dsn, tmp_path / "b", silent)
    with pytest.raises(StoreError, match="never writes over"):
        await restore.restore(dsn, tmp_path / "b", silent, by="test")


async def test_a_backup_never_writes_over_a_file_and_leaves_none_behind_that_is_not_whole(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        await back_up(dsn, tmp_path / "b", silent)
    assert (tmp_path / "b").read_text() == "mine"
    with pytest.raises(StoreError, match="there is no store"):
        await back_up(empty_dsn, tmp_path / "c", silent)
    with pytest.raises(StoreError, match="cannot be written"):
        await back_up(dsn, tmp_path / "nowhere" / "d", silent)

    def stop(done: int, total: int, what: str) -> None:
        if what.startswith("writing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await back_up(dsn, tmp_path / "e", stop)
    assert os.listdir(tmp_path) == ["b"]


async def test_only_the_owner_can_read_a_backup(dsn: str, tmp_path: Path) -> None:
    await back_up(dsn, tmp_path / "b", silent)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20_000])


def _other_byte(file: Path) -> None:
    _, begin = read_manifest(file)
    data = bytearray(file.read_bytes())
    data[begin + 5000] ^= 1
    file.write_bytes(data)


def _none(file: Path) -> None:
    file.write_text("a letter")


@pytest.mark.parametrize("harm", [_cut, _other_byte, _none])
async def test_a_damaged_backup_is_refused_before_anything_is_made(
    dsn: str, empty_dsn: str, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    await back_up(dsn, tmp_path / "b", silent)
    check_file(tmp_path / "b", silent)
    harm(tmp_path / "b")
    with pytest.raises(StoreError, match=r"damaged|not a whole backup"):
        await restore.restore(empty_dsn, tmp_path / "b", silent, by="test")
    assert (await sql(empty_dsn, "select to_regnamespace('cxplane')"))[0][0] is None


async def test_a_backup_of_a_newer_version_is_refused(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    await sql(dsn, "update cxplane.alembic_version set version_num = '9999'")
    await back_up(dsn, tmp_path / "b", silent)
    with pytest.raises(StoreError, match="newer cxplane"):
        await restore.restore(empty_dsn, tmp_path / "b", silent, by="test")


async def test_a_restore_that_was_broken_off_lets_nobody_in_and_can_be_done_again(
    store: PostgresStore, dsn: str, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(allowed("r1", "k1"))
    await back_up(dsn, tmp_path / "b", silent)

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(restore, "_renew", killed)
        with pytest.raises(KeyboardInterrupt):
            await restore.restore(empty_dsn, tmp_path / "b", silent, by="test")
    with pytest.raises(StoreError, match="broken off"):
        await open_store(empty_dsn, tenant="northwind")
    await restore.restore(empty_dsn, tmp_path / "b", silent, by="test")
    again = await open_store(empty_dsn, tenant="northwind")
    assert len(await again.entries(T)) == 2
    await again.aclose()


async def test_a_row_that_is_not_as_it_was_stops_the_restore(
    store: PostgresStore, dsn: str, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(allowed("r1", "k1"))
    await back_up(dsn, tmp_path / "b", silent)
    load = restore._load

    async def and_somebody_changes_it(dsn_: str, *more: object) -> None:
        await load(dsn_, *more)  # type: ignore[arg-type]
        await sql(dsn_, "update cxplane.request set status = 'done'")

    monkeypatch.setattr(restore, "_load", and_somebody_changes_it)
    with pytest.raises(StoreError, match="not as they were: request"):
        await restore.restore(empty_dsn, tmp_path / "b", silent, by="test")
    with pytest.raises(StoreError, match="broken off"):
        await open_store(empty_dsn, tenant="northwind")


async def test_a_user_who_does_not_see_every_row_makes_no_backup(dsn: str, tmp_path: Path) -> None:
    link = await asyncpg.connect(dsn)
    await link.execute(
        "create role cxp_some login; grant usage on schema cxplane to cxp_some;"
        "grant select on all tables in schema cxplane to cxp_some;"
        "alter table cxplane.request enable row level security"
    )
    try:
        with pytest.raises(StoreError, match="may not read everything"):
            await back_up(dsn.replace("postgres@", "cxp_some@"), tmp_path / "b", silent)
        assert not os.listdir(tmp_path)
    finally:
        await link.execute("drop owned by cxp_some; drop role cxp_some")
        await link.close()


def test_a_password_is_not_among_the_words_of_a_command() -> None:
    for dsn in ("postgresql://sam:s%40cret@db:5432/x?sslmode=require", "postgresql://sam@db/x?password=s%40cret"):
        words, env = command("pg_dump", dsn)
        assert env["PGPASSWORD"] == "s@cret"
        assert not any("s%40cret" in word or "s@cret" in word for word in words)
        assert words[1].startswith("--dbname=postgresql://sam@db")
