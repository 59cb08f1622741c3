"""Connections: their JSON codec, and what their errors mean to those who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import asyncpg
import msgspec

from cxplane.domain.errors import Malformed, StoreError, StoreUnavailable

CONNECT_S = 5.0
COMMAND_S = 30.0
PATIENCE_S = 1.0  # for a Postgres that restarts, where nothing was sent or asking twice is harmless

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

GONE = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What says that Postgres does not answer now, rather than that the question was wrong."""

MALFORMED = (asyncpg.DataError, UnicodeEncodeError)
"""What says that Postgres cannot keep the value: NUL in a text, half a surrogate pair, a number out of range."""


def json_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else _encode(value)


async def prepare(link: Any) -> None:
    """JSONB goes over the wire as its bytes, with the version byte in front; bytes are taken to be JSON already."""
    await link.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + json_bytes(value),
        decoder=lambda data: _decode(data[1:]),
    )


class Held(Protocol):
    """As whom a session comes; see `access`."""

    def settings(self) -> dict[str, str]: ...


def session(name: str, access: Held | None = None, *, durable: bool = True, planned: bool = False) -> dict[str, str]:
    """Plans are kept, and one made while a table was small must not scan it for ever: an index where there is one.

    `access`: for which tenant; None = none at all (the schema, statistics of the planner).
    `durable`: a commit waits for the disk. Without it the last moments may be lost when the server dies, never torn.
    `planned`: every statement is planned once, for any values; else those with lists are planned anew each time they are asked.
    """
    settings = {"application_name": name, "timezone": "UTC", "enable_seqscan": "off", "jit": "off"}
    settings |= access.settings() if access is not None else {}
    settings |= {"plan_cache_mode": "force_generic_plan"} if planned else {}
    return settings if durable else settings | {"synchronous_commit": "off"}


async def as_it_was(link: Any) -> None:
    """For pools: nothing is set in a session and no lock outlives a statement, so there is nothing to reset. A round trip less."""


async def connect(dsn: str, name: str = "cxplane", access: Held | None = None, *, planned: bool = False) -> Any:
    """One connection. Raises StoreUnavailable, or StoreError where waiting will not help."""
    with connecting():
        link = await asyncpg.connect(
            dsn,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings=session(name, access, planned=planned),
        )
        await prepare(link)
        return link


@contextmanager
def connecting() -> Iterator[None]:
    try:
        yield
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError):
        raise StoreError("Postgres does not let this user in", next="Check user and password in CXPLANE_DSN.") from None
    except asyncpg.InvalidCatalogNameError:
        raise StoreError(
            "the database named does not exist", next="Create it, or check the database in CXPLANE_DSN."
        ) from None
    except (ValueError, asyncpg.ClientConfigurationError) as problem:
        if isinstance(problem, UnicodeError):
            raise
        raise StoreError(
            "the address of the store cannot be read",
            next="Write CXPLANE_DSN like postgresql://user:password@host:5432/database.",
        ) from None
    except GONE as problem:
        raise StoreUnavailable(f"Postgres cannot be reached ({type(problem).__name__})") from None


@contextmanager
def asking() -> Iterator[None]:
    """Errors of one question, in words of the family. Never the message of Postgres: it may quote customer data."""
    try:
        yield
    except MALFORMED as problem:
        raise malformed(problem) from None
    except GONE as problem:
        raise StoreUnavailable(f"Postgres does not answer ({type(problem).__name__})") from None
    except (
        asyncpg.QueryCanceledError,
        asyncpg.InsufficientResourcesError,
        asyncpg.ReadOnlySQLTransactionError,
    ) as problem:
        raise StoreUnavailable(f"Postgres cannot do it now ({type(problem).__name__})") from None
    except asyncpg.InsufficientPrivilegeError:
        raise StoreError(
            "Postgres refused what was asked: it belongs to another tenant, or a grant is missing",
            next="This store is open for one tenant. If that is the one, run `select cxplane.guard()` as its owner.",
        ) from None
    except asyncpg.PostgresError as problem:
        raise StoreError(
            f"Postgres refused what it was asked ({type(problem).__name__}, {problem.sqlstate})",
            next="This is a mistake in cxplane or a schema that was changed by hand; the log of Postgres says more.",
        ) from None


def malformed(problem: Exception) -> Malformed:
    return Malformed(
        f"a value cannot be kept ({type(problem).__name__})",
        next="Send text without NUL characters and half surrogate pairs, and numbers of ordinary size.",
    )
