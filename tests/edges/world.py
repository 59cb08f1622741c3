"""The HTTP edge behind a real socket, before a plane that says what a test wants: only the edge is looked at here.

What a real plane answers is tested in `test_end_to_end.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn

from cxplane.adapters.telemetry import PrometheusTelemetry
from cxplane.domain.errors import CallerUnknown, NotFound
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.views import Ask, RequestView
from cxplane.edges.http.app import http_app
from cxplane.edges.http.limits import HttpLimits

FIN = Caller(CallerKind.AGENT, "fin")
AUTH = {"Authorization": "Bearer good"}


def view(**changes: Any) -> RequestView:
    told: dict[str, Any] = {
        "id": "req_1",
        "action": "billing.issue_credit",
        "decision": "allow",
        "status": "done",
        "next": "Nothing: the system confirmed it.",
        "caller": FIN.name,
        "customer": "c-1",
        "at": datetime(2026, 1, 5, tzinfo=UTC),
    }
    return RequestView(**{**told, **changes})


class Quiet:
    """A store with nothing to say."""

    append_s = 0.0

    async def stats(self) -> dict[str, float]:
        return {"entries": 3}


class SaidHealth:
    def __init__(self, plane: SaidPlane) -> None:
        self._plane = plane

    async def ready(self) -> None:
        await self._plane._said("ready")

    async def measure(self) -> None:
        for name, value in (await self._plane.store.stats()).items():
            self._plane.telemetry.gauge("store", value, {"what": name})


class SaidPlane:
    """Answers with `answer`, or raises it where it is an error; remembers what it was asked."""

    tenant = "northwind"
    release = None
    seal_trouble: str | None = None

    def __init__(self) -> None:
        self.store, self.telemetry = Quiet(), PrometheusTelemetry()
        self.answer: Any = view()
        self.health = SaidHealth(self)
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.pause_s = 0.0

    async def _said(self, method: str, /, *given: Any, **named: Any) -> Any:
        self.asked.append((method, given, named))
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def ask(self, caller: Caller, ask: Ask) -> Any:
        return await self._said("ask", ask)

    async def request(self, caller: Caller, id: str) -> Any:
        return await self._said("request", id)

    async def requests(self, caller: Caller, **filters: Any) -> Any:
        await self._said("requests", **filters)
        return [], "more"

    async def customer(self, caller: Caller, id: str) -> Any:
        raise NotFound(f"no customer of that id ({len(id)} characters)")

    async def approve(self, caller: Caller, id: str, **named: Any) -> Any:
        return await self._said("approve", id, **named)

    async def record_fact(self, caller: Caller, id: str, **named: Any) -> Any:
        return await self._said("record_fact", id, **named)

    def __getattr__(self, method: str) -> Any:
        async def said(caller: Caller, *given: Any, **named: Any) -> Any:
            return await self._said(method, *given, **named)

        return said


class OneKey:
    async def authenticate(self, authorization: str | None, directory: Any) -> Caller:
        if authorization != AUTH["Authorization"]:
            raise CallerUnknown("no such API key")
        return FIN

    async def aclose(self) -> None:
        pass


@contextlib.contextmanager
def edge(plane: SaidPlane, limits: HttpLimits | None = None) -> Iterator[httpx.Client]:
    """A client of the edge, which serves on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = http_app(plane, OneKey(), limits)  # type: ignore[arg-type]
    server = uvicorn.Server(
        uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, access_log=False, server_header=False)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", headers=AUTH, timeout=20) as client:
        yield client
    server.should_exit = True
    thread.join(10)
    listener.close()


def problem(reply: httpx.Response, status: int, type: str) -> dict[str, Any]:
    """The problem of an answer, which is whole and says what to do."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = reply.json()
    assert told["type"] == f"urn:cxplane:problem:{type}"
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    assert told["next"]
    assert told["request_id"] == reply.headers["x-request-id"]
    return told
