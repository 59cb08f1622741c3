"""Answers that go on: server-sent events of the record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from litestar import Response

from cxplane.domain.errors import CxplaneError
from cxplane.domain.record import Line

BEAT_S = 15.0  # something is sent at least this often, so that nobody in between gives the connection up
SLOW_S = 30.0  # a listener that takes nothing for so long is left
RETRY_MS = 2000
CHECK_S = 30.0  # how soon a listener whose key was revoked hears no more

log = logging.getLogger("cxplane.http")
Message = dict[str, Any]


async def events(
    parts: AsyncIterator[Sequence[Line]], stopping: asyncio.Event, still: Callable[[], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """Each line as an event whose id is its position. `still` raises when the listener may not listen any more.

    The last event, `end`, says why it ends; then connect again after the last id, unless it says that you may not.
    """
    yield b"retry: %d\n\n" % RETRY_MS
    reason, checked = "the plane stops; connect again", time.monotonic()
    stopped = asyncio.create_task(stopping.wait())
    try:
        async with aclosing(parts):  # type: ignore[type-var]
            while not stopping.is_set():
                coming = asyncio.ensure_future(anext(parts))
                try:
                    await asyncio.wait((coming, stopped), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not coming.done():
                        coming.cancel()
                        await asyncio.wait((coming,))
                if coming.cancelled():
                    break
                lines = coming.result()
                if time.monotonic() - checked > CHECK_S:
                    await still()
                    checked = time.monotonic()
                yield (
                    b"".join([b"id: %d\ndata: %s\n\n" % (line.position, line.text) for line in lines])
                    if lines
                    else b": nothing new\n\n"
                )
    except CxplaneError as problem:
        reason = f"{problem}. {problem.next}"
    finally:
        stopped.cancel()
    yield b"event: end\ndata: %s\n\n" % reason.replace("\n", " ").encode()


class Streamed(Response[bytes]):
    """Sends part by part, each when the one before was taken; the listener is left if that takes too long."""

    def __init__(
        self, parts: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str], ended: Callable[[], None]
    ) -> None:
        super().__init__(b"", media_type=media_type, headers=dict(headers))
        self._parts, self._ended = parts, ended
        self._sent = {"content-type": media_type, **headers}

    def to_asgi_response(self, *args: Any, **named: Any) -> Any:
        return self._run

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            gone = asyncio.create_task(_until_gone(receive))
            sending = asyncio.create_task(self._send(send))
            try:
                await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (gone, sending):
                    task.cancel()
                await asyncio.gather(gone, sending, return_exceptions=True)
            if not sending.cancelled() and (problem := sending.exception()) is not None:
                if not isinstance(problem, TimeoutError):
                    raise problem
                log.warning("a listener took nothing for %g s and was left", SLOW_S)
        finally:
            self._ended()

    async def _send(self, send: Callable[[Message], Awaitable[None]]) -> None:
        headers = [(name.encode(), value.encode()) for name, value in self._sent.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._parts) as parts:  # type: ignore[type-var]
            async for part in parts:
                async with asyncio.timeout(SLOW_S):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(SLOW_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
