"""The record, the releases and the budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from cxplane.domain.errors import Malformed
from cxplane.domain.masking import masked
from cxplane.domain.record import ALL, Entry, Wanted
from cxplane.domain.values import SAFE_INTEGER
from cxplane.edges.http.bodies import BudgetPage, EntryPage, ReleasePage
from cxplane.edges.http.route import LIMIT, Answer, Call, Query, Route
from cxplane.edges.http.streaming import BEAT_S, events

LINES, LINES_MOST, LINES_BYTES = 1000, 10_000, 8 * 1024 * 1024
AFTER = Query("after", "Only entries past this position.", type="integer", least=0, most=SAFE_INTEGER)


async def list_entries(call: Call) -> Answer:
    limit = call.limit
    entries = await call.plane.entries(
        call.caller,
        after=call.whole("after", default=0, least=0, most=SAFE_INTEGER),
        kind=call.query.get("kind"),
        stream=call.query.get("stream"),
        limit=limit,
    )
    more = str(entries[-1].position) if len(entries) == limit else None
    return Answer(EntryPage([_masked(entry, call.query.get("mask")) for entry in entries], more))


def _masked(entry: Entry, how: str | None) -> Entry:
    if how is None or entry.private is None:
        return entry
    return replace(entry, private=None if how == "all" else masked(entry.private))


def _wanted(call: Call) -> Wanted:
    kinds = call.query.get("kind")
    return Wanted(tuple(sorted(set(kinds.split(","))))) if kinds else ALL


async def entry_lines(call: Call) -> Answer:
    lines, more = await call.plane.reading.lines(
        call.caller,
        after=call.whole("after", default=0, least=0, most=SAFE_INTEGER),
        wanted=_wanted(call),
        limit=call.whole("limit", default=LINES, least=1, most=LINES_MOST),
        most_bytes=LINES_BYTES,
    )
    headers = {}
    if more:
        query = {**call.query, "after": str(lines[-1].position)}
        headers["Link"] = f'</v1/entries/lines?{urlencode(query)}>; rel="next"'
    return Answer(
        raw=b"".join([part for line in lines for part in (line.text, b"\n")]),
        media_type="application/x-ndjson",
        headers=headers,
    )


async def stream_entries(call: Call) -> Answer:
    after = call.whole("after", default=0, least=0, most=SAFE_INTEGER)
    if (last := call.headers.get("last-event-id")) is not None:
        if not (last.isascii() and last.isdigit() and int(last[:20]) <= SAFE_INTEGER):
            raise Malformed(
                "the Last-Event-ID is no position", where="Last-Event-ID", next="Send the id of the last event."
            )
        after = int(last)
    await call.plane.reading.must_be_known(call.caller, after)
    parts = call.plane.reading.listen(call.caller, after=after, wanted=_wanted(call), beat_s=BEAT_S)

    async def still() -> None:
        call.plane.reading.may(await call.again())

    return Answer(stream=events(parts, call.stopping, still), media_type="text/event-stream")


async def list_releases(call: Call) -> Answer:
    return Answer(ReleasePage(list(await call.plane.releases(call.caller)), None))


async def list_budgets(call: Call) -> Answer:
    return Answer(BudgetPage([dict(b) for b in await call.plane.budgets(call.caller)], None))


async def questions(call: Call) -> Answer:
    return Answer(await call.plane.questions(call.caller))


ROUTES = (
    Route(
        "GET",
        "/v1/entries",
        "list_entries",
        "record",
        "The record, entry by entry",
        list_entries,
        EntryPage,
        text=(
            "In order of position; what was read once never gets an earlier neighbour, so an export resumes after the last "
            "position it has. 409 if that was lost when the store was restored. Needs the permission `record`."
        ),
        query=(
            AFTER,
            Query("kind", "Only this kind: request, decision, intent, outcome …"),
            Query("stream", "Only about this request, customer, conversation or release."),
            Query(
                "mask",
                "Personal data left out (`all`), or what looks like an address, number or account masked (`known`).",
                values=("known", "all"),
            ),
            LIMIT,
        ),
        errors=("conflict", "forbidden"),
    ),
    Route(
        "GET",
        "/v1/entries/lines",
        "entry_lines",
        "record",
        "The record as lines: one CloudEvent in JSON each",
        entry_lines,
        str,
        text=(
            "The same bytes as `cxplane export` writes and the seal covers; personal data is sealed. In order of position; "
            '`id` is the position. `Link` with `rel="next"` says where to go on, if there is more. Needs the permission `record`.'
        ),
        query=(
            AFTER,
            Query("kind", "Only these kinds, with commas between them."),
            Query(
                "limit",
                f"Lines, 1 to {LINES_MOST}; {LINES} by default. Fewer come where they are large.",
                type="integer",
                least=1,
                most=LINES_MOST,
            ),
        ),
        gives="application/x-ndjson",
        errors=("conflict", "forbidden"),
    ),
    Route(
        "GET",
        "/v1/entries/stream",
        "stream_entries",
        "record",
        "The record as server-sent events, as it grows",
        stream_entries,
        str,
        text=(
            "Each event is a line of the record (see `/v1/entries/lines`), its id the position: a client that connects again with "
            "`Last-Event-ID` misses nothing and gets nothing twice. A comment comes every 15 s while nothing happens. The event "
            "`end` says why the stream ends. Read it as fast as it comes: who takes nothing for 30 s is disconnected. "
            "Needs the permission `record`."
        ),
        query=(
            replace(AFTER, text="Only entries past this position; `Last-Event-ID` wins."),
            Query("kind", "Only these kinds, with commas between them."),
        ),
        gives="text/event-stream",
        errors=("conflict", "forbidden"),
        streams=True,
    ),
    Route(
        "GET",
        "/v1/releases",
        "list_releases",
        "record",
        "Releases of the control repo, and which one decides now",
        list_releases,
        ReleasePage,
    ),
    Route(
        "GET",
        "/v1/budgets",
        "list_budgets",
        "record",
        "Budgets and what is used of them",
        list_budgets,
        BudgetPage,
        text="Needs the permission `record`.",
        errors=("forbidden",),
    ),
    Route(
        "GET",
        "/v1/questions",
        "questions",
        "record",
        "Four questions that every operator is asked, answered from live data",
        questions,
        dict[str, Any],
        text=(
            "Which actions exist and who governs each; where context lives and how to export it; what survives a change of "
            "vendor or model; what logic hands a case to a person."
        ),
    ),
)
