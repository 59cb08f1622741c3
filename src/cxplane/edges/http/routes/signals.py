"""What happened elsewhere, as CloudEvents."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from cxplane.domain.errors import Conflict, Malformed
from cxplane.edges.http.cloudevents import BATCH, EVENT, EXAMPLE, SomeNotTaken, events
from cxplane.edges.http.route import Answer, Call, Route
from cxplane.edges.http.run_bodies import SignalBody, SignalsTaken, SignalTaken


async def take(call: Call) -> Answer:
    found = events(call.media, call.headers, call.sent)
    if call.media != BATCH:
        return Answer(await _one(call, found[0][1]), 202)
    taken: list[SignalTaken] = []
    mistakes: list[dict[str, str]] = []
    for place, event in found:
        try:
            taken.append(await _one(call, event))
        except (Malformed, Conflict) as problem:
            where = getattr(problem, "where", "")
            mistakes.append({"where": f"{place}{where}", "what": str(problem), "next": problem.next})
    if mistakes:
        raise SomeNotTaken(mistakes, len(found))
    return Answer(SignalsTaken(taken), 202)


async def _one(call: Call, event: SignalBody) -> SignalTaken:
    told = await call.plane.signal(
        call.caller,
        type=event.type,
        source=event.source,
        id=event.id,
        key=event.subject,
        data={} if event.data is UNSET else event.data,
        customer=event.customer,
    )
    return msgspec.convert(told, SignalTaken)


ROUTES = (
    Route(
        "POST",
        "/v1/signals",
        "signal",
        "signals",
        "Say what happened",
        take,
        SignalTaken | SignalsTaken,
        text=(
            "CloudEvents 1.0 in each of its HTTP modes. Structured: the event is the body, `application/cloudevents+json` (or "
            "`application/json`). Binary: the attributes are `ce-…` headers and the body is the data. Batched: at most 100 "
            "events, `application/cloudevents-batch+json`. The event's `subject` is the key: a run that listens for this type "
            "and key hears it, now or when it comes to listen. An event is known by `source` and `id`: sent again, it is "
            "taken once (`repeated: true`), and with other content it is refused (409). Data is JSON; `time` is looked at and the plane's own clock counts. Of a batch, "
            "what can be taken is taken; the answer is 422 if anything could not, with a line for each under `mistakes`. Needs "
            "the permission `signals`."
        ),
        body=SignalBody,
        body_optional=True,
        media={EVENT: SignalBody, BATCH: list[SignalBody]},
        statuses={202: "On record; the runs that it concerns are on their way. For a batch, `items` in its order."},
        errors=("conflict", "forbidden"),
        example=EXAMPLE,
        answer_example={
            "id": "sig_77ab5a1d2b7e4a90c1d2e3f405162738",
            "repeated": False,
            "runs_started": ["run_0f3c5a1d2b7e4a90c1d2e3f405162738"],
            "runs_reached": 0,
        },
        scope="signals",
    ),
)
