"""Who fits which port. The only package that knows adapters and connectors."""

from __future__ import annotations

from cxplane.wiring.exports import (
    EXPORT_FILE_BYTES,
    check_parquet,
    export_releases,
    export_sink,
    exported_lines,
    write_parquet,
)
from cxplane.wiring.machinery import (
    clock,
    connectors,
    expressions,
    identity,
    new_operator_key,
    operator_key,
    policy_engine,
    store_clock,
    telemetry,
    vault,
)
from cxplane.wiring.planes import (
    open_plane,
    open_release,
    open_replays,
)
from cxplane.wiring.sealing import (
    SEAL_KEY,
    new_seal_key,
    rotate_seal_key,
    seal_key_file,
    seal_signers,
    seal_signers_from,
    seal_verify,
    sealer,
)
from cxplane.wiring.settings import (
    DATA,
    Settings,
    settings_from_env,
)
from cxplane.wiring.stores import (
    back_up,
    check_backup,
    examine_store,
    live_tenants,
    open_dsn,
    open_store,
    recovered,
    restore,
    schema_of,
    tenant_of,
)

__all__ = [
    "DATA",
    "EXPORT_FILE_BYTES",
    "SEAL_KEY",
    "Settings",
    "back_up",
    "check_backup",
    "check_parquet",
    "clock",
    "connectors",
    "examine_store",
    "export_releases",
    "export_sink",
    "exported_lines",
    "expressions",
    "identity",
    "live_tenants",
    "new_operator_key",
    "new_seal_key",
    "open_dsn",
    "open_plane",
    "open_release",
    "open_replays",
    "open_store",
    "operator_key",
    "policy_engine",
    "recovered",
    "restore",
    "rotate_seal_key",
    "schema_of",
    "seal_key_file",
    "seal_signers",
    "seal_signers_from",
    "seal_verify",
    "sealer",
    "settings_from_env",
    "store_clock",
    "telemetry",
    "tenant_of",
    "vault",
    "write_parquet",
]
