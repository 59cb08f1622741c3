"""One embedded Postgres for the whole test session; a fresh, migrated database for whoever asks for `dsn`."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from cxplane.adapters.postgres.store import PostgresStore, open_store

TEMPLATE = "cxplane_template"
DATA_KEY = "dGhlIG9wZXJhdG9yJ3Mga2V5IG9mIGFsbCB0ZXN0cyE"  # 32 bytes in base64url
os.environ.setdefault("CXPLANE_DATA_KEY", DATA_KEY)  # also for the processes that tests start
_numbers = itertools.count(1)


def with_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def run_sql(dsn: str, *statements: str) -> None:
    link = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await link.execute(statement)
    finally:
        await link.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long is begun first, so that nobody waits for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a Postgres of our own (its database `postgres`), with a migrated template in it.

    CXPLANE_TEST_DSN names another Postgres to test against; its user must be allowed to create databases.
    """
    given = os.environ.get("CXPLANE_TEST_DSN")
    folder = Path(tempfile.mkdtemp(prefix="cxplane-tests-"))
    embedded = None if given else EmbeddedPostgres(folder / "store")
    try:
        maintenance = with_database(given or (embedded.start() if embedded else ""), "postgres")

        async def prepare() -> None:
            await run_sql(
                maintenance,
                f"drop database if exists {TEMPLATE} with (force)",
                f"create database {TEMPLATE} template template0 encoding 'UTF8'",
            )
            store = await open_store(with_database(maintenance, TEMPLATE), tenant="northwind")
            await store.aclose()

        asyncio.run(prepare())
        yield maintenance
    finally:
        if embedded is not None:
            embedded.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_dsn(postgres: str) -> Iterator[str]:
    """The address of a database of the test's own, with nothing in it."""
    yield from _database(postgres, "template0")


@pytest.fixture
def dsn(postgres: str) -> Iterator[str]:
    """The address of a migrated, empty store of the test's own."""
    yield from _database(postgres, TEMPLATE)


@pytest.fixture
async def elsewhere(dsn: str) -> AsyncIterator[PostgresStore]:
    """The same Postgres as `store`, opened for another tenant."""
    opened = await open_store(dsn, tenant="other")
    yield opened
    await opened.aclose()


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresStore]:
    """A migrated, empty store of the test's own, for the tenant northwind."""
    opened = await open_store(dsn, tenant="northwind")
    yield opened
    await opened.aclose()


def _database(postgres: str, template: str) -> Iterator[str]:
    """In a thread: this may run inside the loop of an async test."""
    name = f"cxplane_test_{os.getpid()}_{next(_numbers)}"
    _in_thread(run_sql(postgres, f"create database {name} template {template}"))
    yield with_database(postgres, name)
    _in_thread(run_sql(postgres, f"drop database if exists {name} with (force)"))


def _in_thread(work: object) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()  # type: ignore[arg-type]
