"""Who fits which port. The only module that knows adapters and connectors."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxplane.domain.errors import NothingLive, StoreError
from cxplane.domain.values import span

if TYPE_CHECKING:  # the heavy modules are imported where they are needed: `cxplane --help` stays quick
    from cxplane.adapters.operator_key import OperatorKey
    from cxplane.adapters.postgres.access import Access
    from cxplane.adapters.postgres.backup import Manifest, Tell
    from cxplane.adapters.postgres.migrate import SchemaState
    from cxplane.adapters.postgres.store import PostgresStore
    from cxplane.adapters.postgres.work import PgQueuerWork
    from cxplane.connectors.choose import Connectors
    from cxplane.domain.release import ControlRepo
    from cxplane.domain.views import Check
    from cxplane.loop import Live, Plane
    from cxplane.loop.replays import Replays
    from cxplane.loop.sealer import Sealer
    from cxplane.ports.clock import Clock
    from cxplane.ports.export import LineSink
    from cxplane.ports.expressions import Expressions
    from cxplane.ports.identity import Identity
    from cxplane.ports.policy import PolicyEngine
    from cxplane.ports.seal import Signer, Verify
    from cxplane.ports.store import Store
    from cxplane.ports.systems import Vault
    from cxplane.ports.telemetry import Telemetry

log = logging.getLogger("cxplane.seal")

DATA = Path(".cxplane")
EXPORT_FILE_BYTES = 1024**3  # of lines, in one file of an export


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are. Every field has an environment variable; see docs/reference/settings.md."""

    dsn: str | None = field(default=None, repr=False)  # CXPLANE_DSN; None = the embedded store in `data`
    embedded: bool = False  # `dsn` is that of the embedded store in `data`, which somebody else started
    data: Path = DATA  # CXPLANE_DATA
    control: Path | None = None  # CXPLANE_CONTROL; `serve` releases it at the start where nothing is live yet
    tenant: str | None = None  # CXPLANE_TENANT; None = the control repo's, else the only one in the store
    business_now: datetime | None = None  # CXPLANE_NOW; a fixed business time
    work: bool = True  # whether this process does background work
    lease: timedelta = timedelta(seconds=10)  # CXPLANE_LEASE; how soon the work of a dead worker goes to another
    drain: timedelta = timedelta(seconds=1)  # CXPLANE_DRAIN; how long a plane told to stop still takes what comes
    seal_sink: str | None = None  # CXPLANE_SEAL_SINK; a folder or an https address; None = `seals` in `data`
    seal_every: timedelta = timedelta(seconds=5)  # CXPLANE_SEAL_EVERY
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
    if env.get("CXPLANE_SEAL_SINK"):
        found["seal_sink"] = env["CXPLANE_SEAL_SINK"]
    for name, key in (("CXPLANE_LEASE", "lease"), ("CXPLANE_DRAIN", "drain"), ("CXPLANE_SEAL_EVERY", "seal_every")):
        if env.get(name):
            try:
                found[key] = span(env[name])
            except ValueError:
                raise ValueError(f"{name} must be a span of time like 10s") from None
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


def operator_key(settings: Settings) -> OperatorKey:
    """What wraps the keys of customers: the vault's, or with the embedded store a file made beside it. StoreError if there is none."""
    from cxplane.adapters.operator_key import from_vault, from_vault_or_file

    held = vault(settings)
    if settings.dsn and not settings.embedded:
        return from_vault(held)
    return from_vault_or_file(held, settings.data / "keys" / "data.key")


def new_operator_key() -> str:
    from cxplane.adapters.operator_key import new_key

    return new_key()


def clock(settings: Settings) -> Clock:
    from cxplane.adapters.clock import SystemClock

    return SystemClock(settings.business_now)


def telemetry() -> Telemetry:
    from cxplane.adapters.telemetry import PrometheusTelemetry

    return PrometheusTelemetry()


SEAL_KEY = "CXPLANE_SEAL_KEY"


def seal_key_file(settings: Settings) -> Path:
    """Where the embedded store keeps the key that signs its record."""
    return settings.data / "keys" / "seal.key"


def seal_signers(settings: Settings, tenant: str, *, make: bool = True) -> Sequence[Signer]:
    """Keys that sign the record, newest first: from the vault, else, for the embedded store alone, from its key file,
    which is made where there is none (`make`). Empty for a Postgres of one's own without a key. Raises SealKeyWrong.
    """
    from cxplane.adapters.signing import keys_in, new_private_key, put_first, signers_from
    from cxplane.domain.errors import SecretMissing

    try:
        return signers_from(vault(settings).secret(SEAL_KEY))
    except SecretMissing:
        if settings.dsn:
            return ()
    file = seal_key_file(settings)
    if not keys_in(file):
        if not make:
            return ()
        put_first(file, new_private_key(f"cxplane/{tenant}"))
    return signers_from(keys_in(file) or "")


def new_seal_key(name: str) -> tuple[str, str]:
    """A fresh key: (private, public), both as text."""
    from cxplane.adapters.signing import Ed25519Signer, new_private_key
    from cxplane.record.note import Key

    private = new_private_key(name)
    return private, str(Key(name, Ed25519Signer(private).public))


def rotate_seal_key(settings: Settings, tenant: str, *, new_tree: bool) -> tuple[str, str, str | None]:
    """A new key before those there are: (what CXPLANE_SEAL_KEY must be, public key, the file that has it already or None)."""
    from cxplane.adapters.signing import keys_in, put_first
    from cxplane.domain.errors import SecretMissing

    signers = seal_signers(settings, tenant)
    name = signers[0].name if signers else f"cxplane/{tenant}"
    if new_tree:
        base, _, count = name.partition("@")
        name = f"{base}@{int(count or 1) + 1}"
    private, public = new_seal_key(name)
    try:
        old = vault(settings).secret(SEAL_KEY)
    except SecretMissing:
        old = None
    file = seal_key_file(settings)
    if old is None and not settings.dsn:
        put_first(file, private)
        return keys_in(file) or "", public, str(file)
    return " ".join([private, *(old or "").split()]), public, None


def sealer(settings: Settings, tenant: str, store: Store, told: Telemetry, clock: Clock) -> Sealer | None:
    """Who seals the record of the tenant; None without a key."""
    from cxplane.adapters.signing import verify
    from cxplane.adapters.sinks import sink_for
    from cxplane.domain.errors import SecretMissing
    from cxplane.loop.sealer import Sealer

    signers = seal_signers(settings, tenant)
    if not signers:
        log.warning("the record is NOT sealed: there is no %s (`cxplane audit keys new` makes one)", SEAL_KEY)
        return None
    try:
        token = vault(settings).secret("CXPLANE_SEAL_SINK_TOKEN")
    except SecretMissing:
        token = None
    sink = sink_for(settings.seal_sink or str(settings.data / "seals"), tenant, token)
    return Sealer(tenant, store, signers, sink, clock, told, verify)


def seal_verify() -> Verify:
    from cxplane.adapters.signing import verify

    return verify


@asynccontextmanager
async def store_clock(settings: Settings, store: Store) -> AsyncIterator[Clock]:
    """The store's time, followed for as long as it is open."""
    from cxplane.adapters.clock import StoreClock

    found = StoreClock(store.now, settings.business_now)
    await found.look()
    following = asyncio.create_task(found.follow())
    try:
        yield found
    finally:
        following.cancel()
        await asyncio.wait([following])


def identity(settings: Settings, store: Store, clock: Clock) -> Identity:
    from cxplane.adapters.identity import StoreIdentity

    return StoreIdentity(store, clock, control=settings.control)


def connectors(repo: ControlRepo | None, settings: Settings, told: Telemetry | None = None) -> Connectors:
    """Connectors to the systems of a control repo; None where a plane will say which (`use`)."""
    from cxplane.connectors.choose import Connectors

    systems = repo.systems if repo else {}
    cel = expressions(repo.plane.currency) if repo else expressions()
    return Connectors(systems, cel, vault(settings), base_urls=settings.system_urls, telemetry=told)


@asynccontextmanager
async def open_dsn(settings: Settings, *, serve: bool = False) -> AsyncIterator[str]:
    """The address of a Postgres that answers: the one named, or the embedded one, started where it is not running."""
    if settings.dsn:
        yield settings.dsn
        return
    from cxplane.adapters.postgres.embedded import EmbeddedPostgres

    async with EmbeddedPostgres(settings.data / "store", serve=serve) as dsn:
        yield dsn


async def back_up(settings: Settings, file: Path, tell: Tell) -> Manifest:
    """Write everything in the store to one file, while planes work."""
    from cxplane.adapters.postgres.backup import back_up as write

    async with open_dsn(settings) as dsn:
        return await write(dsn, file, tell)


async def restore(settings: Settings, file: Path, tell: Tell, *, by: str) -> Manifest:
    """Make the store again from a backup; it must be empty."""
    from cxplane.adapters.postgres.backup import read_manifest
    from cxplane.adapters.postgres.restore import restore as load

    read_manifest(file)  # before a store is made for it
    async with open_dsn(settings, serve=True) as dsn:
        return await load(dsn, file, tell, by=by)


async def recovered(settings: Settings, *, by: str) -> int:
    """Make a store ready that came back to an earlier moment by other means; the position of its last entry."""
    from cxplane.adapters.postgres.restore import recovered as renew

    async with open_dsn(settings, serve=True) as dsn:
        return await renew(dsn, by=by)


async def schema_of(settings: Settings, *, upgrade: bool = False) -> tuple[SchemaState, SchemaState]:
    """Where the schema of the store is: as it was found, and as it is now."""
    from cxplane.adapters.postgres.connect import asking, connect
    from cxplane.adapters.postgres.migrate import ensure_schema, schema_state

    async with open_dsn(settings) as dsn:
        link = await connect(dsn)
        try:
            with asking():
                before = await schema_state(link)
                if upgrade:
                    await ensure_schema(link)
                return before, await schema_state(link)
        finally:
            link.terminate()


def check_backup(file: Path, tell: Tell) -> Manifest:
    """StoreError unless the file is a whole backup."""
    from cxplane.adapters.postgres.backup import check_file

    return check_file(file, tell)


@asynccontextmanager
async def open_store(settings: Settings, *, tenant: str | None = None) -> AsyncIterator[Store]:
    """The store of one tenant, migrated and ready. `tenant`: None = the one that the settings mean."""
    from cxplane.adapters.postgres.store import open_store as open_postgres

    async with open_dsn(settings) as dsn:
        found = tenant or await tenant_of(settings, dsn)
        store = await open_postgres(dsn, tenant=found, operator=operator_key(settings))
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


async def examine_store(dsn: str) -> tuple[list[Check], bool]:
    """(what a look at the Postgres itself finds, whether its schema is ours). Changes nothing."""
    from cxplane.adapters.postgres.doctor import examine

    return await examine(dsn)


async def live_tenants(dsn: str) -> list[str]:
    """Tenants that have a live release, for who owns the store."""
    from cxplane.adapters.postgres.access import live_tenants as found

    return await found(dsn)


async def tenant_of(settings: Settings, dsn: str) -> str:
    """The tenant that is meant: the one named, the control repo's, or the only one there is.

    Raises StoreError (NothingLive where nothing is live yet).
    """
    if settings.tenant:
        return settings.tenant
    if settings.control:
        from cxplane.control.load import load

        return load(settings.control).plane.tenant
    found = await live_tenants(dsn)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NothingLive("no release is live yet", next="Run `cxplane release DIR`, or give `--control DIR`.")
    raise StoreError(
        f"the store serves {len(found)} tenants: {', '.join(sorted(found))}",
        next="Say which one with --tenant or CXPLANE_TENANT.",
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


@asynccontextmanager
async def open_replays(settings: Settings, control: Path) -> AsyncIterator[tuple[Replays, Live]]:
    """Replays on the store, and a control repo compiled as if it were a release. ControlError with its mistakes."""
    from cxplane.control.release import build
    from cxplane.loop.live import Releases
    from cxplane.loop.replays import Replays

    systems = connectors(None, settings)
    compile_release = open_release(systems)
    made = build(control)
    other: Live = compile_release(made.hash, made.repo.files)
    try:
        async with open_store(settings) as store:
            releases = Releases(store, store.tenant, compile_release, systems)
            await releases.follow()
            yield Replays(store.tenant, store, releases), other
    finally:
        await systems.aclose()


async def _work(dsn: str, access: Access, lease: timedelta) -> PgQueuerWork:
    from cxplane.adapters.postgres.work import PgQueuerWork

    return PgQueuerWork(dsn, access, lease=lease)


@asynccontextmanager
async def open_plane(settings: Settings) -> AsyncIterator[Plane]:
    """A plane that is started, on its store, with background work unless the settings say otherwise."""
    from cxplane.adapters.postgres.store import open_store as open_postgres

    async with open_dsn(settings, serve=True) as dsn:
        store = await open_postgres(dsn, tenant=await tenant_of(settings, dsn), operator=operator_key(settings))
        try:
            async with store_clock(settings, store) as time, _plane(settings, dsn, store, time) as plane:
                yield plane
        finally:
            await store.aclose()


@asynccontextmanager
async def _plane(settings: Settings, dsn: str, store: PostgresStore, store_time: Clock) -> AsyncIterator[Plane]:
    from cxplane.loop import Plane

    told = telemetry()
    systems = connectors(None, settings, told)
    work = await _work(dsn, store.access, settings.lease)
    who = identity(settings, store, store_time)
    try:
        plane = Plane(
            tenant=store.tenant,
            store=store,
            systems=systems,
            open_release=open_release(systems),
            clock=store_time,
            telemetry=told,
            identity=who,
            work=work,
            works=settings.work,
            lease=settings.lease,
            sealer=sealer(settings, store.tenant, store, told, store_time),
            seal_every=settings.seal_every,
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
        told.close()
