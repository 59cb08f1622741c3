"""The HTTP app: each route of the table becomes a handler that checks, calls the plane and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from cxplane.domain.errors import CallerUnknown, CxplaneError, Forbidden, Malformed, Overloaded
from cxplane.domain.people import Caller, CallerKind
from cxplane.edges.http.admission import Refused
from cxplane.edges.http.front import KEY, App, Front, Visit, log_failure
from cxplane.edges.http.lanes import Lanes
from cxplane.edges.http.limits import BODY_BYTES, BODY_SECONDS, Buckets, HttpLimits, Slots
from cxplane.edges.http.openapi import document
from cxplane.edges.http.problems import MEDIA_TYPE, Problem, problem_of, problem_of_status
from cxplane.edges.http.route import Answer, Call, Route
from cxplane.edges.http.routes import ROUTES
from cxplane.edges.http.streaming import Streamed
from cxplane.edges.http.strict_json import NotTaken, TooSlow, parse, shaped
from cxplane.ports.identity import Identity

if TYPE_CHECKING:
    from cxplane.loop import Plane

NOBODY = Caller(CallerKind.SYSTEM, "nobody")
_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="string")

AnyRequest = Request[Any, Any, Any]
Endpoint = Callable[[AnyRequest], Awaitable[Response[bytes]]]


def http_app(
    plane: Plane, identity: Identity, limits: HttpLimits | None = None, stopping: asyncio.Event | None = None
) -> Front:
    """The whole edge, as an ASGI app. Once `stopping` is set, requests that only wait are answered as they stand."""
    edge = Edge(plane, identity, limits or HttpLimits(), stopping or asyncio.Event())
    spec = _encoder.encode(document(ROUTES))

    async def openapi(request: AnyRequest) -> Response[bytes]:
        _visit(request).route = "/openapi.json"
        return Response(spec, media_type="application/json")

    by_path: dict[str, dict[str, Endpoint]] = {"/openapi.json": {"GET": openapi}}
    for route in ROUTES:
        by_path.setdefault(route.path, {})[route.method] = edge.endpoint(route)
    handlers = [_handler(path, endpoints) for path, endpoints in by_path.items()]
    app = Litestar(
        handlers,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=BODY_BYTES,
        exception_handlers={Exception: _turned_away},
        include_in_schema=False,
    )
    return Front(cast(App, app), plane.tenant, plane.telemetry, edge.limits, edge.lanes.hopeless)


def _handler(path: str, endpoints: Mapping[str, Endpoint]) -> HTTPRouteHandler:
    """One handler for all methods of a path, OPTIONS included."""
    allowed = ", ".join(sorted({*endpoints, "OPTIONS", *(["HEAD"] if "GET" in endpoints else [])}))

    async def options(request: AnyRequest) -> Response[bytes]:
        _visit(request).route = path
        return Response(b"", status_code=204, headers={"Allow": allowed})

    every: dict[str, Endpoint] = {**endpoints, "OPTIONS": options}

    async def dispatch(request: AnyRequest) -> Response[bytes]:
        return await every[request.method](request)

    typed = "/".join(f"{part[:-1]}:str}}" if part.startswith("{") else part for part in path.split("/"))
    return HTTPRouteHandler(typed, http_method=list(every), status_code=200)(dispatch)  # type: ignore[arg-type]


class Edge:
    """What all routes share. It owns no rule of the business."""

    def __init__(self, plane: Plane, identity: Identity, limits: HttpLimits, stopping: asyncio.Event) -> None:
        self.plane, self.identity, self.limits, self.stopping = plane, identity, limits, stopping
        self.buckets = Buckets(limits)
        self.waiting = Slots(limits.waiting, "requests are waiting for an outcome")
        self.listening = Slots(limits.listeners, "listen to the record")
        self.lanes = Lanes(limits, plane.telemetry, lambda: plane.store.append_s)
        plane.telemetry.watch(self.lanes.tell)

    def endpoint(self, route: Route) -> Endpoint:
        known = frozenset(q.name for q in route.query)
        choices = {q.name: frozenset(q.values) for q in route.query if q.values}

        name, labels = f"{route.method} {route.path}", {"http.request.method": route.method, "http.route": route.path}
        telemetry = self.plane.telemetry

        async def endpoint(request: AnyRequest) -> Response[bytes]:
            visit = _visit(request)
            visit.route = route.path
            with telemetry.span(name, labels, parent=visit.followed.traceparent, kind="server"):
                visit.followed.traceparent = telemetry.traceparent() or visit.followed.traceparent
                telemetry.note({"cxplane.http_request": visit.id, "cxplane.tenant": visit.followed.tenant})
                response = await answered(request, visit)
                telemetry.note({"http.response.status_code": response.status_code or 200})
                return response

        async def answered(request: AnyRequest, visit: Visit) -> Response[bytes]:
            try:
                answer = await self._run(route, visit, await self._call(route, request, visit, known, choices))
                return _response(answer) if answer.stream is None else self._streamed(answer, visit)
            except CxplaneError as problem:
                if isinstance(problem, CallerUnknown):
                    telemetry.count("auth_failures")
                elif isinstance(problem, Refused):
                    telemetry.count("http_shed", {"why": problem.why})
                return _problem(problem_of(problem), visit)

        return endpoint

    async def _run(self, route: Route, visit: Visit, call: Call) -> Answer:
        """In its place among those in work. Nothing of the business is begun before it has one."""
        if route.open:
            return await route.run(call)
        share = (self.plane.tenant, call.caller.name)
        visit.place = await self.lanes.enter(route, call.caller, share, visit.credentials)
        try:
            return await route.run(call)
        finally:
            visit.place.give_back()

    async def _call(
        self,
        route: Route,
        request: AnyRequest,
        visit: Visit,
        known: frozenset[str],
        choices: Mapping[str, frozenset[str]],
    ) -> Call:
        """The request, checked from the outside in: who asks, then address, query, headers and body."""
        caller = NOBODY if route.open else _in_scope(await self._caller(request, visit), route)
        path = _path(request.path_params)
        query = _query(request, known, choices) if request.scope["query_string"] else {}
        key = _key(request) if route.keyed else None
        body, sent = await _body(request, route)
        media = _media(request)[0] if route.body is not None else ""
        return Call(
            plane=self.plane,
            caller=caller,
            path=path,
            query=query,
            body=body,
            sent=sent,
            accept=request.headers.get("accept", ""),
            media=media,
            headers=_headers(request) if route.media or route.streams else {},
            idempotency_key=key,
            rest=lambda seconds: self._rest(visit, seconds),
            again=lambda: self.identity.authenticate(request.headers.get("authorization"), self.plane),
            stopping=self.stopping,
        )

    def _streamed(self, answer: Answer, visit: Visit) -> Response[bytes]:
        """A listener has a place of its own kind; the one among those in work was given back before."""
        assert answer.stream is not None
        if visit.head:
            return Response(b"", media_type=answer.media_type, headers=dict(answer.headers))
        self.listening.take()
        return Streamed(answer.stream, answer.media_type, answer.headers, self.listening.give_back)

    async def _caller(self, request: AnyRequest, visit: Visit) -> Caller:
        given = request.headers.getall("authorization", [])
        if len(given) > 1:  # readers on the way disagree about which of them counts
            raise CallerUnknown("there are several Authorization headers", next="Send one.")
        caller = await self.identity.authenticate(given[0] if given else None, self.plane)
        visit.caller = caller.name
        try:
            self.buckets.take(caller.name)
        except Overloaded:
            self.plane.telemetry.count("http_shed", {"why": "rate"})
            raise
        return caller

    async def _rest(self, visit: Visit, seconds: float) -> bool:
        """A request that only waits gives its place to one that works. False: stop waiting."""
        place = visit.place
        assert place is not None
        self.waiting.take()
        place.give_back()
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return True
        finally:
            self.waiting.give_back()
            place.take_again()
        return False


def _in_scope(caller: Caller, route: Route) -> Caller:
    """Forbidden where the key is limited to other things."""
    scope = caller.limits.scope
    if scope is not None and route.needs not in scope:
        raise Forbidden(
            f"this API key is not for {route.needs or route.name!r}",
            next=f"It is for {', '.join(sorted(scope))}; use another key of {caller.name}.",
        )
    return caller


def _visit(request: AnyRequest) -> Visit:
    visit: Visit = request.scope[KEY]  # type: ignore[literal-required]
    return visit


def _path(params: Mapping[str, Any]) -> dict[str, str]:
    found = {name: str(value) for name, value in params.items()}
    for name, value in found.items():
        if len(value) > 200 or not value.isprintable():
            raise Malformed(
                f"{name} in the address is no id", next="Ids are printable and at most 200 characters long."
            )
    return found


def _query(request: AnyRequest, known: frozenset[str], choices: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """Each parameter once, and only those that the route takes."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=50,
        )
    except ValueError:
        raise Malformed("the query cannot be read", next="Mend the part of the address after `?`.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            takes = ", ".join(sorted(known)) or "none"
            raise Malformed("the query holds a parameter that is not known here", where="?", next=f"Known: {takes}.")
        if name in found:
            raise Malformed(f"{name} is given twice", where=f"?{name}", next="Give it once.")
        if len(value) > 1000 or not value.isprintable():
            raise Malformed(f"{name} cannot be read", where=f"?{name}", next="Mend the query.")
        if name in choices and value not in choices[name]:
            raise Malformed(
                f"{name} has no such value", where=f"?{name}", next=f"One of: {', '.join(sorted(choices[name]))}."
            )
        found[name] = value
    return found


async def _body(request: AnyRequest, route: Route) -> tuple[Any, Any]:
    """The body as the route's struct, and the JSON as it came."""
    if route.body is None:
        return None, None
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await request.body()
    except TimeoutError:
        raise TooSlow(f"the body did not come within {BODY_SECONDS:g} s", next="Send it again, at once.") from None
    if not raw.strip():
        if not route.body_optional:
            raise Malformed("the body is missing", next="Send a JSON object; /openapi.json has an example.")
        sent: Any = None if route.media else {}
    else:
        _must_be_json(request, route)
        sent = parse(raw)
    return (None if route.media else shaped(sent, route.body)), sent


def _media(request: AnyRequest) -> tuple[str, str]:
    """Media type and charset of the body, in lower case."""
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    return media.strip().lower(), parameters.strip().lower().replace('"', "")


def _must_be_json(request: AnyRequest, route: Route) -> None:
    media, charset = _media(request)
    known = media == "application/json" or (route.media and media.endswith("+json"))
    if not known or charset not in ("", "charset=utf-8"):
        taken = " or ".join(f"`{m}`" for m in ("application/json", *route.media))
        raise NotTaken("the body is not declared as application/json", next=f"Send `Content-Type:` {taken}, in UTF-8.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise NotTaken("the body is compressed", next="Send it as it is.")


def _headers(request: AnyRequest) -> dict[str, str]:
    """By lower-case name; an attribute of an event only once."""
    found: dict[str, str] = {}
    for raw, value in request.scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in found and name.startswith("ce-"):
            raise Malformed(f"the header {name} is given twice", where=name, next="Give it once.")
        found[name] = value.decode("latin-1")
    return found


def _key(request: AnyRequest) -> str | None:
    given = request.headers.getall("idempotency-key", [])
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not key or len(key) > 200 or not key.isprintable() or not key.isascii():
        raise Malformed(
            "the Idempotency-Key is not usable",
            where="Idempotency-Key",
            next="Send it once, with 1 to 200 printable ASCII characters.",
        )
    return key


def _response(answer: Answer) -> Response[bytes]:
    content = answer.raw if answer.raw is not None else _encoder.encode(answer.value)
    return Response(content, status_code=answer.status, headers=dict(answer.headers), media_type=answer.media_type)


def _problem(problem: Problem, visit: Visit) -> Response[bytes]:
    return Response(
        problem.body(visit.id), status_code=problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE
    )


def _turned_away(request: AnyRequest, error: Exception) -> Response[bytes]:
    """What the router refuses, and what nobody foresaw."""
    visit = _visit(request)
    if isinstance(error, HTTPException):
        headers = {k.lower(): v for k, v in (error.headers or {}).items()}
        return _problem(problem_of_status(error.status_code, headers=headers), visit)
    log_failure(visit.id, error)
    return _problem(problem_of(error), visit)
