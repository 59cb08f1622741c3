"""The action catalog: what can be done to a business system, its contract and its governor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from cxplane.domain.values import JsonObject


class Effect(StrEnum):
    READ = "read"
    WRITE = "write"


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    IRREVERSIBLE = "irreversible"

    @property
    def points(self) -> int:
        """What one such action counts against a budget's risk limit."""
        return {Risk.LOW: 1, Risk.MEDIUM: 3, Risk.HIGH: 10, Risk.IRREVERSIBLE: 30}[self]


class Mode(StrEnum):
    """Who does the step: a person; a person after an AI proposed it; an AI alone."""

    PERSON = "person"
    PROPOSE = "propose"
    ACT = "act"


class OnError(StrEnum):
    """What a fact that cannot be had leads to."""

    REFUSE = "refuse"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class ReadFact:
    """The output of one read; with `each`, a list with one read per item of a list."""

    name: str
    read: str  # action id of a read
    with_: Mapping[str, str]  # parameter -> CEL
    each: str | None = None  # CEL -> list
    item: str = "item"  # the name of the item in `with_`
    max_age: timedelta | None = None  # a result this young may be used again
    on_error: OnError = OnError.REFUSE
    optional: bool = False  # a "not found" leaves the fact absent
    line: int = 0


@dataclass(frozen=True, slots=True)
class ComputedFact:
    """A CEL expression over input and earlier facts."""

    name: str
    cel: str
    type: str | None = None  # Bool | Long | String | Datetime | Decimal | Set<String> | Set<Long>
    optional: bool = False
    on_error: OnError = OnError.REFUSE
    line: int = 0


@dataclass(frozen=True, slots=True)
class TableFact:
    """One cell of a table that lives beside the entry."""

    name: str
    table: str
    row: str  # CEL -> String
    column: str  # CEL -> String
    type: str
    optional: bool = False  # a missing row or column leaves the fact absent
    on_error: OnError = OnError.REFUSE
    line: int = 0


@dataclass(frozen=True, slots=True)
class RecordedFact:
    """Evidence that a caller attached to the conversation, with who and when."""

    name: str
    recorded: str
    type: str = "String"
    optional: bool = False
    max_age: timedelta | None = None
    on_error: OnError = OnError.REFUSE
    line: int = 0


FactSpec = ReadFact | ComputedFact | TableFact | RecordedFact


class ConfirmWhen(StrEnum):
    ALWAYS = "always"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Confirm:
    """The read that tells whether the action was done."""

    read: str
    with_: Mapping[str, str]
    expect: str  # CEL -> Bool over `result`, `input`, `output`, `request`
    when: ConfirmWhen


@dataclass(frozen=True, slots=True)
class Undo:
    """The action that takes it back; `none` holds the reason where there is none."""

    call: str | None = None
    with_: Mapping[str, str] = field(default_factory=dict)
    none: str | None = None


@dataclass(frozen=True, slots=True)
class HttpCall:
    """How an action is reached over HTTP. Values of query, body and output are CEL; None means the default."""

    system: str
    method: str
    path: str  # with {placeholders} from the input
    query: Mapping[str, str] | None = None
    body: Mapping[str, str] | None = None
    output: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[int, ...] = ()  # statuses, beside 4xx, that mean "the system said no"


@dataclass(frozen=True, slots=True)
class PythonCall:
    """An action done by a Python coroutine: `module:function`."""

    system: str
    callable: str


Via = HttpCall | PythonCall


@dataclass(frozen=True, slots=True)
class Limits:
    timeout: timedelta = timedelta(seconds=5)
    attempts: int = 3
    rate: float | None = None  # calls per second
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of the catalog."""

    id: str  # "<system folder>.<name>"
    version: int
    summary: str
    owner: str
    effect: Effect
    risk: Risk
    input: JsonObject  # JSON Schema
    output: JsonObject  # JSON Schema
    via: Via
    key: tuple[str, ...] = ()
    facts: Mapping[str, FactSpec] = field(default_factory=dict)
    money: str | None = None  # CEL -> minor units
    data: frozenset[str] = frozenset()
    purpose: str = "service"
    needs_customer: bool = True
    confirm: Confirm | None = None
    undo: Undo | None = None
    mode: Mode = Mode.ACT
    confidence: float | None = None
    limits: Limits = Limits()
    file: str = ""
    line: int = 1

    @property
    def system(self) -> str:
        return self.via.system

    @property
    def group(self) -> str:
        """The part of the id before the first dot."""
        return self.id.split(".", 1)[0]

    @property
    def writes(self) -> bool:
        return self.effect is Effect.WRITE


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    rows: Mapping[str, Mapping[str, object]]
    file: str = ""


@dataclass(frozen=True, slots=True)
class Breaker:
    """After `failures` in a row, calls fail at once for `open_for`; then one call tries."""

    failures: int = 5
    open_for: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class System:
    """Where a business system is reached. Secrets by name only."""

    id: str
    owner: str
    base_url: str | None = None
    auth: Mapping[str, str] = field(
        default_factory=dict
    )  # {"bearer": SECRET} | {"header": NAME, "secret": SECRET} | {"basic": SECRET}
    key_header: str = "Idempotency-Key"
    health: str | None = None
    rate: float | None = None
    concurrency: int | None = None
    breaker: Breaker = Breaker()
    conform: JsonObject = field(default_factory=dict)
    file: str = ""
