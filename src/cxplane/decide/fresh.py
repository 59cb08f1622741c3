"""Reads that are still fresh enough to be used again, within one release."""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta

from cxplane.domain.values import JsonObject

KEPT = 1024


class Fresh:
    """A small memory, the longest unused forgotten first. Time is an argument: seconds of a clock that never goes back."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: OrderedDict[tuple[str, str, str], tuple[float, JsonObject]] = OrderedDict()

    def get(
        self, tenant: str, action: str, input_hash: str, *, tick: float, max_age: timedelta
    ) -> tuple[float, JsonObject] | None:
        """(age in seconds, output) of a read that is at most this old."""
        key = (tenant, action, input_hash)
        known = self._known.get(key)
        if known is None or not 0 <= tick - known[0] <= max_age.total_seconds():
            return None
        self._known.move_to_end(key)
        return tick - known[0], known[1]

    def put(self, tenant: str, action: str, input_hash: str, output: JsonObject, *, tick: float) -> None:
        key = (tenant, action, input_hash)
        self._known[key] = (tick, output)
        self._known.move_to_end(key)
        while len(self._known) > self._kept:
            self._known.popitem(last=False)
