"""What a look at the Postgres itself finds: settings that durability rests on, room, clock, schema. Nothing is changed."""

from __future__ import annotations

from typing import Any

from cxplane.adapters.postgres.connect import asking, connect
from cxplane.adapters.postgres.migrate import HEAD, MIN_POSTGRES
from cxplane.domain.views import Check
from cxplane.ports.clock import Clock

NEEDED = 16  # connections of one plane that works: readers, writer, worker, queue, and one to look with
SKEW_WARN_S, SKEW_FAIL_S = 1.0, 30.0

_ASK = """
select current_setting('server_version_num')::int / 10000 as major, current_setting('server_version') as version,
    current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
    current_setting('full_page_writes') as pages, clock_timestamp() as now,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as most,
    (select count(*) from pg_stat_activity where backend_type = 'client backend') as used,
    pg_database_size(current_database()) as size, pg_is_in_recovery() as standby,
    to_regclass('cxplane.alembic_version') is not null as there
"""


async def examine(dsn: str, clock: Clock) -> tuple[list[Check], bool]:
    """(what was found, whether the schema is the one that this code knows). `clock`: this machine's, to hold against the store's.

    Raises StoreError, StoreUnavailable.
    """
    link = await connect(dsn, "cxplane doctor")
    try:
        with asking():
            asked = clock.now()
            row = await link.fetchrow(_ASK)
            came = clock.now()
            version = (
                await link.fetchval("select max(version_num) from cxplane.alembic_version") if row["there"] else None
            )
    finally:
        link.terminate()
    middle = asked + (came - asked) / 2
    checks = [
        _postgres(row),
        _schema(version),
        _clock((row["now"] - middle).total_seconds(), (came - asked).total_seconds()),
        _durable(row),
        _connections(row),
    ]
    return checks, version == HEAD


def _postgres(row: Any) -> Check:
    said = f"Postgres {row['version']}, {row['size'] / 1e6:.0f} MB"
    if row["major"] < MIN_POSTGRES:
        return Check("store", "fail", said, f"cxplane needs Postgres {MIN_POSTGRES} or later: upgrade it.")
    if row["standby"]:
        return Check("store", "fail", f"{said}; a standby, which takes no writes", "Point CXPLANE_DSN at the primary.")
    return Check("store", "ok", said)


def _schema(version: str | None) -> Check:
    if version == HEAD:
        return Check("schema", "ok", version)
    if version is None:
        return Check("schema", "warn", "none yet", "Run `cxplane serve` or `cxplane release DIR`: it is made then.")
    if version < HEAD:
        return Check("schema", "warn", f"{version}, this cxplane brings {HEAD}", "The next start moves it forward.")
    return Check("schema", "fail", f"{version} is newer than this cxplane ({HEAD})", "Upgrade cxplane on this machine.")


def _clock(skew_s: float, trip_s: float) -> Check:
    """Half a round trip is the best that can be known."""
    beyond = max(0.0, abs(skew_s) - trip_s / 2)
    said = f"Postgres is {abs(skew_s):.2f} s {'ahead of' if skew_s > 0 else 'behind'} this machine"
    if beyond < SKEW_WARN_S:
        return Check("clock", "ok", said)
    status = "fail" if beyond > SKEW_FAIL_S else "warn"
    return Check("clock", status, said, "Let both follow the same time servers (chrony, systemd-timesyncd).")


def _durable(row: Any) -> Check:
    said = f"fsync {row['fsync']}, synchronous_commit {row['commit']}, full_page_writes {row['pages']}"
    if row["fsync"] != "on" or row["pages"] != "on":
        return Check(
            "durability", "fail", said, "Set fsync and full_page_writes to on: a power cut may destroy the record."
        )
    if row["commit"] in ("off", "local"):
        return Check("durability", "fail", said, "Set synchronous_commit to on: what is done may be forgotten.")
    return Check("durability", "ok", said)


def _connections(row: Any) -> Check:
    free = row["most"] - row["used"]
    said = f"{row['used']} of {row['most']} in use; a plane or worker needs {NEEDED}"
    if free < 2:
        return Check("connections", "fail", said, "Raise max_connections, or stop what holds them.")
    if free < NEEDED:
        return Check("connections", "warn", said, "There is no room for another plane: raise max_connections first.")
    return Check("connections", "ok", said)
