"""The record: entries, and the atomic writes that add them.

Projections (request, claim, budget, intent, approval, customer …) are folded by the store from the entries it
appends, in the same statement. What each kind carries is written in `domain/entries.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cxplane.domain.budget import Reservation
from cxplane.domain.made import Made
from cxplane.domain.run import RunRow
from cxplane.domain.values import JsonObject


def subject_of(customer: str | None, conversation: str | None = None) -> str | None:
    """Whose data it is: the customer's, else that of a conversation whose customer is not known (yet)."""
    if customer is not None:
        return customer
    return None if conversation is None else f"~{conversation}"


class NewEntry(Made, frozen=True):
    """One line to be added. Personal data goes to `private`, never to `body`."""

    hidden = frozenset({"private"})

    kind: str
    stream: str  # the request, customer, conversation, release or key it is about
    at: datetime
    actor: str  # caller name, or "cxplane"
    body: JsonObject
    private: JsonObject | None = None
    release: str | None = None
    cause: str | None = None
    subject: str | None = None  # whose key seals `private` (see `subject_of`); None: the tenant's own
    data: tuple[str, ...] = ()  # data classes of the action it is about; they say how long `private` is kept


@dataclass(frozen=True, slots=True)
class Erasure:
    """Personal data that nobody can read any more: its key was destroyed."""

    at: datetime
    by: str
    why: str  # erased | retention

    @property
    def words(self) -> str:
        how = "erased" if self.why == "erased" else "put away, as plane.yaml says,"
        return f"personal data was {how} on {self.at:%Y-%m-%d %H:%M} UTC by {self.by}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the record."""

    position: int
    tenant: str
    kind: str
    stream: str
    at: datetime
    actor: str
    body: JsonObject
    private: JsonObject | None = field(default=None, repr=False)
    release: str | None = None
    cause: str | None = None
    erased: Erasure | None = None  # why `private` is None though there was something


@dataclass(frozen=True, slots=True)
class Line:
    """One entry as it is sealed and exported: `text` is its CloudEvent in JSON, UTF-8, without a line end."""

    position: int
    at: datetime
    kind: str
    text: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: of these kinds (all, if none is named), from `since` on, before `until`."""

    kinds: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, line: Line) -> bool:
        return (
            (not self.kinds or line.kind in self.kinds)
            and (self.since is None or line.at >= self.since)
            and (self.until is None or line.at < self.until)
        )


ALL = Wanted()


class KeyClaim(Made, frozen=True):
    """The right to do an action under a business key: held by one request at a time."""

    action: str
    key: str
    request: str


class Fence(Made, frozen=True):
    """Who holds a run: only the latest epoch may append to it. A worker that was paused and lost it can change nothing."""

    run: str
    epoch: int


class NewRun(Made, frozen=True):
    """A run that must not exist yet; with a key, none of its journey and key may be under way."""

    id: str
    journey: str
    key: str | None = None
    at_hand: int | None = (
        None  # the epoch under which its writer begins with it at once; no wake-up goes into the queue
    )


class AsSeen(Made, frozen=True):
    """What a decision saw of a customer and a conversation, some time ago. `version`: that of the situation."""

    customer: str | None
    conversation: str | None
    version: str


class Write(Made, frozen=True):
    """All of it or nothing. Checked in this order: fence, as seen, new signal, new run, new request, expected status, claim, reservations.

    An entry that decides an approval is taken only while that approval is open: else Moved, with the status `decided`.
    """

    tenant: str
    entries: tuple[NewEntry, ...]
    fence: Fence | None = None  # fails with Fenced if somebody else holds the run by now
    as_seen: AsSeen | None = None  # fails with Changed if the customer or the conversation is not as it was
    new_signal: str | None = None  # fails with SignalTaken if a signal of this id is on record
    new_run: NewRun | None = None  # fails with RunTaken
    new_request: str | None = None  # fails with RequestTaken if a request of this id exists
    expect: tuple[str, str] | None = None  # (request id, status): fails with Moved if it stands elsewhere
    claim: KeyClaim | None = None  # fails with KeyTaken if another request holds it
    reservations: tuple[Reservation, ...] = ()  # fails with BudgetExhausted


class Appended(Made, frozen=True):
    positions: tuple[int, ...]
    woke: bool = False  # a run has work now: tell the workers
    more: bool = False  # there is mail for the run that the write belongs to; it does not rest
    reached: int = 0  # runs that a signal reached


@dataclass(frozen=True, slots=True)
class Fenced:
    """The run has another holder by now: what this one wanted to write is void."""

    run: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The customer or the conversation is not as it was seen: judge again."""

    customer: str | None


@dataclass(frozen=True, slots=True)
class SignalTaken:
    signal: str


@dataclass(frozen=True, slots=True)
class RunTaken:
    """There is such a run, or one of the same key is under way."""

    run: str


@dataclass(frozen=True, slots=True)
class RequestTaken:
    request: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The request no longer stands where the write expected it; `status` is where it stands, None if unknown.

    `decided`: somebody else has decided its approval.
    """

    request: str
    status: str | None


@dataclass(frozen=True, slots=True)
class KeyTaken:
    request: str
    input_hash: str


@dataclass(frozen=True, slots=True)
class BudgetExhausted:
    budget: str
    limit: str  # money | count | risk
    used: int
    asked: int
    allowed: int


AppendResult = Appended | Fenced | Changed | SignalTaken | RunTaken | RequestTaken | Moved | KeyTaken | BudgetExhausted


@dataclass(frozen=True, slots=True)
class RequestRow:
    """Where a request stands, folded from its entries."""

    id: str
    action: str
    caller: str
    customer: str | None
    conversation: str | None
    verdict: str | None
    status: str
    key: str | None
    input_hash: str
    body_hash: str | None  # of what the edge received, to tell a repeat from a reuse of an idempotency key
    release: str | None
    at: datetime
    updated_at: datetime
    approval: str | None = None
    error: str | None = None
    replaced_by: str | None = None
    undone_by: str | None = None
    run: str | None = None  # the run that asked


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent without an outcome."""

    request: str
    action: str
    key: str | None
    due: datetime
    tries: int


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """A held decision waiting for a person, and how it ended."""

    id: str
    request: str
    action: str
    customer: str | None
    proposed_by: str
    approver_sets: tuple[tuple[str, ...], ...]
    four_eyes: bool
    status: str  # open | approved | rejected | edited | expired
    opened_at: datetime
    expires_at: datetime
    default: str
    decided_by: str | None = None
    decided_at: datetime | None = None
    comment: str | None = field(default=None, repr=False)
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetUse:
    budget: str
    scope: str
    window: str
    money: int
    count: int
    risk: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key: only its SHA-256 is kept."""

    id: str
    caller: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    scope: frozenset[str] | None = None  # of `domain.keys.SCOPES`; None = all that its caller may
    actions: frozenset[str] | None = None  # that it may ask for; None = all that its caller may
    replaces: str | None = None  # the key that it took the place of


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: items and where the next one starts (None at the end)."""

    items: tuple[object, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Mail:
    """Something that came for a run. `ref` tells the same thing when it comes twice."""

    ref: str
    body: JsonObject  # {"kind": started | signal | request | time | task | run | told, …}
    private: JsonObject | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TakenRun:
    """A run that a worker has taken over, under a fresh epoch, and what came for it since it rested."""

    fence: Fence
    before: int  # the epoch of the holder before
    row: RunRow
    input: JsonObject = field(repr=False)
    state: JsonObject | None = field(repr=False)  # None: nothing was done yet
    mail: tuple[Mail, ...]
    known: object = field(default=None, repr=False, compare=False)  # of its customer: see `Store.known`
