"""One live instance of a journey: its state, what happens to it, and what it wants done.

The state is data, as it is kept in a row: a run that waits costs nothing else. `journeys.advance` is the only place that
changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from cxplane.domain.journey import Bounds
from cxplane.domain.made import Made
from cxplane.domain.values import Json, JsonObject, derived_id

INTERNAL = "internal"  # the error of a run whose leg failed for a reason of ours


class RunStatus(StrEnum):
    READY = "ready"  # started or woken, a leg is on its way
    WAITING = "waiting"  # for a signal, a time, a person, a system
    STUCK = "stuck"  # an error that nobody caught: a person frees it
    SUSPENDED = "suspended"
    CANCELLING = "cancelling"  # what was done is being undone
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self is RunStatus.DONE or self is RunStatus.FAILED or self is RunStatus.CANCELLED


class Wait(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token waits for. Times are ISO 8601 in UTC."""

    kind: str  # call | undo | time | signal | task | run | retry | fork | person (stuck until one acts)
    request: str | None = None  # call, undo: the request whose outcome is awaited
    due: str | None = None  # time, retry: when it is over; signal, task: when it is too late
    task: str | None = None
    run: str | None = None  # the journey that was started
    open: tuple[tuple[str, str], ...] = ()  # signal: (type, key) still listened for
    remind: str | None = None  # task: when somebody is reminded
    escalate: str | None = None  # task: when it goes to another team
    since: str | None = None
    attempt: int = 1  # call, undo: the how-manieth request of this visit
    error: str | None = None  # person: the name of what went wrong
    caller: str | None = None  # call: the person who does it
    given: Mapping[str, Any] | None = None  # call: the input that a person gave
    undo: tuple[str, ...] = ()  # undo: requests that are still to be taken back, the present one first
    then: str | None = None  # undo: what follows: next | catch | failed | cancelled


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place where the run is. A fork has one in each branch."""

    id: int
    at: str  # name of the step; "" when the branch or the journey is at its end
    visit: int = 1
    wait: Wait | None = None
    loops: Mapping[str, tuple[int, tuple[Json, ...] | None]] = {}  # name of a `for` -> (index, items if they are kept)
    tries: Mapping[str, int] = {}  # name of a `try` -> how often it was tried again
    caught: Mapping[str, Any] = {}  # name of a `try` whose catch is running -> {"name", "text", "step"}
    began: Mapping[str, int] = {}  # name of a `try` -> how many calls were done when it was entered
    heard: tuple[JsonObject, ...] = ()  # signals that came while it listens
    parent: int | None = None  # the token that waits at the fork
    branch: str | None = None
    lost: bool = False  # its call is still awaited, and leads nowhere any more


class Did(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that was done, in the order in which they were."""

    step: str
    request: str
    action: str
    undone: bool = False


class RunState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that `advance` needs beside the definition."""

    status: RunStatus = RunStatus.READY
    tokens: tuple[Token, ...] = ()
    vars: Mapping[str, Json] = {}
    steps: Mapping[str, Json] = {}  # name of a step -> its result
    did: tuple[Did, ...] = ()
    passed: tuple[str, ...] = ()  # checkpoints
    goals: Mapping[str, Any] = {}  # goal -> {"achieved": bool, "evidence": {...}, "at": iso}
    visits: Mapping[str, int] = {}
    next_token: int = 1
    error: Mapping[str, Any] | None = None  # {"name", "text", "step"}: why it is stuck or failed
    ending: str | None = None  # failed | cancelled: how it ends when nothing is awaited any more
    compensate: bool = True  # whether what was done is taken back before it ends so
    pace: tuple[str, int] | None = (
        None  # since when steps are counted, and how many it had entered then; None: its start
    )


_encode, _decode = msgspec.to_builtins, msgspec.convert


def state_body(state: RunState) -> dict[str, Any]:
    """As plain JSON."""
    told: dict[str, Any] = _encode(state)
    return told


def state_from(body: JsonObject) -> RunState:
    return _decode(body, RunState)


class Run(Made, frozen=True):
    """A run as `advance` sees it: what never changes, and the state."""

    hidden = frozenset({"input", "state"})

    id: str
    tenant: str
    journey: str
    release: str
    started_at: datetime
    input: JsonObject
    customer: str | None = None
    conversation: str | None = None
    state: RunState = RunState()
    depth: int = 0  # how many runs, each started by the one before, led to it
    bounds: Bounds = Bounds()
    starting: frozenset[str] = frozenset()  # types of signals that start a run


def internal_task(run: Run) -> str:
    """The task that tells people of a leg that failed for a reason of ours."""
    return derived_id("tsk", run.tenant, run.id, INTERNAL)


# what happens to a run ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of every run."""


class Settled(Made, frozen=True):
    """A request that the run asked for has ended, or is known to wait (`held`)."""

    hidden = frozenset({"output"})

    request: str
    status: str  # domain.outcome.Status; of an undo also "kept": it has none, and its entry says why that is fine
    output: JsonObject | None = None
    error: str | None = None
    kind: str | None = None  # retry | refused | unknown: the class of a failure; retry of a refusal: only for now
    reasons: tuple[str, ...] = ()  # texts, of a refusal
    replaced_by: str | None = None  # an approver edited it: this request stands in its place
    read: bool = False  # it changed nothing


@dataclass(frozen=True, slots=True)
class Unasked:
    """A request that the run waits for never came on record: the worker that was to ask it died. It is asked again."""

    request: str


@dataclass(frozen=True, slots=True)
class Due:
    """A time of this token's wait has come. `what`: due | remind | escalate."""

    token: int
    what: str = "due"


@dataclass(frozen=True, slots=True)
class Heard:
    signal: str  # type
    key: str
    data: JsonObject = field(repr=False)
    source: str = ""
    id: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A person answered a task. `answer`: {"approved": bool} | {"choice": …} | {"values": {…}} | {"done": true}."""

    task: str
    answer: JsonObject = field(repr=False)
    by: str  # caller name, or "cxplane" for a default
    at: str = ""
    comment: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ChildEnded:
    run: str
    status: str  # RunStatus
    result: JsonObject = field(default_factory=dict, repr=False)  # the goals of that run


@dataclass(frozen=True, slots=True)
class Told:
    """A person or system steers the run. `what`: suspend | resume | cancel | retry | skip | move | migrate | fail."""

    what: str
    by: str
    step: str | None = None  # move: where to; retry, skip: which (None: the stuck ones)
    positions: Mapping[str, str] = field(default_factory=dict)  # migrate: old step -> new step
    compensate: bool = True  # cancel
    comment: str = field(default="", repr=False)


Event = Started | Settled | Unasked | Due | Heard | Answered | ChildEnded | Told


# what a run wants done ------------------------------------------------------------------------------


class AskAction(Made, frozen=True):
    """Ask for an action through the gate, under this request id. `caller`: a person's name where one does the step."""

    hidden = frozenset({"input", "recorded", "reason"})

    token: int
    step: str
    request: str
    action: str
    input: JsonObject
    recorded: Mapping[str, Json] = {}
    reason: str = ""
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """Take back what a request did. `request`: the id that the undoing request gets."""

    undoes: str
    request: str
    step: str = ""


@dataclass(frozen=True, slots=True)
class SendSignal:
    id: str  # the same on every try
    signal: str
    key: str
    data: JsonObject = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenTask:
    """Work for people: a row that somebody answers."""

    task: str
    step: str
    what: (
        str  # approve | choose | fill | do (a call by a person) | propose (release a proposed call) | hand_over | stuck
    )
    team: str
    person: str | None = None
    text: str = field(default="", repr=False)
    choices: tuple[str, ...] = ()
    form: JsonObject = field(default_factory=dict, repr=False)  # JSON Schema
    show: JsonObject = field(default_factory=dict, repr=False)
    due: str | None = None
    action: str | None = None  # do, propose


@dataclass(frozen=True, slots=True)
class MoveTask:
    """`how`: reminded | escalated (to `team`) | defaulted | closed (nobody needs to answer any more)."""

    task: str
    how: str
    team: str | None = None


@dataclass(frozen=True, slots=True)
class StartRun:
    run: str  # the id of the new run
    journey: str
    input: JsonObject = field(repr=False)
    token: int = 0
    wait: bool = True


@dataclass(frozen=True, slots=True)
class StopRun:
    """End a run that this one started: nobody waits for it any more. What it did is taken back."""

    run: str


Effect = AskAction | UndoRequest | SendSignal | OpenTask | MoveTask | StartRun | StopRun


class Went(Made, frozen=True):
    """One step of the way: where, and how it was left."""

    hidden = frozenset({"text"})

    step: str
    how: str  # entered | done | passed by | failed | waits | undone | retried | moved | skipped | migrated
    error: str | None = None  # the error's name
    text: str = ""


class Advanced(Made, frozen=True):
    """The state after an event, what is to be done, and the way it went. An event that concerns nothing changes nothing."""

    state: RunState
    effects: tuple[Effect, ...] = ()
    went: tuple[Went, ...] = ()


# as it is listed --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunRow:
    id: str
    journey: str
    release: str
    status: str
    started_at: datetime
    updated_at: datetime
    started_by: str
    customer: str | None = None
    conversation: str | None = None
    key: str | None = None
    parent: str | None = None
    at: tuple[str, ...] = ()  # the steps where it is
    waits: tuple[str, ...] = ()  # what each of them waits for: "signal documents.received", "task tsk_…", "2026-…"
    error: str | None = None  # plain words, no personal data
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """Work for people."""

    id: str
    run: str
    journey: str
    step: str
    what: str
    team: str
    status: str  # open | answered | defaulted | closed
    opened_at: datetime
    customer: str | None = None
    person: str | None = None
    action: str | None = None
    text: str = field(default="", repr=False)
    choices: tuple[str, ...] = ()
    form: JsonObject = field(default_factory=dict, repr=False)
    show: JsonObject = field(default_factory=dict, repr=False)
    due: datetime | None = None
    escalated: bool = False
    reminded_at: datetime | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
    answer: JsonObject | None = field(default=None, repr=False)
    comment: str | None = field(default=None, repr=False)
