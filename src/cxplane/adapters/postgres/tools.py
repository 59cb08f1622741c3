"""Programs of Postgres from the wheel: how they are called, and what may be said of how they ended."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from cxplane.adapters.postgres.embedded import binaries_of_wheel
from cxplane.domain.errors import StoreError

MAY_READ = "Name a user in the DSN who may read and write everything: a superuser, or one with BYPASSRLS."


def command(program: str, dsn: str, *more: str) -> tuple[list[str], dict[str, str]]:
    """What to run, and its environment: the password goes there, since everybody on the machine sees the words of a command."""
    parts = urlsplit(dsn)
    user, _, place = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    asked = parse_qsl(parts.query, keep_blank_values=True)
    password = dict(asked).get("password", unquote(password))
    query = urlencode([(key, value) for key, value in asked if key != "password"])
    address = urlunsplit(parts._replace(netloc=f"{name}@{place}" if name else place, query=query))
    env = dict(os.environ) | {"PGTZ": "UTC"}
    if password:
        env["PGPASSWORD"] = password
    return [str(binaries_of_wheel() / program), f"--dbname={address}", "--no-password", *more], env


def failed(program: str, lines: Sequence[str], *, next: str) -> StoreError:
    """What it said last, without what may quote a value of a row."""
    words = next_words = ""
    for line in lines:
        if found := re.match(rf"{program}: error: (?P<what>.*)", line):
            words = found["what"].partition("ERROR:")[0].strip(" :") or words
        if "version mismatch" in line:
            next_words = "This Postgres is newer than the tools that cxplane brings; use its own pg_dump."
        if "row-level security" in line or "permission denied" in line:
            next_words = MAY_READ
    return StoreError(f"{program} failed: {words[:200] or 'it said nothing'}", next=next_words or next)
