"""A journey: work across systems and people as the operator wrote it, and the charter that bounds it.

The task words are those of CNCF Serverless Workflow 1.0, plus `ask`, `say`, `hand_over`, `undo`, `goal` and `checkpoint`.
Expressions are CEL texts here; `journeys.program` compiles them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from cxplane.domain.catalog import Mode
from cxplane.domain.values import Json, JsonObject

REFUSED, REJECTED, EXPIRED = "refused", "rejected", "expired"
FAILED, UNAVAILABLE, TIMEOUT = "failed", "unavailable", "timeout"
EXPRESSION, CHECKPOINT, CHILD = "expression", "checkpoint", "journey"
RUNAWAY = "runaway"
ERRORS: Mapping[str, str] = {
    REFUSED: "policy, scope or consent said no",
    REJECTED: "an approver said no",
    EXPIRED: "nobody approved in time",
    FAILED: "the business system said no; nothing was done",
    UNAVAILABLE: "the business system, or one that policy needs a fact of, did not answer for longer than the step's patience; nothing was done",
    TIMEOUT: "what was listened for did not come in time",
    EXPRESSION: "an expression could not be computed",
    CHECKPOINT: "a compliance checkpoint was not passed; no catch takes it",
    CHILD: "a journey that this one started did not reach its end",
    RUNAWAY: "it went round too often, or would start one run too deep; no catch takes it",
}
"""Errors that steps raise by themselves, with what each means. `raise` adds the operator's own."""
UNCAUGHT = frozenset({CHECKPOINT, RUNAWAY})
"""Those that no catch takes, and for which a person gets the run whatever `on_failure` says."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What keeps runs from going on for ever; `journeys` in plane.yaml."""

    depth: int = 16  # how many runs deep journeys may start journeys; one that was started from outside is 0 deep
    runs: int = 1000  # that one run may lead to, of those three deep and deeper
    steps: int = 20_000  # that a run may enter `within`
    within: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long after: `delay`, then `backoff` times longer each time, at most `longest`."""

    times: int = 3
    delay: timedelta = timedelta(seconds=10)
    backoff: float = 2.0
    longest: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Step:
    """What every step may say. `name` is unique within the journey: it is the position of a run."""

    name: str
    line: int = 0
    summary: str = ""
    when: str | None = None  # `if`: CEL -> Bool; false passes the step by
    then: str | None = (
        None  # a later or earlier step of the same list, or "end": where to go on instead of the next one
    )

    @property
    def kind(self) -> str:
        """`call`, `set` …: the task word."""
        return _WORD[type(self)]

    def bodies(self) -> Mapping[str, tuple[Step, ...]]:
        """The lists of steps inside, by what they are for."""
        return {}


@dataclass(frozen=True, slots=True)
class Do(Step):
    steps: tuple[Step, ...] = ()

    def bodies(self) -> Mapping[str, tuple[Step, ...]]:
        return {"do": self.steps}


@dataclass(frozen=True, slots=True)
class Call(Step):
    """Ask for a catalog action, like anybody: it is judged, done or held or refused."""

    action: str = ""
    with_: Mapping[str, str] = field(default_factory=dict)  # input -> CEL
    recorded: Mapping[str, str] = field(default_factory=dict)  # evidence -> CEL
    reason: str | None = None  # CEL -> String
    mode: Mode | None = None  # None: the journey's
    team: str | None = None  # who does it where the mode is person or propose
    patience: timedelta | None = None  # how long to wait for a system that does not answer; None: the journey's


@dataclass(frozen=True, slots=True)
class Say(Step):
    """Tell the customer something: a call of the journey's `say` action with `text` and what else it takes."""

    with_: Mapping[str, str] = field(default_factory=dict)
    action: str = ""


@dataclass(frozen=True, slots=True)
class Assign(Step):
    """`set`: name values for later steps (`vars.NAME`)."""

    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    when: str | None  # None: taken when no other is
    steps: tuple[Step, ...] = ()
    then: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Switch(Step):
    cases: tuple[Case, ...] = ()

    def bodies(self) -> Mapping[str, tuple[Step, ...]]:
        return {case.name: case.steps for case in self.cases}


@dataclass(frozen=True, slots=True)
class Branch:
    name: str
    steps: tuple[Step, ...]
    line: int = 0


@dataclass(frozen=True, slots=True)
class Fork(Step):
    until: str = "all"  # all: every branch ends; any: the first that ends, the others are left
    branches: tuple[Branch, ...] = ()

    def bodies(self) -> Mapping[str, tuple[Step, ...]]:
        return {branch.name: branch.steps for branch in self.branches}


@dataclass(frozen=True, slots=True)
class For(Step):
    each: str = "item"  # the name of the item in expressions
    in_: str = "[]"  # CEL -> list
    while_: str | None = None  # CEL -> Bool, looked at before each
    steps: tuple[Step, ...] = ()

    def bodies(self) -> Mapping[str, tuple[Step, ...]]:
        return {"do": self.steps}


@dataclass(frozen=True, slots=True)
class Wait(Step):
    for_: timedelta | None = None
    until: str | None = None  # CEL -> timestamp


@dataclass(frozen=True, slots=True)
class Expected:
    """One signal that is listened for."""

    signal: str  # its type
    key: str | None = None  # CEL -> String; None: the run's own id
    where: str | None = None  # CEL -> Bool over `signal`


@dataclass(frozen=True, slots=True)
class Listen(Step):
    until: str = "any"  # any | all of the signals
    signals: tuple[Expected, ...] = ()
    within: timedelta | None = None  # then the error `timeout`


@dataclass(frozen=True, slots=True)
class Try(Step):
    """`try` and its `catch`. Which errors: names, or empty for all. First the retries, then undo, then `do`."""

    steps: tuple[Step, ...] = ()
    errors: tuple[str, ...] = ()
    catch_when: str | None = None  # CEL -> Bool over `error`
    retry: Retry | None = None
    compensate: bool = False  # undo what was done inside, in reverse order
    catch: tuple[Step, ...] = ()

    def bodies(self) -> Mapping[str, tuple[Step, ...]]:
        return {"try": self.steps, "catch": self.catch}


@dataclass(frozen=True, slots=True)
class Emit(Step):
    """Send a signal, to other runs and journeys."""

    signal: str = ""
    key: str | None = None  # CEL -> String
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raise(Step):
    error: str = ""
    text: str | None = None  # CEL -> String


@dataclass(frozen=True, slots=True)
class Escalation:
    after: timedelta
    team: str


@dataclass(frozen=True, slots=True)
class AskPerson(Step):
    """`ask`: a person or team approves, chooses or fills in."""

    team: str = ""
    person: str | None = None
    what: str = "approve"  # approve | choose | fill
    text: str = "''"  # CEL -> String
    choices: tuple[str, ...] = ()
    form: JsonObject = field(default_factory=dict)  # JSON Schema of what is filled in
    show: Mapping[str, str] = field(default_factory=dict)  # evidence -> CEL
    due: timedelta | None = None
    remind: timedelta | None = None  # after how long somebody is reminded
    escalate: Escalation | None = None
    default: Json = None  # the answer when nobody gave one by `due`; None: the error `expired`
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class HandOver(Step):
    """Give the work to a team, with what is done and what is not; `wait`: the run goes on when they are finished."""

    team: str = ""
    text: str = "''"
    wait: bool = True


@dataclass(frozen=True, slots=True)
class Undo(Step):
    """Take back what steps did, in reverse order, by the actions that their catalog entries name."""

    steps: tuple[str, ...] = ()  # names of call steps; empty: everything done so far


@dataclass(frozen=True, slots=True)
class Goal(Step):
    """Say whether the outcome was reached, with evidence. A journey that claims an outcome has one."""

    goal: str = ""
    achieved: str = "true"  # CEL -> Bool
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint(Step):
    """A compliance checkpoint: no call of the actions in `before` without having passed it. Nothing skips it."""

    check: str = "true"  # CEL -> Bool
    text: str = ""  # what it is for
    before: tuple[str, ...] = ()  # actions; empty: every write of the journey


@dataclass(frozen=True, slots=True)
class RunJourney(Step):
    """`run`: start another journey, and wait for its end unless told otherwise."""

    journey: str = ""
    with_: Mapping[str, str] = field(default_factory=dict)
    wait: bool = True


_WORD: Mapping[type[Step], str] = {
    Do: "do",
    Call: "call",
    Say: "say",
    Assign: "set",
    Switch: "switch",
    Fork: "fork",
    For: "for",
    Wait: "wait",
    Listen: "listen",
    Try: "try",
    Emit: "emit",
    Raise: "raise",
    AskPerson: "ask",
    HandOver: "hand_over",
    Undo: "undo",
    Goal: "goal",
    Checkpoint: "checkpoint",
    RunJourney: "run",
}
WORDS = tuple(_WORD.values())


@dataclass(frozen=True, slots=True)
class Start:
    """A signal that starts a run."""

    signal: str
    when: str | None = None  # CEL -> Bool over `signal`
    with_: Mapping[str, str] = field(default_factory=dict)  # input -> CEL over `signal`; empty: its data
    customer: str | None = None  # CEL -> String
    line: int = 0


@dataclass(frozen=True, slots=True)
class Aim:
    """A measure, and what is wanted of it."""

    measure: str
    target: str  # like ">= 0.8"


@dataclass(frozen=True, slots=True)
class Charter:
    """What a journey may do, for whom, and how one sees that it works. The front matter of charter.md."""

    owner: str  # team
    actions: frozenset[str]  # allowed decisions: it may ask for nothing else
    data: frozenset[str]  # data scope
    roles: frozenset[str]  # in which it asks
    approvals: Mapping[str, str]  # action -> when a person approves, in words
    exceptions: str  # the team that gets what fails
    success: tuple[Aim, ...]
    counter: tuple[Aim, ...]  # what must not get worse meanwhile
    summary: str = ""
    text: str = field(default="", repr=False)
    file: str = ""


@dataclass(frozen=True, slots=True)
class Journey:
    """One journey of a release."""

    id: str  # the name of its folder
    version: int
    summary: str
    owner: str
    steps: tuple[Step, ...]
    charter: Charter
    input: JsonObject = field(default_factory=dict)  # JSON Schema
    needs_customer: bool = True
    start: tuple[Start, ...] = ()
    key: tuple[str, ...] = ()  # input names: one run at a time for the same values
    mode: Mode = Mode.ACT
    say: str | None = None  # the action that `say` goes through
    patience: timedelta = timedelta(days=1)  # for systems that do not answer
    on_failure: str = "hand_over"  # hand_over | compensate | fail: what an error that nobody catches leads to
    file: str = ""
    line: int = 1

    def walk(self) -> Iterator[Step]:
        """Every step, outer before inner, in the order of the file."""
        yield from _walk(self.steps)

    @property
    def actions(self) -> frozenset[str]:
        """Every action that its steps ask for."""
        found = {s.action or self.say for s in self.walk() if isinstance(s, (Call, Say))}
        return frozenset(a for a in found if a)


def _walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        for body in step.bodies().values():
            yield from _walk(body)
