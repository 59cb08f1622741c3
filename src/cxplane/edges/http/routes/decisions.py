"""Decisions: what was decided, why, and whether it comes out the same when it is made once more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cxplane.domain.errors import Malformed
from cxplane.edges.http.bodies import Explanation, Replay, ReplayPage, RequestPage
from cxplane.edges.http.negotiate import preferred
from cxplane.edges.http.page import HEADERS, page
from cxplane.edges.http.route import CURSOR, LIMIT, Answer, Call, Query, Route
from cxplane.edges.http.routes.requests import ACTION, CALLER, CUSTOMER
from cxplane.record.sections import Section

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"


async def list_decisions(call: Call) -> Answer:
    items, more = await call.plane.requests(call.caller, **_filters(call))
    return Answer(RequestPage([row for row in items if row.verdict is not None], more))


def _filters(call: Call) -> dict[str, Any]:
    return {
        "verdict": call.query.get("verdict"),
        "action": call.query.get("action"),
        "customer": call.query.get("customer"),
        "caller_name": call.query.get("caller"),
        "since": _moment(call, "since"),
        "until": _moment(call, "until"),
        "cursor": call.cursor,
        "limit": call.limit,
    }


def _moment(call: Call, name: str) -> datetime | None:
    if (text := call.query.get(name)) is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Malformed(f"{name} is no time", where=f"?{name}", next="Write it like 2026-01-05T10:00:00Z.")
    return at


async def show_decision(call: Call) -> Answer:
    return Answer((await call.plane.explain(call.caller, call.path["id"])).told)


async def explain(call: Call) -> Answer:
    told = await call.plane.explain(call.caller, call.path["id"])
    links = (
        [(f"../{told.id}/replay", "Make this decision once more, from the record")] if told.kind == "request" else []
    )
    value = Explanation(told.id, told.text, dict(told.told))
    return _told(call, f"Explanation of {told.id}", told.text, told.sections, links, value)


async def replay(call: Call) -> Answer:
    told = await call.plane.replay(call.caller, call.path["id"], release=call.query.get("release"))
    id = told.told["request"]
    links = [(f"../{id}/explain", "Why it was decided so")]
    value = Replay(id, told.told["result"], told.text, dict(told.told))
    return _told(call, f"Replay of {id}", told.text, told.sections, links, value)


async def evidence(call: Call) -> Answer:
    shown = call.query.get("private") == "true"
    return Answer(await call.plane.proving.evidence(call.caller, call.path["id"], shown=shown))


async def list_replays(call: Call) -> Answer:
    items, more = await call.plane.replay_many(call.caller, release=call.query.get("release"), **_filters(call))
    return Answer(ReplayPage([dict(item) for item in items], more))


def _told(
    call: Call, title: str, text: str, sections: Sequence[Section], links: Sequence[tuple[str, str]], value: Any
) -> Answer:
    """As JSON, as words or as a page, as the caller would rather have it."""
    match preferred(call.accept, (JSON, TEXT, HTML)):
        case "text/plain":
            return Answer(raw=text.encode(), media_type=TEXT, headers={"vary": "Accept"})
        case "text/html":
            return Answer(raw=page(title, sections, links), media_type=HTML, headers=HEADERS)
        case _:
            return Answer(value, headers={"vary": "Accept"})


VERDICT = Query("verdict", "Only these.", values=("allow", "hold", "refuse"))
SINCE = Query("since", "Only asked at this time or later, like 2026-01-05T10:00:00Z.")
UNTIL = Query("until", "Only asked before this time.")
RELEASE = Query(
    "release",
    "Under this release instead of its own: the beginning of its hash, or `live`. Needs the permission `record`.",
)
FILTERS = (VERDICT, ACTION, CUSTOMER, CALLER, SINCE, UNTIL, CURSOR, LIMIT)

ROUTES = (
    Route(
        "GET",
        "/v1/decisions",
        "list_decisions",
        "decisions",
        "Decisions, newest first",
        list_decisions,
        RequestPage,
        query=FILTERS,
        errors=("forbidden",),
    ),
    Route(
        "GET",
        "/v1/decisions/{id}",
        "show_decision",
        "decisions",
        "Everything that led to a decision and followed from it",
        show_decision,
        dict[str, Any],
        text="`id` as for the explanation. Facts with their sources, policies with file, line and text, candidates, release, outcome.",
        errors=("forbidden", "not-found"),
    ),
    Route(
        "GET",
        "/v1/decisions/{id}/explain",
        "explain",
        "decisions",
        "A decision in plain words",
        explain,
        Explanation,
        text=(
            "`id` is that of a request, or of its approval; that of a run, or of one of its tasks, tells the run. With "
            "`Accept: text/plain` the words alone, with `Accept: text/html` a page to read and print."
        ),
        also=(TEXT, HTML),
        errors=("forbidden", "not-found"),
    ),
    Route(
        "GET",
        "/v1/decisions/{id}/replay",
        "replay",
        "decisions",
        "A decision made once more, from the record alone",
        replay,
        Replay,
        text=(
            "`id` is that of a request, or of its approval. Nothing is read from a system and nothing is done. Under its own "
            "release the result must be `same`. With `release` it is hypothetical: `different` says what would change, "
            "`unknown` names what that release would look at and the record does not hold. As words or as a page, like the "
            "explanation."
        ),
        also=(TEXT, HTML),
        query=(RELEASE,),
        errors=("forbidden", "not-found"),
    ),
    Route(
        "GET",
        "/v1/decisions/{id}/evidence",
        "evidence",
        "decisions",
        "One case as a document that a third party can verify",
        evidence,
        dict[str, Any],
        text=(
            "`id` is that of a request or run. Every entry about it, the proof that each is in the signed record, and the story in "
            "words: what `cxplane evidence` writes, for `verify_evidence.py`, which needs Python and a public key and nothing of "
            "cxplane. Personal data stays sealed; with `private=true` it is disclosed, and the record says to whom "
            "(`data.opened`). 409 while an entry is under no checkpoint yet. Needs the permission `record`."
        ),
        query=(Query("private", "Disclose personal data.", type="boolean", values=("true", "false")),),
        errors=("forbidden", "not-found", "conflict"),
    ),
    Route(
        "GET",
        "/v1/replays",
        "list_replays",
        "decisions",
        "Many decisions made once more, newest first",
        list_replays,
        ReplayPage,
        query=(RELEASE, *FILTERS),
        errors=("forbidden", "not-found"),
    ),
)
