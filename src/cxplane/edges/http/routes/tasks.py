"""What runs ask of people."""

from __future__ import annotations

from cxplane.domain.run import TaskRow
from cxplane.edges.http.route import CURSOR, LIMIT, Answer, Call, Query, Route
from cxplane.edges.http.run_bodies import AnswerBody, TaskPage


async def list_tasks(call: Call) -> Answer:
    status = call.query.get("status", "open")
    items, more = await call.plane.tasks(
        call.caller,
        team=call.query.get("team"),
        status=None if status == "all" else status,
        cursor=call.cursor,
        limit=call.limit,
    )
    return Answer(TaskPage(list(items), more))


async def show(call: Call) -> Answer:
    return Answer(await call.plane.task(call.caller, call.path["id"]))


async def answer(call: Call) -> Answer:
    body: AnswerBody = call.body
    return Answer(await call.plane.answer(call.caller, call.path["id"], body.answer, comment=body.comment))


ROUTES = (
    Route(
        "GET",
        "/v1/tasks",
        "list_tasks",
        "tasks",
        "What waits for people, and how it ended",
        list_tasks,
        TaskPage,
        text="Those of your own team; of every team with the permission `record`.",
        query=(
            Query("team", "Only for this team."),
            Query(
                "status",
                "Only where it stands so; open by default.",
                values=("open", "answered", "defaulted", "closed", "all"),
            ),
            CURSOR,
            LIMIT,
        ),
        errors=("forbidden",),
        urgent=True,
    ),
    Route(
        "GET",
        "/v1/tasks/{id}",
        "show_task",
        "tasks",
        "One task with all that is needed to answer",
        show,
        TaskRow,
        errors=("forbidden", "not-found"),
        urgent=True,
    ),
    Route(
        "POST",
        "/v1/tasks/{id}/answer",
        "answer_task",
        "tasks",
        "Answer a task",
        answer,
        TaskRow,
        text="By a person of the team. The first answer counts; the same one again changes nothing, another one is a conflict.",
        body=AnswerBody,
        errors=("conflict", "forbidden", "not-found"),
        example={"answer": {"approved": True}, "comment": "agreed on the phone"},
        urgent=True,
        scope="decide",
    ),
)
