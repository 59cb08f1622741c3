"""The record, the releases and the budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cxplane.domain.masking import masked
from cxplane.domain.record import Entry
from cxplane.domain.values import SAFE_INTEGER
from cxplane.edges.http.bodies import BudgetPage, EntryPage, ReleasePage
from cxplane.edges.http.route import LIMIT, Answer, Call, Query, Route


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
            "position it has. Needs the permission `record`."
        ),
        query=(
            Query("after", "Only entries past this position.", type="integer"),
            Query("kind", "Only this kind: request, decision, intent, outcome …"),
            Query("stream", "Only about this request, customer, conversation or release."),
            Query(
                "mask",
                "Personal data left out (`all`), or what looks like an address, number or account masked (`known`).",
                values=("known", "all"),
            ),
            LIMIT,
        ),
        errors=("forbidden",),
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
