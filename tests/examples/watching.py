"""Waiting for what runs of an example come to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, ClassVar

from cxplane.domain.views import RunView
from cxplane.loop import Plane

ENDED = ("done", "failed", "cancelled", "stuck")


class Watching:
    """Looks at runs as `watcher`, somebody of the example who may."""

    plane: Plane
    watcher: ClassVar[str]

    async def run(self, id: str) -> RunView:
        return await self.plane.run(self.plane.caller(self.watcher), id)

    async def ended(self, id: str) -> RunView:
        async def over() -> RunView | None:
            found = await self.run(id)
            return found if found.run.status in ENDED else None

        return await self.until(over, id)

    async def waits_at(self, id: str, step: str) -> RunView:
        async def there() -> RunView | None:
            found = await self.run(id)
            assert found.run.status not in ENDED, found
            return found if any(t["step"] == step and t.get("waits_for") for t in found.tokens) else None

        return await self.until(there, id)

    async def until(self, true: Callable[[], Any], run: str = "") -> Any:
        end = time.monotonic() + 60
        while not (found := await true()):
            assert time.monotonic() < end, await self.run(run) if run else "it did not come to that"
            await asyncio.sleep(0.05)
        return found

    async def approval(self, by: str, action: str) -> str:
        """The open approval of this action that `by` may see, as soon as there is one."""

        async def waiting() -> str | None:
            rows, _ = await self.plane.approvals(self.plane.caller(by), status="open")
            return next((row.id for row in rows if row.action == action), None)

        return str(await self.until(waiting))

    async def approve(self, by: str, action: str) -> None:
        await self.plane.approve(self.plane.caller(by), await self.approval(by, action), comment="agreed")
