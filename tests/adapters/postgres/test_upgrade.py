"""The schema is moved while planes of the version before work on the store."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from cxplane.adapters.postgres import migrate
from cxplane.adapters.postgres.migrate import COMPATIBLE_FROM, HEAD, ensure_schema, schema_state, script
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.errors import StoreError
from cxplane.domain.record import Appended
from tests.contracts.writes import T, allowed
from tests.crash.plane import Estate, estate

NEXT = "9001"
STEP = f"""
from alembic import op
revision = "{NEXT}"
down_revision = "{HEAD}"
def upgrade():
    op.get_context().impl.static_output('''
        create table cxplane.of_later (tenant text not null, id text not null, primary key (tenant, id));
        alter table cxplane.entry add column of_later text;
        alter table cxplane.request add column of_later text;
        alter table cxplane.request alter column of_later set default 'x';
        alter table cxplane.run add column of_later jsonb;
        alter table cxplane.mailbox add column of_later int not null default 7;
        alter table cxplane.customer add column of_later text;
        create index request_of_later_idx on cxplane.request (tenant, of_later);
    ''')
"""


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process knows one step more than the code; processes that it starts do not."""
    steps = tmp_path / "migrations"
    shutil.copytree(migrate.STEPS, steps, ignore=shutil.ignore_patterns("__pycache__"))
    (steps / "versions" / f"{NEXT}_later.py").write_text(STEP)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "STEPS", steps)
        patch.setattr(migrate, "HEAD", NEXT)
        yield patch


async def moved(dsn: str) -> None:
    link = await asyncpg.connect(dsn)
    try:
        await ensure_schema(link)
        assert (await schema_state(link)).version == NEXT
    finally:
        await link.close()


class Askers:
    """People who ask a plane for one credit after another, and need each to be done."""

    def __init__(self, world: Estate) -> None:
        self.world, self.asked, self.stopping = world, 0, False
        self.plane = world.planes[-1]

    async def one(self) -> None:
        while not self.stopping:
            self.asked += 1
            told = await self.world.ask(self.plane, dispute=f"d{self.asked}", amount=1)
            assert (told["http"], told.get("status")) == (200, "done"), told

    async def more(self, count: int) -> None:
        end = self.asked + count
        while self.asked < end:
            await asyncio.sleep(0.02)


@pytest.mark.timeout(120)
async def test_the_schema_moves_under_a_plane_at_work_and_no_request_fails(
    dsn: str, tmp_path: Path, next_version: pytest.MonkeyPatch
) -> None:
    next_version.setattr(migrate, "HEAD", HEAD)  # until the upgrade
    async with estate(dsn, tmp_path) as world:
        first = await world.start()
        await world.know(first)
        asking = Askers(world)
        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(asking.one())
            await asking.more(30)
            next_version.setattr(migrate, "HEAD", NEXT)
            await moved(dsn)
            await asking.more(30)
            asking.plane = await world.start()  # the version before, started after the upgrade
            await asking.more(30)
            world.kill(first)
            later = await open_store(dsn, tenant="northwind")  # the version after, beside it
            assert isinstance(await later.append(allowed("r1", "k1")), Appended)
            await later.aclose()
            asking.stopping = True
        assert len(world.billing.credits) == asking.asked


async def test_a_store_says_from_which_version_on_it_can_be_used(
    dsn: str, store: PostgresStore, next_version: pytest.MonkeyPatch
) -> None:
    next_version.setattr(migrate, "COMPATIBLE_FROM", NEXT)
    await moved(dsn)
    assert isinstance(await store.append(allowed("r1", "k1")), Appended)
    next_version.setattr(migrate, "HEAD", HEAD)
    with pytest.raises(StoreError, match="newer cxplane"):
        await open_store(dsn, tenant="northwind")


@pytest.mark.parametrize("mode", ["access share", "row exclusive"])
async def test_an_upgrade_waits_for_who_holds_a_table_and_lets_all_others_pass(
    dsn: str, store: PostgresStore, next_version: pytest.MonkeyPatch, mode: str
) -> None:
    next_version.setattr(migrate, "LOCK_TIMEOUT_S", 0.2)
    link = await asyncpg.connect(dsn)
    holding = link.transaction()
    await holding.start()
    await link.execute(f"lock table cxplane.customer in {mode} mode")  # the last one that the step needs
    moving = asyncio.create_task(moved(dsn))
    for n in range(100):
        assert isinstance(await store.append(allowed(f"r{n}", f"k{n}")), Appended)
        await asyncio.sleep(0.01)
    assert not moving.done()
    await holding.rollback()
    await moving
    assert len((await store.requests(T, limit=200))[0]) == 100
    await link.close()


async def test_an_upgrade_that_finds_no_gap_says_so_and_leaves_all_as_it_was(
    dsn: str, next_version: pytest.MonkeyPatch
) -> None:
    next_version.setattr(migrate, "TRIES", 1)
    next_version.setattr(migrate, "PAUSE_S", 0.01)
    link = await asyncpg.connect(dsn)
    async with link.transaction():
        await link.execute("lock table cxplane.customer in access share mode")
        with pytest.raises(StoreError, match="held a table"):
            await moved(dsn)
    assert (await schema_state(link)).version == HEAD
    assert await link.fetchval("select to_regclass('cxplane.of_later')") is None
    await link.close()


# what "compatible" promises --------------------------------------------------------------------------------

_CATALOG = """
select 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'cxplane'::regnamespace and c.relkind in ('r', 'p', 'v')
union all
select 'function ' || p.oid::regprocedure || ' ' || pg_get_function_result(p.oid)
from pg_proc p where p.pronamespace = 'cxplane'::regnamespace
union all
select 'sequence ' || relname from pg_class where relnamespace = 'cxplane'::regnamespace and relkind = 'S'
"""
_MUST_BE_GIVEN = """
select c.relname || '.' || a.attname
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'cxplane'::regnamespace and c.relkind in ('r', 'p') and a.attnotnull and not a.atthasdef
    and a.attidentity = ''
"""


async def lost_between(dsn: str, start: str, end: str) -> set[str]:
    """What code of version `start` may use and version `end` does not have, or asks for beyond it."""
    link = await asyncpg.connect(dsn)
    try:
        await link.execute("drop schema if exists cxplane cascade; create schema cxplane")
        await link.execute(script(None, start))
        there = {row[0] for row in await link.fetch(_CATALOG)}
        tables = {one.split()[1].partition(".")[0] for one in there if one.startswith("column ")}
        needed = {row[0] for row in await link.fetch(_MUST_BE_GIVEN)}
        if start != end:
            await link.execute(script(start, end))
        lost = there - {row[0] for row in await link.fetch(_CATALOG)}
        asked = {row[0] for row in await link.fetch(_MUST_BE_GIVEN)} - needed
        return lost | {f"must be given: {one}" for one in asked if one.partition(".")[0] in tables}
    finally:
        await link.close()


async def test_a_store_has_all_that_the_oldest_version_it_is_open_to_uses(empty_dsn: str) -> None:
    assert await lost_between(empty_dsn, COMPATIBLE_FROM, HEAD) == set()


async def test_what_a_step_takes_away_is_found(empty_dsn: str) -> None:
    lost = await lost_between(empty_dsn, "0001", "0002")
    assert lost == {"function cxplane.append(jsonb,text[],text[],text[]) SETOF jsonb"}
