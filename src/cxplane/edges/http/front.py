"""What every request passes first and last: an id, a trace, a place among those in flight, headers, one log line.

The log never holds a query string, a body, a credential or an id from the address: routes are logged as templates.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cxplane.domain.errors import Overloaded, where_it_broke
from cxplane.domain.values import new_id
from cxplane.edges.http.admission import Place
from cxplane.edges.http.limits import ADDRESS_BYTES, HttpLimits, Slots
from cxplane.edges.http.problems import MEDIA_TYPE, Problem, problem_of
from cxplane.ports.telemetry import FOLLOWED, Followed, Telemetry

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Hopeless = Callable[[str, str, int], Overloaded | None]

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
    began: float
    followed: Followed
    route: str = "none"
    caller: str = "-"
    status: int = 500
    sent: int = 0
    credentials: int = 0  # their hash: whoever sends the same is the same
    place: Place | None = None  # among those in work
    counted: bool = False  # among those that the process holds
    head: bool = False  # only the headers are wanted


class Front:
    """`hopeless` says of a method, a path and its credentials, before anything is read, that there is no place in time."""

    def __init__(self, app: App, tenant: str, telemetry: Telemetry, limits: HttpLimits, hopeless: Hopeless) -> None:
        self._app, self._tenant, self._telemetry, self._hopeless = app, tenant, telemetry, hopeless
        self._slots = Slots(limits.inside, "requests are here")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        id = _id_of(headers)
        visit = Visit(id, time.perf_counter(), Followed(id, self._tenant, _trace_of(headers)))
        FOLLOWED.set(visit.followed)  # each request is a task of its own
        visit.credentials = hash(headers.get(b"authorization"))
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
                self._slots.give_back()
            self._told(visit, method)

    def _refused(self, scope: Scope, visit: Visit) -> Problem | None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > ADDRESS_BYTES:
            return Problem("address", f"the address is longer than {ADDRESS_BYTES} bytes", "Send less in the address.")
        if scope["path"] in _UNCOUNTED:
            return None
        try:
            self._slots.take()
            visit.counted = True
            if (refused := self._hopeless(scope["method"], scope["path"], visit.credentials)) is not None:
                raise refused
        except Overloaded as problem:
            self._telemetry.count("http_shed", {"why": getattr(problem, "why", "inside")})
            return problem_of(problem)
        return None

    def _told(self, visit: Visit, method: str) -> None:
        took = time.perf_counter() - visit.began
        self._telemetry.count(
            "http_requests",
            {"method": method if method in _METHODS else "other", "route": visit.route, "status": str(visit.status)},
        )
        self._telemetry.observe("http_request_seconds", took, {"route": visit.route})
        if access.isEnabledFor(logging.INFO):
            fields = {
                "method": method,
                "route": visit.route,
                "status": visit.status,
                "ms": round(took * 1000, 1),
                "caller": visit.caller,
                "bytes": visit.sent,
            }
            said = (method, visit.route, visit.status, took * 1000, visit.caller)
            access.info("%s %s %d in %.1f ms for %s", *said, extra={"fields": fields})


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


async def send_problem(send: Send, problem: Problem, request: str) -> None:
    body = problem.body(request)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(k.lower().encode(), v.encode()) for k, v in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def log_failure(request: str, problem: BaseException) -> None:
    """Where it happened, without the error's text: that may quote a customer's data."""
    log.error("request %s failed with %s", request, where_it_broke(problem))


def _id_of(headers: Mapping[bytes, bytes]) -> str:
    """The id that the client gave, if it is a plain one; else a fresh one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.match(given) else new_id("http")


def _trace_of(headers: Mapping[bytes, bytes]) -> str | None:
    given = headers.get(b"traceparent", b"").decode("latin-1")
    return given if _TRACE.match(given) else None
