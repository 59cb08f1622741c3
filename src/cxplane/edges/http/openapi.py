"""/openapi.json (OpenAPI 3.1), made from the table of routes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec

from cxplane.edges.http.bodies import ProblemBody
from cxplane.edges.http.problems import MEDIA_TYPE, TYPES
from cxplane.edges.http.route import Route

TAGS = {
    "actions": "What can be done to business systems, and who governs it.",
    "requests": "Ask for an action; see where a request stands; take it back.",
    "journeys": "Work across steps, people and time, as it is defined.",
    "runs": "Single runs of journeys: start, look, steer.",
    "tasks": "What runs ask of people.",
    "signals": "What happened elsewhere: it starts runs, and wakes those that listen.",
    "decisions": "What was decided, and why.",
    "approvals": "Held requests, and the people who decide them.",
    "customers": "Whom it is about: how sure we are of them, what they allow.",
    "conversations": "What was learnt in a talk, as evidence for policy.",
    "record": "The record, the releases, the budgets.",
    "service": "For those who run the plane. No credentials are asked for.",
}
TEXT = """\
cxplane judges every request for an action under the operator's own policy, carries out what is allowed exactly once,
and keeps the record.

- **Credentials:** `Authorization: Bearer <API key or JWT>`. Keys: `cxplane keys create CALLER`.
- **Asking again:** send an `Idempotency-Key` with `POST /v1/requests` and `POST /v1/runs`. After any error or lost
  answer, send the same again.
- **Lists:** `limit` and `cursor`; `next` in the answer is the cursor of the next page, null at the end.
- **Errors:** problem+json (RFC 9457) with `next`, one sentence on what to do now.
- **JSON:** at most 256 kB, 32 levels, integers up to 2^53 - 1, every key once, no NaN, no unknown fields. Money in minor units.
"""
FIELDS: dict[str, dict[str, str]] = {
    "RequestView": {
        "decision": "allow, hold or refuse; null while it is being judged.",
        "status": "running, done, failed (certainly not done), unknown (being found out), held, refused, previewed, "
        "expired, rejected, replaced (by an approver's edit) or stuck (a person must find out).",
        "next": "What to do now, in plain words.",
        "reasons": "Each with code, text and effect; a policy's with its id, file and line.",
        "obligations": "What the determining policies oblige to.",
        "determined_by": "rule, policy, model or person.",
        "release": "Hash of the release that decided.",
        "repeated": "This answer was given before: nothing was done again.",
        "output": "What the system confirmed, as the action's contract describes.",
        "error": "Why it failed, in plain words.",
        "approval": "Id of the approval it waits for.",
        "replaced_by": "The request that took its place when an approver edited it.",
        "undone_by": "The request that took it back.",
        "preview": "With dry_run: what would be sent.",
    },
    "ApprovalView": {
        "evidence": "Facts by name, each with value, source and time.",
        "effect": "What the action does, and what undoes it.",
        "may_decide": "Whether you may decide it.",
        "why_not": "Why you may not.",
    },
    "RunView": {
        "next": "What to do now, in plain words.",
        "input": "What it was started with; only for who may see the record.",
        "state": "`vars` and `steps` as they are; only for who may see the record.",
        "tokens": "Where it is: each with step, what it waits for, since when and until when.",
        "tasks": "Open ones.",
        "did": "Calls that were done, in order: step, request, action, and whether it was taken back.",
        "left": "Steps that did not come yet.",
        "goals": "By name: achieved, evidence, time.",
        "error": "Why it is stuck or failed: name, text, step.",
        "frees": "What gets it on: each with a command to copy and why.",
        "repeated": "It was started before: nothing was done again.",
    },
    "RunRow": {
        "status": "ready, waiting, stuck (a person frees it), suspended, cancelling, done, failed or cancelled.",
        "key": "The values of the journey's `key`; one live run for each.",
        "parent": "The run that waits for this one.",
        "at": "The steps where it is.",
        "waits": "What each of them waits for.",
        "error": "Plain words, without personal data.",
        "next_due": "The next time that something becomes due.",
    },
    "TaskRow": {
        "what": "approve, choose, fill, do (a call by a person), propose (release a proposed call), hand_over or stuck.",
        "status": "open, answered, defaulted or closed (nobody needs to answer any more).",
        "person": "Only this person, until it is escalated.",
        "action": "do, propose: the action that is asked for.",
        "form": "fill: JSON Schema of the values.",
        "show": "What is needed to answer.",
        "due": "When it is too late.",
    },
    "Entry": {
        "position": "Place in the record; grows, never reused.",
        "private": "Personal data, kept apart from `body`.",
        "cause": "What led to it: a request, an approval, a run, or the `X-Request-Id` of the call.",
    },
}
COMMON = ("credentials", "overloaded", "address", "malformed", "unavailable", "internal")
WITH_BODY = ("not-json", "slow", "too-large", "media-type", "malformed")


def document(routes: Sequence[Route]) -> dict[str, Any]:
    named = [t for r in routes for t in (r.body, r.answer, *r.media.values()) if t is not None]
    types = [one for t in named for one in (get_args(t) if isinstance(t, UnionType) else (t,))]
    _, components = msgspec.json.schema_components([*types, ProblemBody], ref_template="#/components/schemas/{name}")
    for name, fields in FIELDS.items():
        for field, text in fields.items():
            components[name]["properties"][field]["description"] = text
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cxplane",
            "version": _version(),
            "summary": "The control plane for customer service: any agent asks, policy decides, it is done once.",
            "description": TEXT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {_camel(type): _problem(type) for type in TYPES},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`cxp_…`), or a JWT of the issuer that plane.yaml names.",
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": route.name, "tags": [route.tag], "summary": route.summary}
    if route.text:
        told["description"] = route.text
    if parameters := _parameters(route):
        told["parameters"] = parameters
    if route.body is not None:
        content: dict[str, Any] = {"schema": _schema(route.body)}
        if route.example is not None:
            content["example"] = route.example
        bodies = {"application/json": content, **{media: {"schema": _schema(t)} for media, t in route.media.items()}}
        told["requestBody"] = {"required": not route.body_optional, "content": bodies}
    if route.open:
        told["security"] = []
    told["responses"] = _responses(route)
    return told


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        }
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    for query in route.query:
        schema: dict[str, Any] = {"type": query.type}
        if query.values and query.type == "string":
            schema["enum"] = list(query.values)
        for name, bound in (("minimum", query.least), ("maximum", query.most)):
            if bound is not None:
                schema[name] = bound
        found.append({"name": query.name, "in": "query", "description": query.text, "schema": schema})
    if route.keyed:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Yours to choose, one for each request. With it, asking again is always safe.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            }
        )
    return found


def _responses(route: Route) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for status, text in route.statuses.items():
        if route.answer is str:
            media = "text/plain" if route.gives == "application/json" else route.gives
            content: dict[str, Any] = {media: {"schema": {"type": "string"}}}
        else:
            content = {"application/json": {"schema": _schema(route.answer)}}
            if route.answer_example is not None and (status != 200 or len(route.statuses) == 1):
                content["application/json"]["example"] = route.answer_example
        content |= {media: {"schema": {"type": "string"}} for media in route.also}
        told[str(status)] = {"description": text, "content": content}
    types = [*route.errors, *(() if route.open else COMMON), *(WITH_BODY if route.body is not None else ())]
    for type in sorted(set(types), key=list(TYPES).index):
        told[str(TYPES[type][0])] = {"$ref": f"#/components/responses/{_camel(type)}"}
    return told


def _problem(type: str) -> dict[str, Any]:
    status, title = TYPES[type]
    example = {
        "type": f"urn:cxplane:problem:{type}",
        "title": title,
        "status": status,
        "detail": "…",
        "next": "…",
        "request_id": "http_0194f3…",
    }
    told: dict[str, Any] = {
        "description": title + ".",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "example": example}},
    }
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    if status == 401:
        told["headers"] = {"WWW-Authenticate": {"description": "Bearer.", "schema": {"type": "string"}}}
    return told


def _schema(type: Any) -> dict[str, Any]:
    name = getattr(type, "__name__", "")
    if hasattr(type, "__struct_fields__") or hasattr(type, "__dataclass_fields__"):
        return {"$ref": f"#/components/schemas/{name}"}
    if get_origin(type) is list:
        return {"type": "array", "items": _schema(get_args(type)[0])}
    if isinstance(type, UnionType):
        return {"anyOf": [_schema(one) for one in get_args(type)]}
    return {"type": "object"}


def _camel(type: str) -> str:
    return "".join(part.capitalize() for part in type.split("-")) + "Problem"


def _version() -> str:
    try:
        return version("cxplane")
    except PackageNotFoundError:
        return "0"
