"""What every request passes first and last: an id, a trace, a place among those in flight, headers, one log line.

The log never holds a query string, a body, a credential or an id from the address: routes are logged as templates.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cxplane.domain.errors import Overloaded
from cxplane.domain.values import new_id
from cxplane.edges.http.limits import ADDRESS_BYTES, HttpLimits, Slots
from cxplane.edges.http.problems import MEDIA_TYPE, Problem, problem_of
from cxplane.ports.telemetry import Telemetry

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

access = logging.getLogger("cxplane.access")
log = logging.getLogger("cxplane.http")

KEY = "cxplane.visit"
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_REQUEST_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_TRACE = re.compile(r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")
_UNCOUNTED = frozenset({"/health/live", "/health/ready", "/metrics"})  # must answer under load


@dataclass(slots=True)
class Visit:
    """One request on its way through the edge."""

    id: str
    traceparent: str | None
    began: float
    route: str = "none"
    caller: str = "-"
    status: int = 500
    sent: int = 0
    head: bool = False  # only the headers are wanted
    counted: bool = False  # takes a place among those in flight


class Front:
    """Around the router."""

    def __init__(self, app: App, telemetry: Telemetry, limits: HttpLimits) -> None:
        self._app, self._telemetry = app, telemetry
        self.slots = Slots(limits.in_flight, "requests are being worked on")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        visit = Visit(_id_of(headers), _trace_of(headers), time.perf_counter())
        method = scope["method"]
        if method == "HEAD":  # answered like a GET; the server keeps its own scope and leaves the body out
            scope = {**scope, "method": "GET"}
            visit.head = True
        scope[KEY] = visit
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                visit.status = message["status"]
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in SECURITY_HEADERS if header[0] not in own),
                    (b"x-request-id", visit.id.encode()),
                ]
            elif message["type"] == "http.response.body":
                visit.sent += len(message.get("body", b""))
            await send(message)

        try:
            if (refused := self._refused(scope, visit)) is not None:
                await send_problem(answer, refused, visit.id)
                return
            await self._app(scope, receive, answer)
        except Exception as problem:
            log_failure(visit.id, problem)
            if started:
                raise
            await send_problem(answer, problem_of(problem), visit.id)
        finally:
            if visit.counted:
                self.slots.give_back()
            self._told(visit, method)

    def _refused(self, scope: Scope, visit: Visit) -> Problem | None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > ADDRESS_BYTES:
            return Problem("address", f"the address is longer than {ADDRESS_BYTES} bytes", "Send less in the address.")
        if scope["path"] in _UNCOUNTED:
            return None
        try:
            self.slots.take()
        except Overloaded as problem:
            self._telemetry.count("http_shed", {"why": "in_flight"})
            return problem_of(problem)
        visit.counted = True
        return None

    def _told(self, visit: Visit, method: str) -> None:
        took = time.perf_counter() - visit.began
        self._telemetry.count(
            "http_requests",
            {"method": method if method in _METHODS else "other", "route": visit.route, "status": str(visit.status)},
        )
        self._telemetry.observe("http_request_seconds", took, {"route": visit.route})
        self._telemetry.gauge("http_in_flight", self.slots.taken)
        if access.isEnabledFor(logging.INFO):
            line: dict[str, Any] = {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request": visit.id,
                "method": method,
                "route": visit.route,
                "status": visit.status,
                "ms": round(took * 1000, 1),
                "caller": visit.caller,
                "bytes": visit.sent,
            }
            if visit.traceparent:
                line["trace"] = visit.traceparent.split("-")[1]
            access.info("%s", json.dumps(line))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


async def send_problem(send: Send, problem: Problem, request: str) -> None:
    body = problem.body(request)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(k.lower().encode(), v.encode()) for k, v in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def log_failure(request: str, problem: BaseException) -> None:
    """Where it happened, without the error's text: that may quote a customer's data."""
    frames = "".join(traceback.format_tb(problem.__traceback__)[-12:])
    cause = f" from {type(problem.__cause__).__name__}" if problem.__cause__ else ""
    log.error("request %s failed with %s%s\n%s", request, type(problem).__name__, cause, frames)


def _id_of(headers: Mapping[bytes, bytes]) -> str:
    """The id that the client gave, if it is a plain one; else a fresh one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.match(given) else new_id("http")


def _trace_of(headers: Mapping[bytes, bytes]) -> str | None:
    given = headers.get(b"traceparent", b"").decode("latin-1")
    return given if _TRACE.match(given) else None
