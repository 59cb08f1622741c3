"""What processes that stay have in common: their event loop, and where they log."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from cxplane.domain.errors import StoreError
from cxplane.domain.masking import mask
from cxplane.ports.telemetry import FOLLOWED


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # no wheel for this platform
        return None
    return uvloop.new_event_loop


def settle_memory() -> None:
    """For a process that stays: what was loaded is never garbage, and cycles are looked for less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class Masked(logging.Formatter):
    """The last net: what looks like personal data does not reach the log, whoever said it."""

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


def log_to_stderr(level: str) -> None:
    """One line an event: for people on a terminal, else JSON; CXPLANE_LOG (text or json) says which, whatever it is."""
    how = os.environ.get("CXPLANE_LOG") or ("text" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if how == "json" else Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("cxplane").setLevel(level.upper())


log_option = click.option(
    "--log",
    "level",
    envvar="CXPLANE_LOG_LEVEL",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged: on a terminal for people, else as JSON lines.",
)


def _trouble(record: logging.LogRecord) -> str:
    """Where an exception came from, without its text: that may quote a customer's data."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    problem = record.exc_info[1]
    frames = "".join(traceback.format_tb(problem.__traceback__)[-12:])
    return f"{type(problem).__name__}\n{frames}".rstrip()


class JsonLines(logging.Formatter):
    """One JSON object a line, with what is being worked on."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (followed := FOLLOWED.get()) is not None:
            line |= {"request_id": followed.request, "trace_id": followed.trace, "tenant": followed.tenant}
        line |= getattr(record, "fields", {})
        if trouble := _trouble(record):
            line["trouble"] = trouble
        told = {name: value for name, value in line.items() if value is not None}
        return mask(json.dumps(told, ensure_ascii=False))


class Text(logging.Formatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")  # noqa: DTZ006 -- as their own clock says it
        followed = FOLLOWED.get()
        about = f"  [{followed.request}]" if followed is not None else ""
        trouble = _trouble(record)
        line = (
            f"{at} {record.levelname.lower():<7} {record.name.removeprefix('cxplane.')}: {record.getMessage()}{about}"
        )
        return mask(f"{line}\n{trouble}" if trouble else line)


def listening(host: str, port: int) -> socket.socket:
    """The socket, taken before anything is started. StoreError-like failure if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            raise PlaceTaken(host, port) from None
        raise click.UsageError(f"cannot listen on {host}:{port}: {problem.strerror or problem}") from None
    listener.set_inheritable(True)
    return listener


class PlaceTaken(StoreError):
    """Something else listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is taken",
            next="Stop what listens there, or choose another port with --port (0: a free one).",
        )
