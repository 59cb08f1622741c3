"""What commands that open the store themselves share."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cxplane.domain.release import ControlRepo
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings

Command = Callable[..., Any]
T = TypeVar("T")


def store_options(command: Command) -> Command:
    """--dsn, --data and --tenant; the command gets `settings`."""

    @functools.wraps(command)
    def with_settings(*args: Any, dsn: str | None, data: Path, tenant: str | None, **named: Any) -> Any:
        return command(*args, settings=settings_of(dsn=dsn, data=data, tenant=tenant), **named)

    decorated = click.option("--tenant", envvar="CXPLANE_TENANT", help="Whose, where the store serves several.")(
        with_settings
    )
    decorated = click.option(
        "--dsn", envvar="CXPLANE_DSN", help="Postgres to use; by default the embedded store in the data folder."
    )(decorated)
    return click.option(
        "--data",
        envvar="CXPLANE_DATA",
        default=".cxplane",
        show_default=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="Data folder.",
    )(decorated)


def settings_of(**given: Any) -> Settings:
    """Settings from the environment and these options. UsageError names what cannot be read."""
    from cxplane.wiring import settings_from_env

    try:
        return settings_from_env(**given)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None


def run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


async def with_store(
    settings: Settings, work: Callable[[Store], Coroutine[Any, Any, T]], *, tenant: str | None = None
) -> T:
    """Do something with the store of one tenant: `tenant`, else the one named, the control repo's, or the only one there is.

    StoreError says what to do where it cannot be opened.
    """
    from cxplane.wiring import open_store

    async with open_store(settings, tenant=tenant) as store:
        return await work(store)


async def live_repo(store: Store) -> tuple[str, ControlRepo]:
    """The tenant and what its live release says."""
    from cxplane.control.load import load
    from cxplane.domain.errors import StoreError

    tenant = store.tenant
    hash = await store.live_release(tenant)
    files = await store.release_files(tenant, hash) if hash else None
    if files is None:
        raise StoreError(f"no release of {tenant} is live yet", next="Run `cxplane release DIR` first.")
    return tenant, load(files)


async def find_release(store: Store, name: str) -> Mapping[str, str]:
    """The files of a release, by the beginning of its hash; `live` is the one that decides."""
    from cxplane.control.release import release_named
    from cxplane.domain.errors import NotFound

    tenant = store.tenant
    hash = await store.live_release(tenant) if name == "live" else (await release_named(store, tenant, name)).hash
    files = await store.release_files(tenant, hash) if hash else None
    if files is None:
        raise NotFound(f"there are no files of release {name}", next="`cxplane releases` lists those there are.")
    return files


@contextlib.contextmanager
def for_me_alone(yes: bool = True) -> Iterator[None]:
    """Files and folders that are made meanwhile are for their owner alone: personal data is readable in them."""
    before = os.umask(0o077) if yes else None
    try:
        yield
    finally:
        if before is not None:
            os.umask(before)


def operator() -> str:
    """Who is at this terminal, for the record: a person known by the machine, not by a key."""
    try:
        return f"operator:{os.environ.get('CXPLANE_OPERATOR') or getpass.getuser()}"
    except (KeyError, OSError):
        return "operator:unknown"
