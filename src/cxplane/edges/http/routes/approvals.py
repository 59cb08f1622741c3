"""Held requests and the people who decide them."""

from __future__ import annotations

from cxplane.domain.views import ApprovalView, RequestView
from cxplane.edges.http.bodies import ApprovalPage, ApproveBody, RejectBody
from cxplane.edges.http.route import CURSOR, LIMIT, Answer, Call, Query, Route
from cxplane.edges.http.routes.requests import UNSETTLED


async def list_approvals(call: Call) -> Answer:
    items, more = await call.plane.approvals(
        call.caller, status=call.query.get("status"), cursor=call.cursor, limit=call.limit
    )
    return Answer(ApprovalPage(list(items), more))


async def show_approval(call: Call) -> Answer:
    return Answer(await call.plane.approval(call.caller, call.path["id"]))


async def approve(call: Call) -> Answer:
    body: ApproveBody = call.body
    view = await call.plane.approve(call.caller, call.path["id"], comment=body.comment, input=body.input)
    return Answer(view, 202 if view.status in UNSETTLED else 200, {"Location": f"/v1/requests/{view.id}"})


async def reject(call: Call) -> Answer:
    return Answer(await call.plane.reject(call.caller, call.path["id"], comment=call.body.comment))


ROUTES = (
    Route(
        "GET",
        "/v1/approvals",
        "list_approvals",
        "approvals",
        "What waits for a person, and how it ended",
        list_approvals,
        ApprovalPage,
        text="Those that you proposed or could decide; all of them with the permission `record`.",
        query=(
            Query("status", "Only where it stands so.", values=("open", "approved", "rejected", "edited", "expired")),
            CURSOR,
            LIMIT,
        ),
        urgent=True,
    ),
    Route(
        "GET",
        "/v1/approvals/{id}",
        "show_approval",
        "approvals",
        "One approval with all that is needed to decide",
        show_approval,
        ApprovalView,
        errors=("forbidden", "not-found"),
        urgent=True,
    ),
    Route(
        "POST",
        "/v1/approvals/{id}/approve",
        "approve",
        "approvals",
        "Release it, as it is or edited",
        approve,
        RequestView,
        text=(
            "It is judged again with you as the approver, and then carried out. With `input`, the edited request takes its "
            "place and both stay on record."
        ),
        body=ApproveBody,
        body_optional=True,
        statuses={200: "Settled.", 202: "Released, and not settled yet. See `next`."},
        errors=("conflict", "forbidden", "not-found", "unavailable"),
        example={
            "comment": "half of it is fair",
            "input": {"account_id": "a-1001", "dispute_id": "d-7", "amount": 750},
        },
        urgent=True,
        scope="decide",
    ),
    Route(
        "POST",
        "/v1/approvals/{id}/reject",
        "reject",
        "approvals",
        "Say no",
        reject,
        RequestView,
        body=RejectBody,
        errors=("conflict", "forbidden", "not-found"),
        example={"comment": "the outage was announced"},
        urgent=True,
        scope="decide",
    ),
)
