"""As whom a session comes: for which tenant, and held to it by what.

Row-level security holds every session of the store to the tenant that it names when it connects. Superusers and users with
BYPASSRLS are not held by it, so sessions become the role `cxplane_app`, which owns nothing and sees by policy only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cxplane.adapters.postgres.connect import asking, connect
from cxplane.adapters.postgres.migrate import ensure_schema
from cxplane.domain.errors import StoreError

log = logging.getLogger("cxplane.store")

ROLE = "cxplane_app"

_LOOK = """
select u.rolsuper or u.rolbypassrls as free, u.rolsuper or u.rolcreaterole as makes,
    pg_has_role(c.relowner, 'member') as owns, r.oid is not null as there,
    coalesce(pg_has_role(r.oid, $1), false) as becomes,
    coalesce(has_table_privilege(r.oid, 'cxplane.pgqueuer_log', 'insert')
        and has_table_privilege(r.oid, 'cxplane.entry', 'insert'), false) as granted
from pg_roles u join pg_class c on c.oid = 'cxplane.entry'::regclass left join pg_roles r on r.rolname = $2
where u.rolname = current_user
"""


class Guard(StrEnum):
    """What holds sessions to their tenant."""

    ROLE = "role"  # they are `cxplane_app`
    OWNER = "owner"  # the user of the DSN is held by forced policies
    NONE = "none"  # nothing in Postgres: the user passes policies and may not become the role


@dataclass(frozen=True, slots=True)
class Access:
    """The tenant that sessions are for, and what holds them to it."""

    tenant: str
    guard: Guard = Guard.OWNER

    def settings(self) -> dict[str, str]:
        held = {"cxplane.tenant": self.tenant}
        return held | {"role": ROLE} if self.guard is Guard.ROLE else held


async def open_access(dsn: str, tenant: str) -> Access:
    """Bring the schema forward and find out what holds sessions to their tenant; said loudly where nothing does."""
    if not tenant or tenant == "*":
        raise StoreError(
            "a store is opened for one tenant, by its name", next="Name it with --tenant or CXPLANE_TENANT."
        )
    link = await connect(dsn)
    try:
        with asking():
            await ensure_schema(link)
            guard = await _guard(link)
    finally:
        link.terminate()
    if guard is Guard.NONE:
        log.warning(
            "the tenants of this store are NOT held apart by Postgres: its user passes row-level security (BYPASSRLS) and "
            "may not become %s. Let an administrator run: create role %s nologin; grant %s to <user>; and start again.",
            ROLE,
            ROLE,
            ROLE,
        )
    return Access(tenant, guard)


async def live_tenants(dsn: str) -> list[str]:
    """Tenants that have a live release. Only for who owns the store: sessions of a tenant do not learn of others."""
    link = await connect(dsn)
    try:
        with asking():
            await ensure_schema(link)
            if not await link.fetchval("select has_function_privilege('cxplane.tenants()', 'execute')"):
                raise StoreError(
                    "the database user may not list the tenants of this store",
                    next="Say which one with --tenant or CXPLANE_TENANT.",
                )
            return [row["tenants"] for row in await link.fetch("select cxplane.tenants()")]
    finally:
        link.terminate()


async def _guard(link: Any) -> Guard:
    look = await _look(link)
    if look["owns"] and ((look["makes"] and not look["there"]) or (look["there"] and not look["granted"])):
        await link.execute("select cxplane.guard()")  # restored from a dump without its role, or the role came later
        look = await _look(link)
    if look["becomes"] and look["granted"]:
        return Guard.ROLE
    return Guard.NONE if look["free"] else Guard.OWNER


async def _look(link: Any) -> Any:
    # since Postgres 16 membership alone does not allow SET ROLE
    how = "SET" if link.get_server_version().major >= 16 else "MEMBER"
    return await link.fetchrow(_LOOK, how, ROLE)
