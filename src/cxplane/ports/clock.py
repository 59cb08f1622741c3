"""The time, as an argument."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time by the wall, aware and in UTC: stamps entries, leases and expiries. In planes and workers it is the store's."""
        ...

    def business_now(self) -> datetime:
        """What facts and policies see as `now`: the same, unless the plane was started with a fixed time."""
        ...
