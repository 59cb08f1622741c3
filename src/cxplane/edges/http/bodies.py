"""What callers send and what lists look like: the schemas of /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from cxplane.domain.customer import Customer
from cxplane.domain.erasure import Left
from cxplane.domain.record import ApprovalRow, Entry, RequestRow
from cxplane.domain.release import ReleaseInfo
from cxplane.domain.views import ActionView, Check

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Words = Annotated[str, Meta(max_length=4000)]


class Sent(Struct, forbid_unknown_fields=True):
    """A body: an unknown field is a mistake, never ignored."""


class CandidateBody(Sent):
    """Another action that was thought of."""

    action: Name
    score: float | None = None
    why_not: Words = ""


class RequestBody(Sent):
    """Ask for one action of the catalog."""

    action: Annotated[Name, Meta(description="Id of the action.", examples=["billing.issue_credit"])]
    input: Annotated[
        dict[str, Any],
        Meta(
            description="What the action's contract describes (`input` in GET /v1/actions/{id}). Money in minor units, as integers."
        ),
    ] = {}
    customer: Annotated[Name | None, Meta(description="Id of the customer it is about, for actions that need one.")] = (
        None
    )
    conversation: Annotated[Name | None, Meta(description="The conversation whose recorded facts count.")] = None
    channel: Annotated[Name, Meta(description="Where the customer is met: chat, phone, email …")] = "api"
    purpose: Annotated[Name | None, Meta(description="Consent purpose; by default the one in the catalog entry.")] = (
        None
    )
    confidence: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="How sure the caller says it is, 0 to 1.")
    ] = None
    reason: Annotated[Words, Meta(description="Why it is asked for, for those who approve and review.")] = ""
    candidates: Annotated[
        Annotated[list[CandidateBody], Meta(max_length=20)], Meta(description="Other actions thought of, and why not.")
    ] = []
    recorded: Annotated[
        dict[str, Any], Meta(description="Evidence from the talk that policy may use, by name: `customer_confirmed` …")
    ] = {}
    dry_run: Annotated[bool, Meta(description="Judge and show what would be sent, and do nothing.")] = False
    wait: Annotated[
        Annotated[float, Meta(ge=0, le=60)] | None,
        Meta(description="Seconds to wait for an outcome or a person's decision before the answer comes."),
    ] = None


class UndoBody(Sent):
    """Take a done request back, by the action that its catalog entry names."""

    reason: Words = ""


class SettleBody(Sent):
    """How a stuck request ended, as a person found out in the system."""

    done: Annotated[bool, Meta(description="true: the system shows it was done; false: it was not.")]
    comment: Words = ""


class ApproveBody(Sent):
    """Release a held request; with `input`, in an edited form."""

    comment: Words = ""
    input: Annotated[
        dict[str, Any] | None, Meta(description="The whole input, edited: a new request linked to the old.")
    ] = None


class RejectBody(Sent):
    """Say no, and why."""

    comment: Annotated[Words, Meta(min_length=1)]


class IdentityBody(Sent):
    """One way the customer is known."""

    kind: Annotated[Name, Meta(examples=["email"])]
    value: Name


class CustomerBody(Sent):
    """Create or change; a null attribute removes it."""

    attributes: dict[str, Any] = {}
    identities: Annotated[list[IdentityBody], Meta(max_length=50)] = []


class AssuranceBody(Sent):
    """The customer proved who they are."""

    level: Annotated[int, Meta(ge=0, le=9, description="The operator's scale; 0 takes nothing for proven.")]
    method: Annotated[Name, Meta(examples=["otp"])]
    lifetime: Annotated[Name, Meta(description="How long it counts.", examples=["30m"])]


class ConsentBody(Sent):
    """The customer allows something, or no longer allows it."""

    purpose: Annotated[Name, Meta(examples=["service"])]
    granted: bool
    source: Annotated[Name, Meta(description="Where this was said.", examples=["web form 2026-01"])]
    channel: Annotated[Name | None, Meta(description="null: every channel.")] = None
    data: Annotated[list[Name], Meta(max_length=50, description="Data classes; empty: every class.")] = []


class ConversationBody(Sent):
    """Open a conversation, or say whom it is with."""

    customer: Name | None = None
    channel: Name = "api"
    id: Annotated[Name | None, Meta(description="Your own id for it; by default one is made.")] = None


class FactBody(Sent):
    """Something that was learnt in the talk."""

    name: Annotated[Name, Meta(examples=["customer_confirmed"])]
    value: Annotated[Any | UnsetType, Meta(description="Required: any JSON value.")] = UNSET


class EraseBody(Sent):
    """Why a customer is erased."""

    reason: Annotated[
        str, Meta(max_length=200, description="For the record; without personal data, it cannot be erased.")
    ] = ""


class HoldBody(Sent):
    """Whether a customer must not be erased."""

    on: bool
    reason: Annotated[str, Meta(max_length=200, description="For the record; without personal data.")] = ""


# answers ------------------------------------------------------------------------------------------------


class RequestPage(Struct):
    """Newest first. `next` is the cursor of the next page, null at the end."""

    items: list[RequestRow]
    next: str | None


class ApprovalPage(Struct):
    items: list[ApprovalRow]
    next: str | None


class CustomerPage(Struct):
    items: list[Customer]
    next: str | None


class ActionPage(Struct):
    items: list[ActionView]
    next: str | None


class EntryPage(Struct):
    """In order of position. `next` is the value of `after` for the next page, null when there is none yet."""

    items: list[Entry]
    next: str | None


class ReleasePage(Struct):
    items: list[ReleaseInfo]
    next: str | None


class BudgetPage(Struct):
    items: list[dict[str, Any]]
    next: str | None


class Explanation(Struct):
    """Why it was decided so: in plain words, and as a structure."""

    id: str
    text: str
    decision: dict[str, Any]


class Replay(Struct):
    """A decision made once more. `result`: same, different, unknown or impossible; `replay` has every difference."""

    id: str
    result: str
    text: str
    replay: dict[str, Any]


class ReplayPage(Struct):
    """Newest first. `next` is the cursor of the next page, null at the end."""

    items: list[dict[str, Any]]
    next: str | None


class ConversationOpened(Struct):
    id: str


class FactRecorded(Struct):
    conversation: str
    name: str


class ErasureReport(Struct):
    """`erased`: nothing of the customer can be read any more."""

    erased: bool
    left: Left


class HoldSet(Struct):
    customer: str
    on: bool


class Health(Struct):
    status: Annotated[str, Meta(examples=["ok"])]
    release: str | None = None
    seal: (
        Annotated[str, Meta(description="What is wrong with the seal of the record; absent while all is well.")]
        | UnsetType
    ) = UNSET


class HealthDetail(Struct):
    status: Annotated[str, Meta(description="The worst of them: ok, warn or fail.")]
    checks: list[Check]


class ProblemBody(Struct, omit_defaults=True):
    """Every error looks like this (RFC 9457)."""

    type: Annotated[str, Meta(examples=["urn:cxplane:problem:malformed"])]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What is wrong, in one sentence, without customer data.")]
    next: Annotated[str, Meta(description="What to do now.")]
    request_id: Annotated[str, Meta(description="For whoever runs the plane: it is in the log.")]
    where: Annotated[str, Meta(description="JSON pointer to the place in the body.", examples=["/input/amount"])] = ""
    mistakes: list[dict[str, Any]] = []
