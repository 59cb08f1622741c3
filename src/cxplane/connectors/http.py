"""Actions that are described wholly in the catalog and reached over HTTP.

One try, no retries. What a failure means is decided here, once:

what came back                              on a write          on a read
nothing was sent (connect, pool)            retry               retry
429, 503, 408, 425                          retry               retry
401, 403, 407 (our credentials)             refused             retry    (hidden is not absent)
404, 410                                    refused, not found  refused, not found
a status listed under `refused`             refused             refused, not found
any other 4xx                               refused             refused
5xx, 3xx, 1xx, a broken or cut reply        unknown             retry
no answer in time, after sending            unknown             retry
a 2xx that is not JSON or off the contract  unknown             retry

No error text holds a customer's value, a filled-in address or a secret.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlencode

from cxplane.connectors.failures import NotTheSystem
from cxplane.connectors.lines import Broken, HttpReply, Lines, Progress, TooBig, Unreachable
from cxplane.connectors.mapping import HttpMessage, HttpPlan, NotSendable, WrongReply, request_words
from cxplane.connectors.plans import Plans
from cxplane.domain.catalog import Action, HttpCall, System
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import ControlError, FailureKind, Mistake, SecretMissing, SystemFailure
from cxplane.domain.values import SAFE_INTEGER, Json, JsonObject
from cxplane.ports.expressions import Expressions
from cxplane.ports.systems import Reply, Vault
from cxplane.ports.telemetry import FOLLOWED, Telemetry

MAX_REPLY = 1_000_000  # bytes
_LATER = frozenset({408, 425, 429, 503})
_OUR_CREDENTIALS = frozenset({401, 403, 407})
_GONE = frozenset({404, 410})
_OURS = frozenset({"authorization", "host", "content-length", "content-type", "transfer-encoding", "connection"})


class HttpConnector:
    """One system, over HTTP. Keeps its connections; `aclose` when done."""

    def __init__(
        self,
        system: System,
        expressions: Expressions,
        vault: Vault,
        *,
        base_url: str | None = None,
        tls: ssl.SSLContext | None = None,
        max_reply: int = MAX_REPLY,
        max_connections: int = 100,
        telemetry: Telemetry | None = None,
    ) -> None:
        """`base_url` overrules the one of the control repo. ControlError if there is none, or no http(s) one."""
        self.system = system
        try:
            self._lines = Lines(base_url or system.base_url or "", tls=tls, most=max_connections)
        except ValueError:
            where = system.file or f"systems/{system.id}.yaml"
            hint = f"give http.base_url as http(s)://host:port, or set CXPLANE_SYSTEM_{system.id.upper()}_URL"
            raise ControlError([Mistake(where, 0, f"system {system.id} has no usable address", hint)]) from None
        self._vault, self._max_reply, self._telemetry = vault, max_reply, telemetry
        self._plans: Plans[HttpPlan] = Plans(lambda action: HttpPlan(action, _via(action), expressions))

    async def read(self, action: Action, input: JsonObject, *, timeout_s: float) -> Reply:
        """Raises SystemFailure (never `unknown`), ExpressionError, SecretMissing; ValueError for a write."""
        if action.writes:
            raise ValueError(f"{action.id} is a write: it needs an Allowed")
        plan = self._plans(action)
        return await self._exchange(plan, action, input, None, None, timeout_s)

    async def write(self, action: Action, allowed: Allowed, *, timeout_s: float) -> Reply:
        """Raises SystemFailure, and before anything is sent ExpressionError or SecretMissing."""
        key = key_of(action, allowed)
        plan = self._plans(action)
        words = request_words(allowed.request, key)
        return await self._exchange(plan, action, allowed.request.input, words, key, timeout_s)

    async def preview(self, action: Action, input: JsonObject) -> JsonObject:
        """What would be sent, without sending it and without secrets. Raises SystemFailure if it cannot be built."""
        plan = self._plans(action)
        words = {name: f"<{name} of the request>" for name in ("id", "key", "customer", "conversation")}
        message = self._message(plan, action, input, words if action.writes else None)
        shown: dict[str, Json] = {"system": self.system.id, "method": message.method, "path": message.path}
        if message.query:
            shown["query"] = [list(pair) for pair in message.query]
        if message.body is not None:
            shown["body"] = message.body
        if action.writes:
            shown["key_header"] = self.system.key_header
        return shown

    async def healthy(self, *, timeout_s: float = 2.0) -> bool | None:
        """Whether the system's health address answers 2xx; None if it has none."""
        if self.system.health is None:
            return None
        try:
            reply = await self._send(HttpMessage("GET", self.system.health), {}, timeout_s, Progress())
        except (Unreachable, Broken, TimeoutError, OSError, ValueError):
            return False
        return 200 <= reply.status < 300

    async def aclose(self) -> None:
        await self._lines.aclose()

    # one exchange

    async def _exchange(
        self,
        plan: HttpPlan,
        action: Action,
        input: JsonObject,
        words: dict[str, Json] | None,
        key: str | None,
        timeout_s: float,
    ) -> Reply:
        message = self._message(plan, action, input, words)
        with self._traced(plan, action):
            return await self._exchanged(plan, action, input, message, words, key, timeout_s)

    async def _exchanged(
        self,
        plan: HttpPlan,
        action: Action,
        input: JsonObject,
        message: HttpMessage,
        words: dict[str, Json] | None,
        key: str | None,
        timeout_s: float,
    ) -> Reply:
        ours = self._credentials() | ({self.system.key_header: key} if key is not None else {}) | self._followed()
        headers = ours
        if plan.headers:
            taken = _OURS | {self.system.key_header.lower()} | {name.lower() for name in ours}
            headers = {name: value for name, value in plan.headers.items() if name.lower() not in taken} | ours
        progress = Progress()
        started = time.perf_counter()
        try:
            reply = await self._send(message, headers, timeout_s, progress)
        except TimeoutError:
            raise self._broken(action, plan, f"no answer within {timeout_s:g} s", sent=progress.sent) from None
        except Unreachable:
            raise self._broken(action, plan, "it could not be reached", sent=False) from None
        except TooBig:
            raise self._broken(action, plan, f"the reply is larger than {self._max_reply} bytes", sent=True) from None
        except (Broken, OSError, ValueError):
            said = "the line broke before a whole answer came" if progress.sent else "the call could not be sent"
            raise self._broken(action, plan, said, sent=progress.sent) from None
        if self._telemetry is not None:
            self._telemetry.note({"http.response.status_code": reply.status})
        if not 200 <= reply.status < 300:
            raise self._said_no(action, plan, reply.status, reply.headers)
        try:
            response = _json(reply.body, reply.headers)
            output = plan.output(response, input, words)
        except WrongReply as problem:
            raise self._broken(action, plan, str(problem), sent=True) from None
        return Reply(output, (time.perf_counter() - started) * 1000)

    def _traced(self, plan: HttpPlan, action: Action) -> AbstractContextManager[None]:
        if self._telemetry is None:
            return nullcontext()
        about: dict[str, str | int] = {
            "http.request.method": plan.words.split(" ")[0],
            "server.address": self._lines.host,
            "server.port": self._lines.port,
            "cxplane.system": self.system.id,
            "cxplane.action": action.id,
        }
        return self._telemetry.span(plan.words, about, kind="client")

    def _followed(self) -> dict[str, str]:
        """So that the log of the system tells of the same request and trace as ours."""
        followed = FOLLOWED.get()
        sent = {"X-Request-Id": followed.request} if followed else {}
        trace = self._telemetry.traceparent() if self._telemetry else None
        trace = trace or (followed.traceparent if followed else None)
        return sent | {"traceparent": trace} if trace else sent

    def _message(self, plan: HttpPlan, action: Action, input: JsonObject, words: dict[str, Json] | None) -> HttpMessage:
        try:
            return plan.message(input, words)
        except NotSendable as problem:
            # Not `refused` for a read: an input that cannot be sent must not pass for "there is no such thing".
            kind = FailureKind.REFUSED if action.writes else FailureKind.RETRY
            raise NotTheSystem(self.system.id, f"nothing, it was not called: {problem}", kind=kind) from None

    async def _send(
        self, message: HttpMessage, headers: Mapping[str, str], timeout_s: float, progress: Progress
    ) -> HttpReply:
        target = message.path + (f"?{urlencode(message.query)}" if message.query else "")
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "cxplane", **headers}
        body: bytes | None = None
        if message.body is not None:
            body = _ENCODER.encode(message.body).encode()
            sent["Content-Type"] = "application/json"
        return await self._lines.send(
            message.method, target, sent, body, most=self._max_reply, timeout_s=timeout_s, progress=progress
        )

    def _credentials(self) -> dict[str, str]:
        auth = self.system.auth
        if not auth:
            return {}
        name = auth.get("bearer") or auth.get("basic") or auth.get("secret") or ""
        secret = self._vault.secret(name)
        if re.search(r"[\x00-\x1f\x7f]", secret) or not secret.isascii():
            problem = SecretMissing(name)
            problem.next = f"The secret {name} holds characters that no header can carry; set it anew."
            raise problem
        if "bearer" in auth:
            return {"Authorization": f"Bearer {secret}"}
        if "basic" in auth:
            return {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
        return {auth["header"]: secret}

    # what a failure means

    def _broken(self, action: Action, plan: HttpPlan, said: str, *, sent: bool) -> SystemFailure:
        kind = FailureKind.UNKNOWN if sent and action.writes else FailureKind.RETRY
        return SystemFailure(self.system.id, f"{plan.words}: {said}", kind=kind)

    def _said_no(self, action: Action, plan: HttpPlan, status: int, headers: Mapping[str, str]) -> SystemFailure:
        listed = status in _via(action).refused
        said = f"{plan.words}: {status} {_phrase(status)}"
        if listed or 400 <= status < 500:
            if status in _LATER and not listed:
                return self._later(said, headers)
            if status in _OUR_CREDENTIALS and not listed:
                said += "; the credentials of cxplane are not accepted"
                kind = FailureKind.REFUSED if action.writes else FailureKind.RETRY
                return NotTheSystem(self.system.id, said, kind=kind)
            not_found = status in _GONE or (listed and not action.writes)
            return SystemFailure(self.system.id, said, kind=FailureKind.REFUSED, not_found=not_found)
        if status == 503:
            return self._later(said, headers)
        if 300 <= status < 400:
            said += "; redirects are not followed"
        kind = FailureKind.UNKNOWN if action.writes else FailureKind.RETRY
        return SystemFailure(self.system.id, said, kind=kind)

    def _later(self, said: str, headers: Mapping[str, str]) -> SystemFailure:
        after = _retry_after(headers.get("retry-after"))
        failure = SystemFailure if said.endswith("503 Service Unavailable") else NotTheSystem
        return failure(self.system.id, said, kind=FailureKind.RETRY, retry_after_s=after)


def key_of(action: Action, allowed: Allowed) -> str:
    """The key that a write carries. Only an `Allowed` for this very action will do."""
    if not isinstance(allowed, Allowed):
        raise TypeError("only an Allowed is carried out")
    if not action.writes or allowed.request.action != action.id:
        raise ValueError(f"this Allowed is for {allowed.request.action}, not a write of {action.id}")
    if not allowed.key:
        raise ValueError(f"a write needs a key, and the Allowed for {action.id} has none")
    return allowed.key


def _via(action: Action) -> HttpCall:
    if not isinstance(action.via, HttpCall):
        raise ValueError(f"{action.id} is not reached over HTTP")
    return action.via


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(a status of its own)"


def _json(raw: bytes, headers: Mapping[str, str]) -> Json:
    """The reply as JSON; an empty one is `{}`. Raises WrongReply."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongReply("the reply is compressed, which was not asked for")
    if not raw.strip():
        return {}
    try:
        return _DECODER.decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    except (ValueError, RecursionError):
        raise WrongReply("the reply is not JSON that we can use") from None


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) > SAFE_INTEGER:
        raise ValueError("beyond 2^53")
    return number


def _no_constant(text: str) -> Json:
    raise ValueError("no JSON number")


_DECODER = json.JSONDecoder(parse_int=_whole, parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait, from a number or an HTTP date; between 0 and an hour."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), 3600.0) if seconds == seconds else None
