"""What callers send and are told about journeys, runs, tasks and signals: schemas of /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from cxplane.domain.run import RunRow, TaskRow
from cxplane.edges.http.bodies import Name, Sent, Words

StepName = Annotated[Name, Meta(description="Name of a step of the journey.", examples=["credit"])]
Source = Annotated[str, Meta(min_length=1, max_length=400, pattern=r"^[^\x00-\x20\x7f]+$")]


class RunBody(Sent):
    """Start a run of a journey."""

    journey: Annotated[Name, Meta(description="Id of the journey.", examples=["billing_dispute"])]
    input: Annotated[
        dict[str, Any], Meta(description="What the journey's `input` describes (GET /v1/journeys/{name}).")
    ] = field(default_factory=dict)
    customer: Annotated[
        Name | None, Meta(description="Id of the customer it is about, for journeys that need one.")
    ] = None
    conversation: Annotated[Name | None, Meta(description="The conversation whose recorded facts count.")] = None


class CommentBody(Sent):
    """Why, for the record."""

    comment: Words = ""


class CancelBody(Sent):
    """End a run before its end."""

    compensate: Annotated[bool, Meta(description="Take back what was done, last first. false: leave it as it is.")] = (
        True
    )
    comment: Words = ""


class StepBody(Sent):
    """Where the run stands; without `step`, wherever it is stuck."""

    step: StepName | None = None
    comment: Words = ""


class MoveBody(Sent):
    """Where the run goes on."""

    step: StepName
    comment: Words = ""


class SwitchBody(Sent):
    """Go on with another journey."""

    journey: Annotated[Name, Meta(description="Id of the other journey.")]
    input: Annotated[
        dict[str, Any] | None, Meta(description="Its input; by default that of the run it takes over from.")
    ] = None
    comment: Words = ""


class MigrateBody(Sent, rename={"from_": "from"}):
    """Take the runs of a journey from one release to another."""

    from_: Annotated[Name, Meta(description="Hash of the release they are on, or how it begins.")]
    to: Annotated[Name, Meta(description="Hash of the release they go to, or how it begins; `live` is the live one.")]
    positions: Annotated[
        dict[str, str],
        Meta(description="Old step to new step, where a step where runs wait has another name or is gone."),
    ] = field(default_factory=dict)
    apply: Annotated[bool, Meta(description="false: only say what would happen. true: do it.")] = False


class AnswerBody(Sent):
    """What a person answers to a task."""

    answer: Annotated[
        dict[str, Any],
        Meta(
            description="By `what` of the task. approve: `{approved}`; do, propose: `{approved, input?}`; choose: `{choice}`; "
            "fill: `{values}`; hand_over: `{done: true, note?}`; stuck: `{do}` with retry, skip, cancel or fail."
        ),
    ]
    comment: Words = ""


class SignalBody(Struct):
    """A CloudEvents 1.0 event. Other attributes are taken and not kept."""

    specversion: Annotated[str, Meta(description="Always 1.0.", examples=["1.0"])]
    id: Annotated[Name, Meta(description="With `source`, what tells this event apart from every other.")]
    source: Annotated[
        Source,
        Meta(
            description="Who says so, a URI reference: the caller's own name, or one that plane.yaml lists for it.",
            examples=["/crm"],
        ),
    ]
    type: Annotated[Name, Meta(description="What happened.", examples=["billing.dispute_opened"])]
    subject: Annotated[str, Meta(max_length=200, description="The key: whom or what it concerns.")] = ""
    time: Annotated[str | None, Meta(description="When it happened (RFC 3339).")] = None
    datacontenttype: Annotated[str | None, Meta(description="JSON, or left out.")] = None
    dataschema: str | None = None
    customer: Annotated[
        Name | None, Meta(description="An extension attribute: the customer of runs that this starts.")
    ] = None
    data: Annotated[Any | UnsetType, Meta(description="Any JSON value; what journeys read as `signal.data`.")] = UNSET
    data_base64: Annotated[str | UnsetType, Meta(description="JSON, in base64, instead of `data`.")] = UNSET


# answers ------------------------------------------------------------------------------------------------


class RunPage(Struct):
    """Newest first. `next` is the cursor of the next page, null at the end."""

    items: list[RunRow]
    next: str | None


class TaskPage(Struct):
    items: list[TaskRow]
    next: str | None


class TimelinePage(Struct):
    """In the order in which it happened."""

    items: list[dict[str, Any]]
    next: str | None


class JourneyPage(Struct):
    items: list[dict[str, Any]]
    next: str | None


class SignalTaken(Struct):
    """It is on record, and the runs it concerns are on their way."""

    id: Annotated[str, Meta(description="Of the signal on record.")]
    repeated: Annotated[bool, Meta(description="It was taken before: nothing was done again.")]
    runs_started: Annotated[list[str], Meta(description="Runs that begin with it.")]
    runs_reached: Annotated[int, Meta(description="How many runs listened for it. It is kept for those that will.")]


class SignalsTaken(Struct):
    """Of a batch: one for each event, in its order."""

    items: list[SignalTaken]


class Migration(Struct, rename={"from_": "from"}):
    """What happens, or would happen, to every run that is under way."""

    journey: str
    from_: str
    to: str
    runs: Annotated[int, Meta(description="How many are on the old release.")]
    same: Annotated[int, Meta(description="How many stand at a step that both releases have.")]
    standing: Annotated[dict[str, int], Meta(description="Of those: step -> how many stand there.")]
    mapped: Annotated[list[dict[str, Any]], Meta(description="Each `{run, at, to}`: moved by `positions`.")]
    impossible: Annotated[list[dict[str, Any]], Meta(description="Each `{run, at, why}`: stays on its release.")]
    moved: Annotated[int, Meta(description="How many were told to go; 0 without `apply`.")]
