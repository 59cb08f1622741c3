"""Work in the background: durable jobs, due at a time, done by whoever is alive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cxplane.domain.values import JsonObject


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work. It may be delivered twice: handlers are idempotent."""

    id: int
    key: str  # what it is about; two jobs of one key and kind waiting at once are one
    kind: str
    payload: JsonObject
    tries: int


Handler = Callable[[Job], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WorkState:
    kind: str
    status: str  # queued | picked | failed …
    count: int


class Work(Protocol):
    async def enqueue(self, key: str, kind: str, payload: JsonObject, *, due: datetime | None = None) -> None:
        """Durable when it returns. Delayed work costs a row."""
        ...

    def wake(self) -> None:
        """Say that there is work, after a commit that put some into the queue itself. Many times at once are one."""
        ...

    async def run(self, handlers: Mapping[str, Handler], *, concurrency: int = 16) -> None:
        """Work until cancelled. A dead worker's jobs are taken over after the lease. A handler that raises is tried again with back-off."""
        ...

    @property
    def down_s(self) -> float:
        """For how long this process, which works, could not take any job; 0 while it can."""
        ...

    async def inspect(self) -> Sequence[WorkState]: ...
