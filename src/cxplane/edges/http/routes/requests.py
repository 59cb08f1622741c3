"""Actions, requests and decisions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from cxplane.domain.outcome import Status
from cxplane.domain.values import derived_id, digest
from cxplane.domain.views import ActionView, Ask, RequestView
from cxplane.edges.http.bodies import ActionPage, RequestBody, RequestPage, SettleBody, UndoBody
from cxplane.edges.http.route import CURSOR, LIMIT, Answer, Call, Query, Route

WAITING = frozenset({Status.RUNNING, Status.UNKNOWN, Status.HELD})
UNSETTLED = WAITING | {Status.STUCK}


async def list_actions(call: Call) -> Answer:
    return Answer(ActionPage(list(await call.plane.actions(call.caller)), None))


async def show_action(call: Call) -> Answer:
    return Answer(await call.plane.action(call.caller, call.path["id"]))


async def ask(call: Call) -> Answer:
    body: RequestBody = call.body
    id, body_hash = None, None
    if call.idempotency_key is not None:
        id = derived_id("req", call.plane.tenant, call.caller.name, call.idempotency_key)
        body_hash = digest({name: value for name, value in call.sent.items() if name != "wait"})
    view = await call.plane.ask(
        call.caller,
        Ask(
            action=body.action,
            input=body.input,
            customer=body.customer,
            conversation=body.conversation,
            channel=body.channel,
            purpose=body.purpose,
            confidence=body.confidence,
            reason=body.reason,
            candidates=tuple(_candidate(c) for c in body.candidates),
            recorded=body.recorded,
            dry_run=body.dry_run,
            id=id,
            body_hash=body_hash,
        ),
    )
    if body.wait:
        view = await _waited(call, view, body.wait)
    return _stands(view)


def _candidate(candidate: Any) -> Mapping[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(candidate)
    return {name: value for name, value in told.items() if value is not None}


async def _waited(call: Call, view: RequestView, seconds: float) -> RequestView:
    """Look again until it is settled, a person must find out, or the time is over."""
    until = time.monotonic() + seconds
    pause = 0.05
    while view.status in WAITING and (left := until - time.monotonic()) > 0:
        if not await call.rest(min(pause, left)):
            break
        pause = min(pause * 1.5, 0.5)
        view = replace(await call.plane.request(call.caller, view.id), repeated=view.repeated)
    return view


def _stands(view: RequestView) -> Answer:
    """202 while it is not settled: held, running, unknown or stuck. A refusal is an answer like any other: 200."""
    status = 202 if view.status in UNSETTLED else 200
    headers = {"Location": f"/v1/requests/{view.id}"}
    return Answer(view, status, headers)


async def list_requests(call: Call) -> Answer:
    items, more = await call.plane.requests(
        call.caller,
        status=call.query.get("status"),
        action=call.query.get("action"),
        customer=call.query.get("customer"),
        caller_name=call.query.get("caller"),
        cursor=call.cursor,
        limit=call.limit,
    )
    return Answer(RequestPage(list(items), more))


async def show_request(call: Call) -> Answer:
    return Answer(await call.plane.request(call.caller, call.path["id"]))


async def undo(call: Call) -> Answer:
    return _stands(await call.plane.undo(call.caller, call.path["id"], reason=call.body.reason))


async def settle(call: Call) -> Answer:
    body: SettleBody = call.body
    return Answer(await call.plane.settle(call.caller, call.path["id"], done=body.done, comment=body.comment))


ACTION = Query("action", "Only this action.")
CUSTOMER = Query("customer", "Only about this customer.")
CALLER = Query(
    "caller", "Only asked by this caller, like agent:fin. Others than your own need the permission `record`."
)
ASK_STATUSES = {
    200: "Settled: done, failed, refused or previewed. See `decision`, `status` and `reasons`.",
    202: "Not settled yet: held for a person, under way, or being found out. See `next`.",
}
EXAMPLE = {
    "action": "billing.issue_credit",
    "customer": "c-1001",
    "input": {"account_id": "a-1001", "dispute_id": "d-7", "amount": 1500},
    "channel": "chat",
    "reason": "two days without service",
    "recorded": {"customer_confirmed": True},
}
HELD_EXAMPLE = {
    "id": "req_0f3c5a1d2b7e4a90c1d2e3f405162738",
    "action": "billing.issue_credit",
    "decision": "hold",
    "status": "held",
    "next": "A person decides. Look at the approval, or wait; it expires safely.",
    "caller": "agent:fin",
    "customer": "c-1001",
    "at": "2026-01-05T10:00:00Z",
    "reasons": [
        {
            "code": "policy",
            "policy": "credit-above-ai-limit",
            "file": "policies/credits.cedar",
            "line": 12,
            "text": "credits above 10.00 by an AI agent need a supervisor",
            "effect": "hold",
        }
    ],
    "obligations": {"approver_sets": [["supervisor"]]},
    "determined_by": "policy",
    "release": "9f2b…",
    "repeated": False,
    "approval": "apr_0194f3…",
}

ROUTES = (
    Route(
        "GET",
        "/v1/actions",
        "list_actions",
        "actions",
        "The catalog: every action and who governs it",
        list_actions,
        ActionPage,
        text="Owner, risk, policies, budgets, approvers, undo, conformance and what depends on it. The whole catalog is one page.",
    ),
    Route(
        "GET",
        "/v1/actions/{id}",
        "show_action",
        "actions",
        "One action with its contract and its governor",
        show_action,
        ActionView,
        errors=("not-found",),
    ),
    Route(
        "POST",
        "/v1/requests",
        "ask",
        "requests",
        "Ask for an action",
        ask,
        RequestView,
        text=(
            "The request is judged under the live release and, if allowed, carried out once. A refusal is an answer "
            "(200, `decision: refuse`), not an error. Send an `Idempotency-Key`: the same key with the same body gives the "
            "same answer (`repeated: true`), however often; with another body it is refused with 409. The action's business "
            "key does the same for whoever asks."
        ),
        body=RequestBody,
        statuses=ASK_STATUSES,
        errors=("conflict", "unavailable"),
        example=EXAMPLE,
        answer_example=HELD_EXAMPLE,
        keyed=True,
        scope="ask",
    ),
    Route(
        "GET",
        "/v1/requests",
        "list_requests",
        "requests",
        "Requests, newest first",
        list_requests,
        RequestPage,
        query=(
            Query("status", "Only where it stands so.", values=tuple(s.value for s in Status)),
            ACTION,
            CUSTOMER,
            CALLER,
            CURSOR,
            LIMIT,
        ),
        errors=("forbidden",),
    ),
    Route(
        "GET",
        "/v1/requests/{id}",
        "show_request",
        "requests",
        "Where one request stands",
        show_request,
        RequestView,
        errors=("forbidden", "not-found"),
    ),
    Route(
        "POST",
        "/v1/requests/{id}/undo",
        "undo",
        "requests",
        "Take a done request back",
        undo,
        RequestView,
        text="By the action that its catalog entry names, judged like any other request. Asking again gives the same answer.",
        body=UndoBody,
        body_optional=True,
        statuses=ASK_STATUSES,
        errors=("conflict", "forbidden", "not-found", "unavailable"),
        example={"reason": "credited to the wrong dispute"},
        scope="ask",
    ),
    Route(
        "POST",
        "/v1/requests/{id}/settle",
        "settle",
        "requests",
        "Say how a stuck request ended",
        settle,
        RequestView,
        text="For persons with the permission `record` who looked into the business system.",
        body=SettleBody,
        errors=("conflict", "forbidden", "not-found"),
        example={"done": True, "comment": "the credit is on the account, reference 4711"},
        urgent=True,
        scope="decide",
    ),
)
