"""What processes that stay have in common: their event loop, and where they log."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable

from cxplane.domain.masking import mask


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
    """One line an event; the access log is JSON already."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    logging.getLogger().handlers[0].setFormatter(Masked("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("cxplane").setLevel(level.upper())
    access = logging.getLogger("cxplane.access")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Masked("%(message)s"))
    access.handlers[:] = [handler]
    access.propagate = False
