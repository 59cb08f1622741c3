"""A plane and what it is made of: a release compiled, replays, background work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxplane.wiring.machinery import (
    connectors,
    expressions,
    identity,
    operator_key,
    policy_engine,
    store_clock,
    telemetry,
)
from cxplane.wiring.sealing import seal_signers, sealer
from cxplane.wiring.settings import Settings
from cxplane.wiring.stores import open_dsn, open_store, tenant_of

if TYPE_CHECKING:  # the heavy modules are imported where they are needed: `cxplane --help` stays quick
    from cxplane.adapters.postgres.access import Access
    from cxplane.adapters.postgres.store import PostgresStore
    from cxplane.adapters.postgres.work import PgQueuerWork
    from cxplane.connectors.choose import Connectors
    from cxplane.loop import Live, Plane
    from cxplane.loop.replays import Replays
    from cxplane.ports.clock import Clock


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
            signers=seal_signers(settings, store.tenant, make=False),
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
