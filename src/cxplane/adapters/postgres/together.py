"""Questions that many ask at once, asked together: what comes while one statement is under way goes into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cxplane.domain.errors import StoreError, StoreUnavailable

MOST = 256  # questions in one statement

Ask = Callable[[Sequence[tuple[Any, ...]]], Awaitable[Sequence[Any]]]


class Together:
    """`ask` answers a list of questions, in order. Two who ask the same at once get one answer."""

    def __init__(self, ask: Ask, *, links: int = 1) -> None:
        """`links`: statements that may be under way at once."""
        self._ask, self._links = ask, links
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._busy = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, *question: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._busy < self._links:
            self._busy += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # who asks in the same breath comes along
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._answer(batch)
        finally:
            self._busy -= 1

    async def _answer(self, batch: Sequence[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        once = list(dict.fromkeys(question for question, _ in batch))
        try:
            found = dict(zip(once, await self._ask(once), strict=True))
        except BaseException as problem:
            if len(once) > 1 and isinstance(problem, StoreError) and not isinstance(problem, StoreUnavailable):
                for question in once:  # one of them is poisoned: the others must not suffer
                    await self._answer([item for item in batch if item[0] == question])
                return
            for _, answer in batch:
                if answer.done():
                    continue
                if isinstance(problem, Exception):
                    answer.set_exception(problem)
                    answer.exception()  # one who left does not make it a warning
                else:
                    answer.cancel()
            if not isinstance(problem, Exception):
                raise
            return
        for question, answer in batch:
            if not answer.done():
                answer.set_result(found[question])
