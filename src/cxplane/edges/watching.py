"""What is to be seen of a process that takes no requests: metrics, and whether it is alive and ready. No credentials, no customer data."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from cxplane.domain.errors import StoreError
from cxplane.loop.health import numbers

if TYPE_CHECKING:
    from cxplane.loop import Plane

Told = tuple[int, str, bytes]  # status, media type, body
JSON = "application/json"


@contextlib.asynccontextmanager
async def watched(plane: Plane, listener: socket.socket) -> AsyncIterator[None]:
    """While inside, `listener` answers GET /metrics, /health/live and /health/ready, as a plane does."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:  # they belong to the process
            yield

    config = uvicorn.Config(
        _app(plane),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _app(plane: Plane) -> Any:
    async def metrics() -> Told:
        text, media_type = await numbers(plane.health, plane.telemetry)
        return 200, media_type, text

    async def live() -> Told:
        return 200, JSON, b'{"status":"ok"}'

    async def ready() -> Told:
        try:
            await plane.health.ready()
        except StoreError as problem:
            return 503, JSON, json.dumps({"status": "fail", "said": str(problem), "next": problem.next}).encode()
        return 200, JSON, b'{"status":"ok"}'

    routes: dict[str, Callable[[], Awaitable[Told]]] = {
        "/metrics": metrics,
        "/health/live": live,
        "/health/ready": ready,
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        route = routes.get(scope["path"])
        if route is None:
            told: Told = (404, JSON, b'{"status":"fail","said":"there are /metrics, /health/live and /health/ready"}')
        elif scope["method"] not in ("GET", "HEAD"):
            told = (405, JSON, b'{"status":"fail","said":"only GET"}')
        else:
            told = await route()
        status, media_type, body = told
        headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
