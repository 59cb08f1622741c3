"""What a leg is having done: one thing in its own task, several side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cxplane.domain.decision import Allowed
from cxplane.domain.outcome import Outcome
from cxplane.loop.live import Live

CarryOut = Callable[[Live, Allowed], Awaitable[Outcome]]


class Doing:
    def __init__(self, carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._tasks: dict[asyncio.Task[Outcome], Allowed] = {}
        self._alone: tuple[Live, Allowed] | None = None  # it needs no task of its own

    def __bool__(self) -> bool:
        return bool(self._tasks) or self._alone is not None

    def begin(self, live: Live, allowed: Allowed, *, alone: bool) -> None:
        """`alone`: nothing else is to be done meanwhile. It begins when its end is waited for."""
        self.side_by_side()
        self._alone = (live, allowed)
        if not alone:
            self.side_by_side()

    def side_by_side(self) -> None:
        """Something else goes on meanwhile after all."""
        if self._alone is not None:
            (live, allowed), self._alone = self._alone, None
            self._tasks[asyncio.create_task(self._whole(live, allowed))] = allowed

    async def ended(self) -> Sequence[tuple[Allowed, Outcome]]:
        """Wait until at least one has ended."""
        if self._alone is not None and not self._tasks:
            (live, allowed), self._alone = self._alone, None
            return [(allowed, await self._carry_out(live, allowed))]
        self.side_by_side()
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        return [(self._tasks.pop(task), task.result()) for task in done]

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _whole(self, live: Live, allowed: Allowed) -> Outcome:
        return await self._carry_out(live, allowed)
