"""What the four systems share: routing, idempotency by key, effects, switchable faults, state on disk.

A system is a table of routes over one JSON-like state. Reads and writes are plain functions; this module
answers HTTP.

Idempotency: a write carries `Idempotency-Key`. The same key twice gives the stored answer (with the header
`Idempotent-Replay: true`) and does nothing; the same key with another body is refused with 409. A refused or
failed write stores nothing.

Faults: `POST /_faults {"fault": ..., "times": n, "path": "/prefix", "seconds": s}`; `{"fault": "none"}`
clears all of them.

=====================  ==============================================================================
slow                   the request is done, but only after `seconds` (default 2)
error                  500, nothing done
timeout_after_commit   the write is done, then no answer comes for `seconds` (default 30) and the line drops
wrong_answer           the write is answered as if done, but nothing was done
down                   503 on every path, `/health` included, nothing done
=====================  ==============================================================================

`timeout_after_commit` and `wrong_answer` concern writes; a read never uses one up.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

State = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

FAULTS = ("slow", "error", "timeout_after_commit", "wrong_answer", "down")
MAX_BODY = 64 * 1024


class Refusal(Exception):
    """The system will not do this; nothing was changed."""

    def __init__(self, status: int, code: str, text: str) -> None:
        self.status, self.code, self.text = status, code, text
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request, decoded. `key` is the Idempotency-Key of a write."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    key: str
    today: date

    def text(self, name: str) -> str:
        """A required text from the body, else from the query; Refusal 422 when it is missing or no text."""
        value = self.body.get(name, self.query.get(name))
        if not isinstance(value, str) or not value:
            raise Refusal(422, "invalid", f"{name} must be a text")
        return value

    def cents(self, name: str) -> int:
        """A required positive amount in cents; Refusal 422 otherwise."""
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise Refusal(422, "invalid", f"{name} must be a positive whole number of cents")
        return value


@dataclass(frozen=True, slots=True)
class Done:
    """A write's answer. `effect` is the id of what came into being; None when it had been done before."""

    body: dict[str, Any]
    effect: str | None


Read = Callable[[State, Call], dict[str, Any]]
Write = Callable[[State, Call], Done]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    operation: str
    read: Read | None = None
    write: Write | None = None

    def match(self, method: str, path: str) -> dict[str, str] | None:
        if method != self.method:
            return None
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path)
        return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


def reads(path: str, operation: str, function: Read) -> Route:
    return Route("GET", path, operation, read=function)


def writes(path: str, operation: str, function: Write, method: str = "POST") -> Route:
    return Route(method, path, operation, write=function)


def row(state: State, table: str, key: str) -> dict[str, Any]:
    """One row of a table by id; Refusal 404 when there is none."""
    found: dict[str, Any] | None = state[table].get(key)
    if found is None:
        raise Refusal(404, "not_found", f"no such row in {table}")
    return found


def by_key(table: str) -> Read:
    """A read that finds the row which a write with the given Idempotency-Key made; 404 when there is none."""

    def lookup(state: State, call: Call) -> dict[str, Any]:
        key = call.text("key")
        for found in state[table].values():
            if key in found.get("keys", ()):
                return public(found)
        raise Refusal(404, "not_found", f"nothing in {table} was done under this key")

    return lookup


def public(found: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the outside sees it."""
    return {name: value for name, value in found.items() if name != "keys"}


def next_id(state: State, prefix: str) -> str:
    """A fresh id such as `cr-10007`; never given twice, also after a restart."""
    counters = state.setdefault("_counters", {})
    counters[prefix] = counters.get(prefix, 10_000) + 1
    return f"{prefix}-{counters[prefix]}"


def reverse(
    state: State, table: str, prefix: str, original: dict[str, Any], mark: str, of: dict[str, Any], call: Call
) -> Done:
    """Note in `table` that the original was taken back, and on the original (under `mark`) by what."""
    reversal_id = next_id(state, prefix)
    answer = {"reversal_id": reversal_id, **of}
    state[table][reversal_id] = {**answer, "keys": [call.key]}
    original[mark] = reversal_id
    return Done(answer, reversal_id)


def again(state: State, table: str, found_id: str, call: Call) -> Done:
    """Asked for under another key, but already so: the earlier answer, no new effect."""
    found = row(state, table, found_id)
    found["keys"].append(call.key)
    return Done(public(found), None)


@dataclass(slots=True)
class Fault:
    kind: str
    times: int
    path: str
    seconds: float

    def meets(self, path: str, is_write: bool) -> bool:
        only_writes = self.kind in ("timeout_after_commit", "wrong_answer")
        return path.startswith(self.path) and (is_write or not only_writes)


@dataclass
class Service:
    """One system as an ASGI app. `token` empty: no authentication. `file` None: state lives in memory."""

    name: str
    routes: Sequence[Route]
    seed: Callable[[date], State]
    file: Path | None = None
    token: str = ""
    state: State = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            self.state = json.loads(self.file.read_text())
        else:
            self.reset()

    def reset(self) -> None:
        fresh = {**self.seed(datetime.now(UTC).date()), "_effects": [], "_answers": {}}
        self.state = json.loads(json.dumps(fresh))
        self.faults.clear()
        self.save()

    def save(self) -> None:
        if self.file is None:
            return
        draft = self.file.with_suffix(".new")
        with draft.open("w") as out:
            json.dump(self.state, out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self.file)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        method, path = scope["method"], scope["path"]
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        try:
            body = await _body(receive)
            if path.startswith("/_"):
                await _answer(send, *self._manage(method, path, query, body))
                return
            await self._serve(method, path, headers, query, body, send)
        except Refusal as refusal:
            await _answer(send, refusal.status, {"code": refusal.code, "detail": refusal.text})

    async def _serve(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        body: Mapping[str, Any],
        send: Send,
    ) -> None:
        is_write = method != "GET"
        fault = self._take_fault(path, is_write)
        if fault is not None and fault.kind == "down":
            raise Refusal(503, "down", f"{self.name} is down")
        if path == "/health":
            await _answer(send, 200, {"system": self.name, "status": "ok"})
            return
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "unauthorized", "a bearer token is needed")
        if fault is not None and fault.kind == "error":
            raise Refusal(500, "internal_error", f"{self.name} failed before doing anything")
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)

        route, params = self._route(method, path)
        call = Call(params, query, body, headers.get("idempotency-key", ""), datetime.now(UTC).date())
        if route.read is not None:
            await _answer(send, 200, route.read(self.state, call))
            return
        if fault is not None and fault.kind == "wrong_answer":
            assert route.write is not None
            await _answer(send, 200, route.write(copy.deepcopy(self.state), call).body)
            return
        answer, replayed = self._write(route, path, call)
        if fault is not None and fault.kind == "timeout_after_commit":
            await _never_answer(send, fault.seconds)
            return
        await _answer(send, 200, answer, replayed=replayed)

    def _write(self, route: Route, path: str, call: Call) -> tuple[dict[str, Any], bool]:
        """Do a write once per key. Returns the answer and whether it is a stored one."""
        assert route.write is not None
        if not call.key:
            raise Refusal(428, "key_required", "a write needs the header Idempotency-Key")
        print_ = _fingerprint(route.method, path, call.body)
        stored = self.state["_answers"].get(call.key)
        if stored is not None:
            if stored["print"] != print_:
                raise Refusal(409, "key_reused", "this Idempotency-Key was used for another request")
            return stored["answer"], True
        draft = copy.deepcopy(self.state)
        done = route.write(draft, call)
        if done.effect is not None:
            draft["_effects"].append(
                {
                    "n": len(draft["_effects"]) + 1,
                    "operation": route.operation,
                    "id": done.effect,
                    "key": call.key,
                    "path": path,
                    "body": dict(call.body),
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                }
            )
        draft["_answers"][call.key] = {"print": print_, "answer": done.body}
        self.state = draft
        self.save()
        return done.body, False

    def _route(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        for route in self.routes:
            params = route.match(method, path)
            if params is not None:
                return route, params
        raise Refusal(404, "no_route", f"{self.name} has no {method} {path}")

    def _take_fault(self, path: str, is_write: bool) -> Fault | None:
        for fault in self.faults:
            if fault.meets(path, is_write):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def _manage(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """The test bench's side: faults, effects, reset. Not part of the business."""
        if (method, path) == ("POST", "/_faults"):
            kind = body.get("fault")
            if kind == "none":
                self.faults.clear()
            elif kind in FAULTS:
                seconds = float(body.get("seconds", 30 if kind == "timeout_after_commit" else 2))
                self.faults.append(Fault(kind, int(body.get("times", 1)), str(body.get("path", "/")), seconds))
            else:
                raise Refusal(422, "invalid", f"fault must be one of {', '.join(FAULTS)}, none")
            return 200, {"faults": [{"fault": f.kind, "times": f.times, "path": f.path} for f in self.faults]}
        if (method, path) == ("GET", "/_effects"):
            after = int(query.get("after", 0))
            return 200, {"system": self.name, "effects": self.state["_effects"][after:]}
        if (method, path) == ("POST", "/_reset"):
            self.reset()
            return 200, {"system": self.name, "effects": []}
        raise Refusal(404, "no_route", f"{self.name} has no {method} {path}")


def _fingerprint(method: str, path: str, body: Mapping[str, Any]) -> str:
    text = json.dumps([method, path, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


async def _body(receive: Receive) -> dict[str, Any]:
    raw, more = b"", True
    while more:
        message = await receive()
        raw += message.get("body", b"")
        more = message.get("more_body", False)
        if len(raw) > MAX_BODY:
            raise Refusal(413, "too_large", "the body is too large")
    if not raw:
        return {}
    try:
        value = json.loads(raw)
    except ValueError:
        raise Refusal(400, "invalid_json", "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_json", "the body must be a JSON object")
    return value


async def _answer(send: Send, status: int, body: Mapping[str, Any], *, replayed: bool = False) -> None:
    raw = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    if replayed:
        headers.append((b"idempotent-replay", b"true"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


async def _never_answer(send: Send, seconds: float) -> None:
    """Keep the caller waiting, then drop the line in the middle of the answer."""
    await asyncio.sleep(seconds)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000")]})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
