"""A plane in a thread and a loop of its own, which can be killed at any moment; and a system that outlives it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as TooLong
from contextlib import AsyncExitStack, suppress
from typing import Any

from cxplane.loop import Plane
from cxplane.wiring import Settings, open_plane
from tests.connectors.fake import FakeSystem, Seen

_dead: list[Any] = []  # kept as they were when they died: collecting them would run their clean-up


class Killed(Exception):
    """The plane died before it answered."""


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Any], seconds: float = 60) -> Any:
        """Its result. Killed if the loop stopped meanwhile."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        for _ in range(int(seconds * 50)):
            with suppress(TooLong):
                try:
                    return future.result(0.02)
                except CancelledError:
                    raise Killed from None
            if not self._thread.is_alive():
                _dead.append(future)
                raise Killed
        raise AssertionError("it hangs")

    def stop_here(self) -> None:
        """Nothing of this loop runs any more after the callback that runs now. From any thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)

    def end(self) -> None:
        self.stop_here()
        self._thread.join(10)


class Process(Loop):
    """A plane that serves one tenant of a store."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._stack = AsyncExitStack()
        self.plane: Plane = self.do(self._stack.enter_async_context(open_plane(settings)))

    def kill(self) -> None:
        """Like SIGKILL: what runs stops where it is, and the kernel closes its connections."""
        self.end()
        for entry in list(self.loop._selector.get_map().values()):  # type: ignore[attr-defined]
            with suppress(OSError):
                socket.socket(fileno=socket.dup(entry.fd)).shutdown(socket.SHUT_RDWR)
        _dead.append(self)

    def close(self) -> None:
        self.do(self._stack.aclose())
        self.end()
        self.loop.close()


class Bank(FakeSystem):
    """Remembers each effect once: (path, idempotency key, body); calls `on` before or after the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.effects: list[tuple[str, str, Any]] = []
        self.on: dict[str, Callable[[], None]] = {}  # before | after -> called once

    async def _answer(self, call: Seen, writer: asyncio.StreamWriter) -> bool:
        if call.method == "POST" and (strike := self.on.pop("before", None)):
            strike()
            await asyncio.sleep(0.02)
        return await super()._answer(call, writer)

    def _work(self, call: Seen, *, lie: bool) -> tuple[int, Any]:
        key, known = call.headers.get("idempotency-key", ""), len(self.credits)
        answer = super()._work(call, lie=lie)
        if len(self.credits) > known:
            self.effects.append((call.path, key, call.body))
        if call.method == "POST" and (strike := self.on.pop("after", None)):
            strike()
        return answer
