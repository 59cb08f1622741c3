"""Journeys as they are defined, and runs that go from one release to another."""

from __future__ import annotations

from typing import Any

import msgspec

from cxplane.edges.http.route import Answer, Call, Route
from cxplane.edges.http.routes.runs import SVG, svg
from cxplane.edges.http.run_bodies import JourneyPage, MigrateBody, Migration


async def list_journeys(call: Call) -> Answer:
    return Answer(JourneyPage([dict(j) for j in await call.plane.all_journeys(call.caller)], None))


async def show(call: Call) -> Answer:
    return Answer(await call.plane.journey(call.caller, call.path["name"]))


async def picture(call: Call) -> Answer:
    return svg(await call.plane.journey_svg(call.caller, call.path["name"]))


async def serverless_workflow(call: Call) -> Answer:
    return Answer(await call.plane.journey_serverless(call.caller, call.path["name"]))


async def migrate(call: Call) -> Answer:
    body: MigrateBody = call.body
    told = await call.plane.migrate(
        call.caller, call.path["name"], from_=body.from_, to=body.to, positions=body.positions, apply=body.apply
    )
    return Answer(msgspec.convert(told, Migration))


ROUTES = (
    Route(
        "GET",
        "/v1/journeys",
        "list_journeys",
        "journeys",
        "The journeys of the live release",
        list_journeys,
        JourneyPage,
        text="Each with its owner, what starts it, and how many runs stand how. All of them are one page.",
    ),
    Route(
        "GET",
        "/v1/journeys/{name}",
        "show_journey",
        "journeys",
        "One journey: steps, charter, runs",
        show,
        dict[str, Any],
        errors=("not-found",),
    ),
    Route(
        "GET",
        "/v1/journeys/{name}/picture",
        "journey_picture",
        "journeys",
        "A journey as a picture",
        picture,
        str,
        text="SVG; it neither runs nor fetches anything.",
        errors=("not-found",),
        gives=SVG,
    ),
    Route(
        "GET",
        "/v1/journeys/{name}/serverless-workflow",
        "journey_serverless_workflow",
        "journeys",
        "A journey in the words of CNCF Serverless Workflow 1.0",
        serverless_workflow,
        dict[str, Any],
        errors=("not-found",),
    ),
    Route(
        "POST",
        "/v1/journeys/{name}/migrate",
        "migrate_runs",
        "journeys",
        "Take runs from one release to another",
        migrate,
        Migration,
        text=(
            "Without `apply`, only says what would happen to each run: it stands at a step that both releases have, at one that "
            "`positions` maps, or it cannot go and says why. With `apply`, those that can go do; a run that goes on meanwhile is "
            "looked at again where it is then. Needs the permission `journeys`."
        ),
        body=MigrateBody,
        errors=("forbidden", "not-found"),
        example={"from": "9f2b1c04", "to": "live", "positions": {"credit": "credit_account"}, "apply": False},
        scope="journeys",
    ),
)
