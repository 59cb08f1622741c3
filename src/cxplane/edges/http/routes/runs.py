"""Runs of journeys: start, look, steer."""

from __future__ import annotations

from cxplane.domain.run import RunStatus
from cxplane.domain.values import derived_id
from cxplane.domain.views import RunView
from cxplane.edges.http.route import CURSOR, LIMIT, Answer, Call, Query, Route
from cxplane.edges.http.run_bodies import (
    CancelBody,
    CommentBody,
    MoveBody,
    RunBody,
    RunPage,
    StepBody,
    SwitchBody,
    TimelinePage,
)
from cxplane.ports.telemetry import trace_of

SVG = "image/svg+xml"
PICTURE_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
"""A picture brings its own style, and may neither run nor fetch anything."""


async def start(call: Call) -> Answer:
    body: RunBody = call.body
    id = None
    if call.idempotency_key is not None:
        id = derived_id("run", call.plane.tenant, call.caller.name, call.idempotency_key)
    view = await call.plane.start_run(
        call.caller, body.journey, body.input, customer=body.customer, conversation=body.conversation, id=id
    )
    return _begun(call, view)


def _begun(call: Call, view: RunView) -> Answer:
    call.plane.telemetry.link(trace_of(view.run.id))
    return Answer(view, 200 if view.repeated else 201, {"Location": f"/v1/runs/{view.run.id}"})


async def list_runs(call: Call) -> Answer:
    items, more = await call.plane.runs(
        call.caller,
        status=call.query.get("status"),
        journey=call.query.get("journey"),
        customer=call.query.get("customer"),
        stuck=call.query.get("stuck") == "true",
        cursor=call.cursor,
        limit=call.limit,
    )
    return Answer(RunPage(list(items), more))


async def show(call: Call) -> Answer:
    return Answer(await call.plane.run(call.caller, call.path["id"]))


async def timeline(call: Call) -> Answer:
    return Answer(TimelinePage(list(await call.plane.timeline(call.caller, call.path["id"])), None))


async def picture(call: Call) -> Answer:
    return svg(await call.plane.run_svg(call.caller, call.path["id"]))


def svg(text: str) -> Answer:
    return Answer(raw=text.encode(), media_type=SVG, headers=PICTURE_HEADERS)


async def _told(call: Call, what: str, *, step: str | None = None, compensate: bool = True) -> Answer:
    view = await call.plane.steer(
        call.caller, call.path["id"], what, step=step, compensate=compensate, comment=call.body.comment
    )
    call.plane.telemetry.link(trace_of(call.path["id"]))
    return Answer(view, 202)


async def suspend(call: Call) -> Answer:
    return await _told(call, "suspend")


async def resume(call: Call) -> Answer:
    return await _told(call, "resume")


async def cancel(call: Call) -> Answer:
    return await _told(call, "cancel", compensate=call.body.compensate)


async def retry(call: Call) -> Answer:
    return await _told(call, "retry", step=call.body.step)


async def skip(call: Call) -> Answer:
    return await _told(call, "skip", step=call.body.step)


async def move(call: Call) -> Answer:
    return await _told(call, "move", step=call.body.step)


async def switch(call: Call) -> Answer:
    body: SwitchBody = call.body
    view = await call.plane.switch(call.caller, call.path["id"], body.journey, input=body.input, comment=body.comment)
    return _begun(call, view)


EXAMPLE = {
    "journey": "billing_dispute",
    "customer": "c-1001",
    "input": {"account_id": "a-1001", "dispute_id": "d-7", "amount": 1500},
}
STUCK_EXAMPLE = {
    "run": {
        "id": "run_0f3c5a1d2b7e4a90c1d2e3f405162738",
        "journey": "billing_dispute",
        "release": "9f2b…",
        "status": "stuck",
        "started_at": "2026-01-05T10:00:00Z",
        "updated_at": "2026-01-05T10:00:02Z",
        "started_by": "system:crm-sync",
        "customer": "c-1001",
        "key": '["d-7"]',
        "at": ["credit"],
        "waits": ["person"],
        "error": "refused: the account is closed",
    },
    "next": "A person frees it: see what frees it.",
    "tokens": [{"step": "credit", "waits_for": "person", "error": "refused"}],
    "did": [{"step": "note_opened", "request": "req_4be1…", "action": "cases.add_note", "undone": False}],
    "left": ["credit", "tell_customer"],
    "error": {"name": "refused", "text": "the account is closed", "step": "credit"},
    "frees": [
        {
            "do": "retry",
            "how": "cxplane runs retry run_0f3c5a1d2b7e4a90c1d2e3f405162738",
            "why": "credit is tried again",
        }
    ],
}
BEGUN = {201: "Started. See `next`.", 200: "It was started before with this key: nothing was done again."}
TOLD = {202: "It is told, and does it next; look again in a moment. What comes of it is in the timeline."}


def _steering(
    what: str,
    name: str,
    summary: str,
    run: object,
    body: object,
    text: str,
    example: object,
    *,
    optional: bool = True,
) -> Route:
    return Route(
        "POST",
        f"/v1/runs/{{id}}/{what}",
        name,
        "runs",
        summary,
        run,  # type: ignore[arg-type]
        RunView,
        text=text,
        body=body,
        body_optional=optional,
        statuses=TOLD,
        errors=("conflict", "forbidden", "not-found"),
        example=example,
        urgent=True,
        scope="journeys",
    )


ROUTES = (
    Route(
        "POST",
        "/v1/runs",
        "start_run",
        "runs",
        "Start a run of a journey",
        start,
        RunView,
        text=(
            "It goes on by itself from here. Send an `Idempotency-Key`: the same key with the same body gives the same run "
            "(`repeated: true`), with another body 409. A journey that has a `key` has one live run for each of its values: a "
            "second one is refused with 409, which names the first. Needs the permission `journeys`."
        ),
        body=RunBody,
        statuses=BEGUN,
        errors=("conflict", "forbidden", "not-found"),
        example=EXAMPLE,
        keyed=True,
        scope="journeys",
    ),
    Route(
        "GET",
        "/v1/runs",
        "list_runs",
        "runs",
        "Runs, newest first",
        list_runs,
        RunPage,
        text="Needs the permission `journeys` or `record`.",
        query=(
            Query("status", "Only where it stands so.", values=tuple(s.value for s in RunStatus)),
            Query("journey", "Only of this journey."),
            Query("customer", "Only about this customer."),
            Query("stuck", "true: only those that a person must free.", type="boolean", values=("true", "false")),
            CURSOR,
            LIMIT,
        ),
        errors=("forbidden",),
    ),
    Route(
        "GET",
        "/v1/runs/{id}",
        "show_run",
        "runs",
        "Where a run is, what is done, what is open, what frees it",
        show,
        RunView,
        errors=("forbidden", "not-found"),
        answer_example=STUCK_EXAMPLE,
    ),
    Route(
        "GET",
        "/v1/runs/{id}/timeline",
        "run_timeline",
        "runs",
        "What happened in a run, step by step",
        timeline,
        TimelinePage,
        text="Each with time, position in the record, who, what, and the step or request that it is about.",
        errors=("forbidden", "not-found"),
    ),
    Route(
        "GET",
        "/v1/runs/{id}/picture",
        "run_picture",
        "runs",
        "The journey as a picture, with the way this run went",
        picture,
        str,
        text="SVG; it neither runs nor fetches anything.",
        errors=("forbidden", "not-found"),
        gives=SVG,
    ),
    _steering(
        "suspend",
        "suspend_run",
        "Let a run rest",
        suspend,
        CommentBody,
        "What is under way comes to its end and is kept; nothing new is begun.",
        {"comment": "the customer asked us to wait"},
    ),
    _steering(
        "resume",
        "resume_run",
        "Let a run go on",
        resume,
        CommentBody,
        "Where it was, with all that came meanwhile.",
        {"comment": "the customer called back"},
    ),
    _steering(
        "cancel",
        "cancel_run",
        "End a run before its end",
        cancel,
        CancelBody,
        "What was done is taken back, last first, unless `compensate` is false. Its tasks are closed.",
        {"compensate": True, "comment": "opened by mistake"},
    ),
    _steering(
        "retry",
        "retry_run",
        "Try again where a run is stuck",
        retry,
        StepBody,
        "With a fresh request; what was done before is not done again.",
        {"step": "credit", "comment": "the account is open again"},
    ),
    _steering(
        "skip",
        "skip_step",
        "Go on after the step where a run is stuck",
        skip,
        StepBody,
        "What the step should have done is yours to do. A checkpoint is not skipped.",
        {"step": "credit", "comment": "credited by hand"},
    ),
    _steering(
        "move",
        "move_run",
        "Let a run go on at another step",
        move,
        MoveBody,
        "Only while the run is in one place. Checkpoints count as much as before.",
        {"step": "tell_customer", "comment": "all else was settled by hand"},
        optional=False,
    ),
    Route(
        "POST",
        "/v1/runs/{id}/switch",
        "switch_run",
        "runs",
        "Go on with another journey",
        switch,
        RunView,
        text="A new run of the other journey starts; this one is cancelled as it stands, and nothing is taken back.",
        body=SwitchBody,
        statuses={201: "The new run. See `next`."},
        errors=("conflict", "forbidden", "not-found"),
        example={"journey": "complaint", "comment": "the customer wants to complain"},
        urgent=True,
        scope="journeys",
    ),
)
