"""Taking runs over, many in one statement and one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

MOST = 256  # runs in one statement

Ask = Callable[[list[str], list[str]], Awaitable[list[Any]]]


class Taker:
    """What is asked while one statement is under way goes into the next."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: list[tuple[str, str, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def take(self, tenant: str, run: str) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((tenant, run, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        await asyncio.sleep(0)  # who asks in the same breath comes along
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            once = list(dict.fromkeys((tenant, run) for tenant, run, _ in batch))
            try:
                found = dict(zip(once, await self._ask([t for t, _ in once], [r for _, r in once]), strict=True))
            except BaseException as problem:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(problem)
                        answer.exception()
                if not isinstance(problem, Exception):
                    raise
                continue
            for tenant, run, answer in batch:
                if not answer.done():
                    answer.set_result(found[tenant, run])
