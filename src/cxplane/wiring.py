"""Who fits which port. The only module that knows adapters and connectors."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxplane.domain.errors import StoreError
from cxplane.domain.values import span

if TYPE_CHECKING:  # the heavy modules are imported where they are needed: `cxplane --help` stays quick
    from cxplane.adapters.postgres.work import PgQueuerWork
    from cxplane.connectors.choose import Connectors
    from cxplane.domain.release import ControlRepo
    from cxplane.loop import Live, Plane
    from cxplane.ports.clock import Clock
    from cxplane.ports.export import LineSink
    from cxplane.ports.expressions import Expressions
    from cxplane.ports.identity import Identity
    from cxplane.ports.policy import PolicyEngine
    from cxplane.ports.store import Store
    from cxplane.ports.systems import Vault
    from cxplane.ports.telemetry import Telemetry

DATA = Path(".cxplane")
EXPORT_FILE_BYTES = 1024**3  # of lines, in one file of an export


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are. Every field has an environment variable; see docs/reference/settings.md."""

    dsn: str | None = field(default=None, repr=False)  # CXPLANE_DSN; None = the embedded store in `data`
    data: Path = DATA  # CXPLANE_DATA
    control: Path | None = None  # CXPLANE_CONTROL; `serve` releases it at the start where nothing is live yet
    tenant: str | None = None  # CXPLANE_TENANT; None = the control repo's, else the only one in the store
    business_now: datetime | None = None  # CXPLANE_NOW; a fixed business time
    work: bool = True  # whether this process does background work
    lease: timedelta = timedelta(seconds=10)  # CXPLANE_LEASE; how soon the work of a dead worker goes to another
    concurrency: int = 256  # pieces of background work at once; most of them wait for a system
    host: str = "127.0.0.1"
    port: int = 8080
    secrets: Path | None = None  # CXPLANE_SECRETS: a folder, one file a secret
    system_urls: Mapping[str, str] = field(default_factory=dict)  # CXPLANE_SYSTEM_<NAME>_URL, by normalised name


def settings_from_env(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from the environment; overrides that are not None win. ValueError names a variable that cannot be read."""
    env = os.environ if environ is None else environ
    found: dict[str, Any] = {}
    if env.get("CXPLANE_DSN"):
        found["dsn"] = env["CXPLANE_DSN"]
    if env.get("CXPLANE_TENANT"):
        found["tenant"] = env["CXPLANE_TENANT"]
    for name, key in (("CXPLANE_DATA", "data"), ("CXPLANE_CONTROL", "control"), ("CXPLANE_SECRETS", "secrets")):
        if env.get(name):
            found[key] = Path(env[name])
    if env.get("CXPLANE_NOW"):
        try:
            found["business_now"] = datetime.fromisoformat(env["CXPLANE_NOW"])
        except ValueError:
            raise ValueError("CXPLANE_NOW must be a time like 2026-01-05T10:00:00Z") from None
    if env.get("CXPLANE_LEASE"):
        try:
            found["lease"] = span(env["CXPLANE_LEASE"])
        except ValueError:
            raise ValueError("CXPLANE_LEASE must be a span of time like 10s") from None
    urls = {}
    for name, url in env.items():
        if (match := re.match(r"^CXPLANE_SYSTEM_([A-Z0-9_]+)_URL$", name)) and url:
            urls[match[1].lower()] = url
    found["system_urls"] = urls
    found.update({k: v for k, v in overrides.items() if v is not None})
    return Settings(**found)


@cache
def expressions(currency: str = "EUR") -> Expressions:
    """CEL. `currency` says how many decimal places `money()` counts."""
    from cxplane.adapters.cel import CelExpressions

    return CelExpressions(currency=currency)


@cache
def policy_engine() -> PolicyEngine:
    from cxplane.adapters.cedar import CedarEngine

    return CedarEngine()


def vault(settings: Settings) -> Vault:
    from cxplane.adapters.vault import vault_from

    return vault_from(os.environ, settings.secrets)


def clock(settings: Settings) -> Clock:
    from cxplane.adapters.clock import SystemClock

    return SystemClock(settings.business_now)


def telemetry() -> Telemetry:
    from cxplane.adapters.telemetry import PrometheusTelemetry

    return PrometheusTelemetry()


def identity(settings: Settings, store: Store) -> Identity:
    from cxplane.adapters.identity import StoreIdentity

    return StoreIdentity(store, clock(settings), control=settings.control)


def connectors(repo: ControlRepo | None, settings: Settings) -> Connectors:
    """Connectors to the systems of a control repo; None where a plane will say which (`use`)."""
    from cxplane.connectors.choose import Connectors

    systems = repo.systems if repo else {}
    cel = expressions(repo.plane.currency) if repo else expressions()
    return Connectors(systems, cel, vault(settings), base_urls=settings.system_urls)


@asynccontextmanager
async def open_dsn(settings: Settings, *, serve: bool = False) -> AsyncIterator[str]:
    """The address of a Postgres that answers: the one named, or the embedded one, started where it is not running."""
    if settings.dsn:
        yield settings.dsn
        return
    from cxplane.adapters.postgres.embedded import EmbeddedPostgres

    async with EmbeddedPostgres(settings.data / "store", serve=serve) as dsn:
        yield dsn


@asynccontextmanager
async def open_store(settings: Settings, *, serve: bool = False) -> AsyncIterator[Store]:
    """The store, migrated and ready."""
    from cxplane.adapters.postgres.store import open_store as open_postgres

    async with open_dsn(settings, serve=serve) as dsn:
        store = await open_postgres(dsn)
        try:
            yield store
        finally:
            await store.aclose()


def export_sink(
    to: Path,
    about: Mapping[str, Any],
    *,
    is_file: bool,
    after: int,
    resume: bool,
    compressed: bool,
    rotate: tuple[bool, int],
) -> LineSink:
    """Where exported lines go: a file, or a folder that gets another file by day and beyond so many bytes."""
    from cxplane.adapters.line_files import LineFiles
    from cxplane.adapters.line_places import FilePlace, FolderPlace

    by_day, most = rotate
    place = FilePlace(to) if is_file else FolderPlace(to, compressed, by_day, most)
    return LineFiles(place, about=about, after=after, resume=resume)


async def export_releases(store: Store, tenant: str, folder: Path) -> None:
    """The control repos of all releases as files, those that are not there yet."""
    from cxplane.adapters.control_files import there, write_releases

    releases = await store.releases(tenant)
    kept = there(folder)
    files = {r.hash: await store.release_files(tenant, r.hash) for r in releases if r.hash not in kept}
    write_releases(folder, releases, {hash: texts for hash, texts in files.items() if texts is not None})


def write_parquet(lines: Path, to: Path, *, tell: Callable[[int, int, str], None]) -> Mapping[str, int]:
    """The lines of an export as Parquet files; how many rows each table has."""
    from cxplane.adapters.parquet import lines_in, write_tables

    return write_tables(lines_in(lines), to, tell=tell)


def check_parquet(to: Path, *, replace: bool) -> None:
    """Raises ExportFailed where DuckDB is missing or something is in the way."""
    from cxplane.adapters.parquet import check_duckdb, check_place

    check_duckdb()
    check_place(to, replace=replace)


async def tenant_of(settings: Settings, store: Store) -> str:
    if settings.tenant:
        return settings.tenant
    if settings.control:
        from cxplane.control.load import load

        return load(settings.control).plane.tenant
    found = list(await store.tenants())
    if len(found) == 1:
        return found[0]
    raise StoreError(
        "no release is live yet" if not found else f"the store serves {len(found)} tenants: {', '.join(sorted(found))}",
        next="Run `cxplane release DIR`, or give `--control DIR`."
        if not found
        else "Say which one with --tenant or CXPLANE_TENANT.",
    )


def open_release(systems: Connectors) -> Any:
    """How the loop compiles a release: files in, a `Live` out."""
    from cxplane.act.plan import CallPlans
    from cxplane.control.contract import contract_hash
    from cxplane.control.load import load
    from cxplane.decide.rulebook import Rulebook
    from cxplane.decide.shape import Contract
    from cxplane.domain.journey import Listen
    from cxplane.domain.release import Release
    from cxplane.journeys.program import Program
    from cxplane.journeys.starting import Starting
    from cxplane.loop import Live

    def compile_release(hash: str, files: Mapping[str, str]) -> Live:
        repo = load(files)
        cel = expressions(repo.plane.currency)
        rulebook = Rulebook.compile(Release(hash, repo), policy_engine().compile(repo), cel)
        contracts = {id: contract_hash(action) for id, action in repo.actions.items()}
        programs = {id: Program.compile(journey, cel) for id, journey in repo.journeys.items()}
        inputs = {
            id: Contract(journey.input or {"type": "object"}, closed=False) for id, journey in repo.journeys.items()
        }
        starts: dict[str, tuple[Starting, ...]] = {}
        for journey in repo.journeys.values():
            starting = Starting.compile(journey, cel)
            for signal in starting.signals:
                starts[signal] = (*starts.get(signal, ()), starting)
        listened = frozenset(
            one.signal
            for journey in repo.journeys.values()
            for step in journey.walk()
            if isinstance(step, Listen)
            for one in step.signals
        )
        plans = CallPlans(repo.actions, cel)
        return Live(rulebook, plans, systems, contracts, programs, inputs, listened, starts)

    return compile_release


async def _work(dsn: str, lease: timedelta) -> PgQueuerWork:
    from cxplane.adapters.postgres.work import PgQueuerWork

    return PgQueuerWork(dsn, lease=lease)


@asynccontextmanager
async def open_plane(settings: Settings) -> AsyncIterator[Plane]:
    """A plane that is started, on its store, with background work unless the settings say otherwise."""
    from cxplane.adapters.postgres.store import open_store as open_postgres
    from cxplane.loop import Plane

    async with open_dsn(settings, serve=True) as dsn:
        store = await open_postgres(dsn)
        systems = connectors(None, settings)
        told = telemetry()
        work = await _work(dsn, settings.lease)
        who = identity(settings, store)
        try:
            plane = Plane(
                tenant=await tenant_of(settings, store),
                store=store,
                systems=systems,
                open_release=open_release(systems),
                clock=clock(settings),
                telemetry=told,
                identity=who,
                work=work,
                works=settings.work,
                lease=settings.lease,
                concurrency=settings.concurrency,
            )
            await plane.start()
            try:
                yield plane
            finally:
                await plane.stop()
        finally:
            await work.aclose()
            await who.aclose()
            await systems.aclose()
            await store.aclose()
            told.close()
