"""From an action's input to one HTTP call, and from the reply to the action's output: no I/O here.

What is built here comes from callers, so nothing of it may leave the place it was meant for: a value in a path stays
one segment, and no error text holds a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

from cxplane.domain.catalog import Action, HttpCall
from cxplane.domain.errors import CxplaneError, ExpressionError
from cxplane.domain.made import Made
from cxplane.domain.quick import quick
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json, JsonObject
from cxplane.ports.expressions import Expression, Expressions

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.]*)\}")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BODILESS = frozenset({"GET", "HEAD"})


class NotSendable(Exception):
    """The call cannot be built from this input. The text names the place, never the value."""


class WrongReply(Exception):
    """The reply is not what the contract says. The text names the place in the contract, never the value."""


class HttpMessage(Made, frozen=True):
    """What goes over the line, without address, credentials and key."""

    hidden = frozenset({"query", "body"})

    method: str
    path: str  # percent-encoded
    query: tuple[tuple[str, str], ...] = ()
    body: Json = None  # None: no body


def request_words(request: ActionRequest, key: str | None) -> dict[str, Json]:
    """What expressions see as `request`."""
    return {"id": request.id, "key": key, "customer": request.customer, "conversation": request.conversation}


class OutputCheck:
    """The `output` schema of an action, ready to check replies."""

    def __init__(self, schema: JsonObject) -> None:
        self._validator = Draft202012Validator(dict(schema), registry=Registry())
        self._quick = quick(schema)

    def __call__(self, output: Json) -> JsonObject:
        """The output itself. Raises WrongReply if it does not fit."""
        if not isinstance(output, dict):
            raise WrongReply("the reply is not a JSON object; map it with `output`")
        try:
            surely = self._quick is not None and self._quick(output)
            problem = None if surely else next(iter(self._validator.iter_errors(output)), None)
        except Exception:  # a schema that points nowhere: nothing can be said of the reply
            raise WrongReply("the output schema of the action cannot be used") from None
        if problem is not None:
            raise WrongReply(f"the reply does not fit the contract ({_place(problem)})")
        return output


def _place(problem: ValidationError) -> str:
    """Where in the schema, in words of the schema only."""
    place = "/".join(str(part) for part in problem.absolute_schema_path)
    if problem.validator == "required" and isinstance(problem.instance, Mapping):
        wanted: Sequence[Any] = problem.validator_value if isinstance(problem.validator_value, list) else ()
        missing = [str(name) for name in wanted if name not in problem.instance]
        return f"output/{place}: {', '.join(missing)} missing"
    return f"output/{place}"


class HttpPlan:
    """One action's HTTP call, compiled. Raises ExpressionError when made from a broken expression."""

    def __init__(self, action: Action, via: HttpCall, expressions: Expressions) -> None:
        self._reads = not action.writes
        self.method = via.method.upper()
        self.template = via.path
        self._places = tuple(_PLACEHOLDER.findall(via.path))
        self._query = _compiled(via.query, expressions)
        self._body = _compiled(via.body, expressions)
        self._output = _compiled(via.output, expressions)
        self._check = OutputCheck(action.output)
        self.headers = {name: _header(name, value) for name, value in via.headers.items()}

    @property
    def words(self) -> str:
        """The call in words that hold no value: `POST /credits/{account_id}`."""
        return f"{self.method} {self.template}"

    def message(self, input: JsonObject, request: Mapping[str, Json] | None = None) -> HttpMessage:
        """Raises NotSendable, or ExpressionError from a mapping."""
        variables: dict[str, Json] = {"input": dict(input)}
        if request is not None:
            variables["request"] = dict(request)
        rest = {name: value for name, value in input.items() if name not in {p.split(".")[0] for p in self._places}}
        in_query = self._query is None and self._body is None and self._reads and self.method in _BODILESS
        query = rest if in_query else _values(self._query or {}, variables)
        body: Json = None
        if self._body is not None:
            body = _values(self._body, variables)
        elif self.method not in _BODILESS and not (self._reads and self._query is not None):
            body = rest
        if self.method in _BODILESS or (self.method == "DELETE" and not body):
            body = None
        return HttpMessage(self.method, self._path(input), tuple(_pairs(query)), body)

    def output(self, response: Json, input: JsonObject, request: Mapping[str, Json] | None = None) -> JsonObject:
        """The action's output from the reply. Raises WrongReply."""
        if self._output is None:
            return self._check(response)
        variables: dict[str, Json] = {"input": dict(input), "response": response}
        if request is not None:
            variables["request"] = dict(request)
        try:
            return self._check(_values(self._output, variables))
        except CxplaneError:
            raise WrongReply("the output could not be computed from the reply") from None

    def _path(self, input: JsonObject) -> str:
        path = _PLACEHOLDER.sub(lambda found: _segment(found[1], input), self.template)
        if any(part in ("", ".", "..") for part in path.split("/")[1:-1]) or path.endswith(("/.", "/..")):
            raise NotSendable("the input would change the path of the call")
        return path


def _compiled(texts: Mapping[str, str] | None, expressions: Expressions) -> dict[str, Expression] | None:
    return None if texts is None else {name: expressions.compile(text) for name, text in texts.items()}


def _values(compiled: Mapping[str, Expression], variables: Mapping[str, Json]) -> dict[str, Json]:
    return {name: expression.value(variables) for name, expression in compiled.items()}


def _header(name: str, value: str) -> str:
    if _CONTROL.search(name) or _CONTROL.search(value):
        raise ExpressionError(name, "a header holds a control character")
    return value


def _segment(name: str, input: JsonObject) -> str:
    """One value as part of one path segment. NotSendable for anything that could mean another path."""
    value: Json = input
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise NotSendable(f"input.{name} is needed in the path, as a text or a whole number")
    text = str(value)
    if not text or text in (".", "..") or "/" in text or "\\" in text or _CONTROL.search(text) or _ENCODED.search(text):
        raise NotSendable(f"input.{name} cannot stand in a path (empty, a dot segment, a slash or an escape)")
    return quote(text, safe="")


def _pairs(query: Mapping[str, Json]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        for one in value if isinstance(value, list) else [value]:
            if one is None:
                continue
            if isinstance(one, bool):
                pairs.append((name, "true" if one else "false"))
            elif isinstance(one, (str, int, float)):
                pairs.append((name, str(one)))
            else:
                raise NotSendable(f"{name} cannot stand in a query: it is neither text, number nor truth value")
    return pairs
