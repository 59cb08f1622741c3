"""Where things are: from the environment, overridden by what was said."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cxplane.domain.values import span

DATA = Path(".cxplane")


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
