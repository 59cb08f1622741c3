"""What Postgres itself lets a session of one tenant do to another, whatever SQL it sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.operator_key import OperatorKey
from cxplane.adapters.postgres.access import Guard, live_tenants, open_access
from cxplane.adapters.postgres.connect import connect
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.customer_entries import conversation_opened, customer_changed
from cxplane.domain.entries import release_live, release_made
from cxplane.domain.errors import StoreError
from cxplane.domain.record import NewEntry, Write
from tests.conftest import with_database
from tests.contracts.mailroom import begun
from tests.contracts.writes import allowed, held

NOW = datetime.now(UTC)
SHARED = {"alembic_version", "release_name", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules"}
"""Tables without a tenant: no row of theirs says anything of one, beyond hashes of releases."""
MOVED = "0, 1, 1, 'f', 'note', now(), '{0}', '{1}', '{1}', array[sha256('x')])"


async def tables(link: Any, *, with_tenant: bool) -> list[str]:
    found = await link.fetch(
        "select c.relname from pg_class c where relnamespace = 'cxplane'::regnamespace and relkind in ('r', 'p')"
        " and exists (select from pg_attribute a where a.attrelid = c.oid and attname = 'tenant' and not attisdropped) = $1"
        " order by 1",
        with_tenant,
    )
    return [row["relname"] for row in found]


async def fill(store: PostgresStore) -> None:
    """The same ids in whichever tenant."""
    by = {"at": NOW, "actor": "x"}
    t = store.tenant
    await store.append(allowed("r1", "k1", tenant=t))
    await store.append(Write(t, held("r2", "a1").entries, new_request="r2"))
    await store.append(Write(t, (customer_changed("c1", attributes={"of": t}, identities=[], **by),)))
    await store.append(Write(t, (release_made("aa", note="", gates={}, **by), release_live("aa", previous=None, **by))))
    await store.append(Write(t, begun("run1").entries, new_run=begun("run1").new_run))
    await store.append(Write(t, (conversation_opened("talk", customer="c1", channel="chat", **by),)))
    await store.append(Write(t, (NewEntry("customer.hold", "c2", NOW, "x", {"on": True}),)))


async def seal(dsn: str, tenant: str) -> None:
    """A key of a customer whose time is over, and a tree with a tile that does not agree with the record."""
    owner = await asyncpg.connect(dsn)
    await owner.execute(
        "insert into cxplane.subject_key (tenant, id, subject, shelf, ends, made_at, wrapped_by, wrapped)"
        " values ($1, 'sk1', 'c1', 'health/2019', '2020-01-01', '2019-01-01', 'op', 'wrapped')",
        tenant,
    )
    await owner.execute("select cxplane.seal_move($1, 'tree', " + MOVED, tenant)
    await owner.close()


@pytest.fixture
async def both(dsn: str, store: PostgresStore, elsewhere: PostgresStore) -> tuple[PostgresStore, PostgresStore]:
    for one in (store, elsewhere):
        await fill(one)
        await seal(dsn, one.tenant)
    return store, elsewhere


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Any]:
    """A session as the plane of `northwind` has them, for raw SQL."""
    access = await open_access(dsn, "northwind")
    assert access.guard is Guard.ROLE
    opened = await connect(dsn, "raw", access)
    yield opened
    await opened.close()


async def test_every_table_with_a_tenant_is_under_a_policy_that_holds_its_owner_too(
    both: object, dsn: str, link: Any
) -> None:
    named = await tables(link, with_tenant=True)
    assert {"entry", "request", "customer", "api_key", "pgqueuer", "run", f"entry_{NOW:%Y_%m}"} <= set(named)
    assert {"seal", "checkpoint", "tile", "subject_key"} <= set(named)
    open_ones = await link.fetch(
        "select relname from pg_class c where relnamespace = 'cxplane'::regnamespace and relname = any ($1) and not ("
        "relrowsecurity and relforcerowsecurity and exists (select from pg_policy where polrelid = c.oid))",
        named,
    )
    assert [row["relname"] for row in open_ones] == []
    assert set(await tables(link, with_tenant=False)) == SHARED  # a new one without a tenant says here why


async def test_raw_sql_reaches_no_row_of_another_tenant(both: object, dsn: str, link: Any) -> None:
    owner = await asyncpg.connect(dsn)
    try:
        reached = 0
        for table in await tables(link, with_tenant=True):
            theirs = await owner.fetchval(f"select count(*) from cxplane.{table} where tenant = 'other'")
            reached += bool(theirs)
            if table.startswith("entry_"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await link.fetch(f"select * from cxplane.{table}")
                continue
            assert {r["tenant"] for r in await link.fetch(f"select tenant from cxplane.{table}")} <= {"northwind"}
            for change in (f"update cxplane.{table} set tenant = tenant", f"delete from cxplane.{table}"):
                try:
                    done = await link.execute(f"{change} where tenant = 'other'")
                    assert done.endswith(" 0"), (table, done)
                except asyncpg.InsufficientPrivilegeError:
                    pass  # the record: nobody changes it
            assert theirs == await owner.fetchval(f"select count(*) from cxplane.{table} where tenant = 'other'")
        assert reached >= 10  # so that the loop has had something to reach
    finally:
        await owner.close()


async def test_nothing_is_moved_into_another_tenant(both: object, dsn: str, link: Any) -> None:
    for table in await tables(link, with_tenant=True):
        if not await link.fetchval(f"select has_table_privilege('cxplane.{table}', 'update')"):
            continue
        if await link.fetchval(f"select count(*) from cxplane.{table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await link.execute(f"update cxplane.{table} set tenant = 'other'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await link.execute("insert into cxplane.customer (tenant, id) values ('other', 'c9')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await link.execute(
            "insert into cxplane.entry (position, at, tenant, stream, kind, actor, body)"
            " values (1, now(), 'other', 's', 'k', 'x', '{}')"
        )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await link.execute(
            "insert into cxplane.pgqueuer (tenant, priority, entrypoint, status) values ('other', 0, 'leg@other', 'queued')"
        )


FUNCTIONS = {
    "append": 'select cxplane.append(\'[{"t": "other", "e": [{"k": "note", "s": "s", "a": "2026-11-01", "r": "x",'
    " \"b\": {}}]}]', '{}', '{}', '{}', '{}', '{}', '{}')",
    "append in groups": 'select cxplane.append(\'[{"t": "other", "e": [{"k": "note", "s": "s", "a": "2026-11-01", "r": "x",'
    " \"b\": {}}]}]', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{1}', 'w')",
    "against": 'select 1 from cxplane.against(\'[{"t": "other", "n": "r1"}]\', 1, 1, null) a where a <> array[null::jsonb]',
    "fold_legs": "select cxplane.fold_legs(array[(0, now(), 'other', 'r9', 'request', 'x', null, null, null,"
    ' \'{"id": "r9", "action": "a", "caller": "agent:x"}\', null)::cxplane.entry,'
    " (0, now(), 'other', 'r9', 'decision', 'x', null, null, null,"
    ' \'{"verdict": "allow", "status": "running", "due": "2026-01-01T00:00:00Z"}\', null)::cxplane.entry])',
    "fold_legs of what is there": "select cxplane.fold_legs(array[(0, now(), 'other', 'r1', 'outcome', 'x', null, null, null,"
    ' \'{"status": "done"}\', null)::cxplane.entry])',
    "with_mail": 'select 1 from cxplane.with_mail(\'[{"t": "other", "f": ["run1", 0], "i": true}]\', \'{1}\') m where m <> \'{}\'',
    "entries_after": "select tenant from cxplane.entries_after('other', 0, null, null, 100)",
    "rebuild": "select 1 from (select cxplane.rebuild('other') n) x where n > 0",
    "wake": "select cxplane.wake('other', 'run1')",
    "post": "select cxplane.post('other', 'run1', 'p0', '{}', null)",
    "take_runs": "select 1 from cxplane.take_runs('{other}', '{run1}') t where t is not null",
    "let_go": "select 1 from cxplane.let_go('other', '{w1}', '{run1}') n where n > 0",
    "at_work": "select 1 from cxplane.at_work('other', 'w2', '0 seconds', '{run1}') n where n.woken > 0",
    "give_back": "select cxplane.give_back('other', 'r1')",
    "take": 'select cxplane.take(\'other\', \'r1\', \'{"claim": ["a", "k9", "r1"]}\', true)',
    "beyond": "select 1 from cxplane.beyond('other', '[]', null) b where b is not null",
    "fire_timers": "select 1 from cxplane.fire_timers(now() + interval '1 year', 100) f where fired > 0",
    "revive_runs": "select cxplane.revive_runs(now() + interval '1 year', 100)",
    "fold": "select cxplane.fold((0, now(), 'other', 'c1', 'customer.changed', 'x', null, null, null,"
    ' \'{"customer": "c1", "removed": ["of"]}\', \'{"attributes": {"of": "changed"}}\')::cxplane.entry)',
    "fold_asked": "select cxplane.fold_asked((0, now(), 'other', 'r9', 'request', 'x', null, null, null,"
    ' \'{"id": "r9", "action": "a", "caller": "agent:x"}\', null)::cxplane.entry,'
    " (0, now(), 'other', 'r9', 'decision', 'x', null, null, null,"
    ' \'{"verdict": "allow", "status": "running", "due": "2026-01-01T00:00:00Z"}\', null)::cxplane.entry)',
    "fold_customer": "select cxplane.fold_customer((0, now(), 'other', 'c1', 'customer.changed', 'x', null, null, null,"
    ' \'{"customer": "c1"}\', \'{"attributes": {"of": "changed"}}\')::cxplane.entry)',
    "fold_run": "select cxplane.fold_run((0, now(), 'other', 'run1', 'run.told', 'x', null, null, null, '{}', null)::cxplane.entry)",
    "tenants": "select cxplane.tenants()",
    "key_limits": "insert into cxplane.api_key (tenant, id, caller, hash, created_at, created_by)"
    " values ('other', 'k9', 'x', 'h9', now(), 'x')",
    "guard": "select cxplane.guard()",
    "guard_table": "select cxplane.guard_table('cxplane.customer')",
    "seal_next": "select positions from cxplane.seal_next('other', 100)",
    "seal_move": "select cxplane.seal_move('other', 'another', " + MOVED,
    "seal_move on": "select cxplane.seal_move('other', 'tree', "
    "1, 2, 2, 'f', 'forged', now(), '{0}', '{1}', '{1}', array[sha256('y')])",
    "seal_differs": "select cxplane.seal_differs('other', 0, 10)",
    "subjects_of": "select 1 from unnest(cxplane.subjects_of('other', 'c1')) s where s <> 'c1'",
    "on_hold": "select cxplane.on_hold('other', 'c2')",
    "live_of": "select 1 from cxplane.live_of('other', 'c1') l where l <> '{}'",
    "left_of": "select 1 from cxplane.left_of('other', 'c1') l"
    " where 0 < any (array[l ->> 'looked_at', l ->> 'living_keys', l ->> 'rows']::int[])",
    "needed": "select cxplane.needed('other', 'c1', now() + interval '1 year')",
    "destroy_keys": "select 1 from cxplane.destroy_keys('other', '{sk1}', now(), 'x', 'erased') k where k <> '[]'",
    "put": "select cxplane.put('other', 'c1', 'customer.hold', now(), 'x', '{\"on\": false}')",
    "erase": "select cxplane.erase('other', 'c1', now(), 'x', 'asked for')",
    "erase one on hold": "select cxplane.erase('other', 'c2', now(), 'x', 'asked for')",
    "fold_erased": "select cxplane.fold_erased((0, now(), 'other', 'c1', 'customer.erased', 'x', null, null, null,"
    ' \'{"keys": [["sk1"]]}\', null)::cxplane.entry)',
    "retain": "select 1 from cxplane.retain('other', '{\"default\": \"0 days\"}', now(), 'x', 100) n where n > 0",
    "ensure_month": "select 1 where cxplane.ensure_month('2031-01-01') is null",
}
HARMLESS = {
    "append_only", "claim_id", "frees", "freed_by", "settled", "fresh_epoch", "lock_runs", "pgqueuer_no_log", "revive_runs", "ensure_month",
    "lock_keys", "release_json", "line", "leaf",
}  # they read and write no row with a tenant, or only those of the session  # fmt: skip


async def state(owner: Any) -> dict[str, list[Any]]:
    names = await tables(owner, with_tenant=True)
    return {
        table: await owner.fetch(f"select t::text from cxplane.{table} t where tenant = 'other' order by 1")
        for table in names
    }


async def test_no_function_reaches_another_tenant(both: object, dsn: str, link: Any) -> None:
    found = await link.fetch("select distinct proname from pg_proc where pronamespace = 'cxplane'::regnamespace")
    assert {r["proname"] for r in found} <= set(FUNCTIONS) | HARMLESS  # a new function needs its case here
    owner = await asyncpg.connect(dsn)
    try:
        before = await state(owner)
        assert before["run"] and before["customer"] and before["pgqueuer"] and before["subject_key"] and before["tile"]
        for name, sql in FUNCTIONS.items():
            transaction = link.transaction()
            await transaction.start()
            try:
                rows = await link.fetch(sql)
                assert name in HARMLESS or [tuple(r) for r in rows if r[0] not in (None, "", False, -1)] == [], name
            except asyncpg.InsufficientPrivilegeError:
                await transaction.rollback()
            else:
                await transaction.commit()
            after = await state(owner)
            assert {table: after[table] for table in before} == before, name
    finally:
        await owner.close()


READS = ("seal_next", "seal_differs", "subjects_of", "on_hold", "live_of", "left_of", "needed", "retain")


@pytest.mark.parametrize("name", READS)
async def test_what_a_function_is_refused_of_another_tenant_it_finds_in_its_own(
    both: object, link: Any, name: str
) -> None:
    found = await link.fetch(FUNCTIONS[name].replace("'other'", "'northwind'"))
    assert [r[0] for r in found if r[0] not in (None, False, [])], name  # so that the case above can find something


async def test_a_store_neither_finds_nor_writes_what_belongs_to_another_tenant(
    both: tuple[PostgresStore, PostgresStore],
) -> None:
    store, other = both
    assert await other.request("other", "r1") is not None
    assert await store.request("other", "r1") is None
    assert await store.customer("other", "c1") is None
    assert await store.entries("other") == []
    assert await store.runs.take("other", "run1") is None
    assert await store.live_release("other") is None
    with pytest.raises(StoreError, match="another tenant"):
        await store.append(Write("other", (NewEntry("note", "s", NOW, "x", {}),)))
    mine = await store.customer("northwind", "c1")
    assert mine is not None and mine.attributes == {"of": "northwind"}


async def test_a_write_for_another_tenant_does_not_hurt_those_in_its_batch(store: PostgresStore) -> None:
    import asyncio

    writes = [allowed(f"b{n}", tenant="other" if n == 7 else "northwind") for n in range(20)]
    results = await asyncio.gather(*(store.append(w) for w in writes), return_exceptions=True)
    assert [n for n, r in enumerate(results) if isinstance(r, StoreError)] == [7]


async def test_partitions_made_later_are_guarded(store: PostgresStore, dsn: str, link: Any) -> None:
    await store.append(Write("northwind", (NewEntry("note", "s", datetime(2029, 4, 1, tzinfo=UTC), "x", {}),)))
    assert await link.fetchval(
        "select relrowsecurity and relforcerowsecurity from pg_class where relname = 'entry_2029_04'"
    )
    assert not await link.fetchval("select has_table_privilege('cxplane.entry_2029_04', 'select')")


async def test_a_session_without_a_tenant_sees_nothing(both: object, dsn: str) -> None:
    link = await asyncpg.connect(dsn, server_settings={"role": "cxplane_app"})
    try:
        for table in await tables(link, with_tenant=True):
            if not table.startswith("entry_"):
                assert await link.fetchval(f"select count(*) from cxplane.{table}") == 0
    finally:
        await link.close()


async def test_who_owns_the_store_can_list_its_tenants(both: object, dsn: str) -> None:
    assert await live_tenants(dsn) == ["northwind", "other"]


# other users than a superuser --------------------------------------------------------------------------------------


@pytest.fixture
async def users(postgres: str) -> AsyncIterator[None]:
    link = await asyncpg.connect(with_database(postgres, "postgres"))
    drop = "drop owned by {0}; drop role {0}"
    names = {"t_owner": "login", "t_free": "login bypassrls", "t_maker": "login createrole", "t_member": "login"}
    for name, can in names.items():
        if await link.fetchval("select 1 from pg_roles where rolname = $1", name):
            await link.execute(drop.format(name))
        await link.execute(f"create role {name} {can}")
    yield
    await link.close()


def as_user(dsn: str, user: str) -> str:
    return dsn.replace("postgresql://postgres@", f"postgresql://{user}@")


async def give(dsn: str, user: str) -> None:
    link = await asyncpg.connect(dsn)
    await link.execute(f'grant create on database "{dsn.split("/")[3].split("?")[0]}" to {user}')
    await link.close()


@pytest.mark.parametrize(("user", "guard"), [("t_owner", Guard.OWNER), ("t_free", Guard.NONE)])
async def test_what_holds_the_tenants_apart_depends_on_the_user(
    empty_dsn: str, users: None, user: str, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    await give(empty_dsn, user)
    stores = [await open_store(as_user(empty_dsn, user), tenant=t) for t in ("northwind", "other")]
    try:
        for store in stores:
            await fill(store)
        assert {store.access.guard for store in stores} == {guard}
        seen = await stores[0].request("other", "r1")
        assert (seen is None) == (guard is not Guard.NONE)
        assert ("NOT held apart" in caplog.text) == (guard is Guard.NONE)
        assert await live_tenants(as_user(empty_dsn, user)) == ["northwind", "other"]
    finally:
        for store in stores:
            await store.aclose()
        owner = await asyncpg.connect(empty_dsn)
        await owner.execute(f"drop owned by {user} cascade")
        await owner.close()


async def test_one_tenants_keys_are_wrapped_anew_where_nothing_holds_it_to_its_own(empty_dsn: str, users: None) -> None:
    await give(empty_dsn, "t_free")
    free, old, new = as_user(empty_dsn, "t_free"), b"o" * 32, b"n" * 32
    entry = NewEntry("note", "s", NOW, "x", {}, {"text": "secret"}, subject="c1")
    owner = await asyncpg.connect(empty_dsn)
    try:
        for tenant in ("northwind", "other"):
            async with aclosing(await open_store(free, tenant=tenant, operator=OperatorKey([old]))) as store:
                assert store.access.guard is Guard.NONE
                await store.append(Write(tenant, (entry,)))
        async with aclosing(await open_store(free, tenant="other", operator=OperatorKey([new, old]))) as store:
            assert await store.erasing.rewrap("other") == 1
        rows = await owner.fetch("select tenant, wrapped_by from cxplane.subject_key")
        assert {row["tenant"]: row["wrapped_by"] for row in rows} == {
            "northwind": OperatorKey([old]).newest,
            "other": OperatorKey([new]).newest,
        }
        # and each tenant's plane needs the key of its own data alone
        async with aclosing(await open_store(free, tenant="other", operator=OperatorKey([new]))) as store:
            assert [e.private for e in await store.stream("other", "s")] == [{"text": "secret"}]
        with pytest.raises(StoreError):
            await open_store(free, tenant="northwind", operator=OperatorKey([new]))
    finally:
        await owner.execute("drop owned by t_free cascade")
        await owner.close()


async def test_a_user_who_may_make_roles_makes_the_one_that_is_needed(
    postgres: str, empty_dsn: str, users: None
) -> None:
    server = await asyncpg.connect(postgres)
    await server.execute("alter role cxplane_app rename to cxplane_app_of_others")
    await give(empty_dsn, "t_maker")
    owner = await asyncpg.connect(empty_dsn)
    try:
        store = await open_store(as_user(empty_dsn, "t_maker"), tenant="northwind")
        await fill(store)
        assert store.access.guard is Guard.ROLE
        await store.aclose()
    finally:
        await owner.execute("drop owned by t_maker cascade")
        if await owner.fetchval("select 1 from pg_roles where rolname = 'cxplane_app'"):
            await owner.execute("drop owned by cxplane_app; drop role cxplane_app")
        await server.execute("alter role cxplane_app_of_others rename to cxplane_app")
        await owner.close()
        await server.close()


async def test_a_store_restored_without_its_grants_is_guarded_again(dsn: str) -> None:
    owner = await asyncpg.connect(dsn)
    await owner.execute("drop owned by cxplane_app; drop policy own_tenant on cxplane.customer")
    await owner.close()
    store = await open_store(dsn, tenant="northwind")
    try:
        await fill(store)
        assert store.access.guard is Guard.ROLE
        assert await store.customer("northwind", "c1") is not None
    finally:
        await store.aclose()


async def test_a_user_that_owns_nothing_is_enough_for_a_plane(dsn: str, users: None) -> None:
    owner = await asyncpg.connect(dsn)
    await owner.execute("grant cxplane_app to t_member")
    await owner.close()
    store = await open_store(as_user(dsn, "t_member"), tenant="northwind")
    try:
        await fill(store)
        assert store.access.guard is Guard.ROLE
        assert await store.request("northwind", "r1") is not None
        with pytest.raises(StoreError, match="may not list"):
            await live_tenants(as_user(dsn, "t_member"))
    finally:
        await store.aclose()
