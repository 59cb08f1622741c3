"""The engines, keys, clocks, identities and connectors that everything else is made of."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from cxplane.wiring.settings import Settings

if TYPE_CHECKING:  # the heavy modules are imported where they are needed: `cxplane --help` stays quick
    from cxplane.adapters.operator_key import OperatorKey
    from cxplane.connectors.choose import Connectors
    from cxplane.domain.release import ControlRepo
    from cxplane.ports.clock import Clock
    from cxplane.ports.expressions import Expressions
    from cxplane.ports.identity import Identity
    from cxplane.ports.policy import PolicyEngine
    from cxplane.ports.store import Store
    from cxplane.ports.systems import Vault
    from cxplane.ports.telemetry import Telemetry


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


@asynccontextmanager
async def store_clock(settings: Settings, store: Store) -> AsyncIterator[Clock]:
    """The store's time, followed for as long as it is open."""
    import asyncio

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
