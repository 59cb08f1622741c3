"""The wall clock."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The machine's time. With a fixed business time (demos, tests), facts and policies see that one instead."""

    def __init__(self, fixed_business_now: datetime | None = None) -> None:
        if fixed_business_now is not None and fixed_business_now.tzinfo is None:
            raise ValueError("the fixed business time needs a time zone, such as 2026-01-05T10:00:00Z")
        self._fixed = None if fixed_business_now is None else fixed_business_now.astimezone(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def business_now(self) -> datetime:
        return self._fixed if self._fixed is not None else self.now()
