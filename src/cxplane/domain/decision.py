"""The answer to a request: `Allowed`, `Held` or `Refused`, always with reasons.

An `Allowed` is made in one file only, `decide/judge.py`; `act` takes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Never

from msgspec.structs import force_setattr

from cxplane.domain.made import Made
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json

if TYPE_CHECKING:  # the files of a control repo are checked without the record
    from cxplane.domain.record import BudgetExhausted


class Verdict(StrEnum):
    ALLOW = "allow"
    HOLD = "hold"
    REFUSE = "refuse"


class Reason(Made, frozen=True):
    """One ground of a decision. `code` is for machines: a policy gives `policy`, everything else its own word."""

    code: str  # policy | no_policy | policy_error | input | caller | customer | conversation | fact | unavailable | scope | consent | budget | mode | confidence | key | approver | action
    text: str
    effect: Verdict
    policy: str | None = None  # policy id (its @id)
    file: str | None = None
    line: int | None = None
    where: str | None = None  # JSON pointer into the input, fact name, budget id …


UNAVAILABLE = "unavailable"  # the code of a reason: the system that a fact comes from does not answer now


def for_now(reasons: Iterable[Reason]) -> bool:
    """Whether nothing but a system that does not answer refuses it: asked again later, it may be allowed."""
    refusing = [reason.code for reason in reasons if reason.effect is Verdict.REFUSE]
    return bool(refusing) and all(code == UNAVAILABLE for code in refusing)


@dataclass(frozen=True, slots=True)
class FactValue:
    """One known thing with value, source and freshness."""

    name: str
    value: Json = field(repr=False)
    source: str  # "billing.get_account", "computed", "table baggage_allowance", "recorded by agent:fin"
    as_of: datetime
    age_s: float = 0.0


class Tier(Made, frozen=True):
    """What the policy engine answered for one of the two Cedar actions."""

    action: str
    outcome: str  # allow | deny | no_decision | error
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Obligations(Made, frozen=True):
    """What the determining policies oblige us to: the union of all, strictest wins."""

    approvers: frozenset[str] = frozenset()  # roles; every policy's set must be met: see `approver_sets`
    approver_sets: tuple[frozenset[str], ...] = ()  # one role of each set must be held
    require: frozenset[str] = frozenset()  # "four-eyes", "log", "redact:email" …
    cites: frozenset[str] = frozenset()
    expires_s: float | None = None  # the shortest
    default: str = "refuse"  # what happens when nobody answers: refuse (the only safe one), or escalate:<role>


class Grounds(Made, frozen=True):
    """Everything that led to a decision, enough to explain and to repeat it."""

    hidden = frozenset({"context"})

    release: str  # content hash
    at: datetime
    reasons: tuple[Reason, ...]
    determined_by: str  # rule | policy | model | person
    facts: tuple[FactValue, ...] = ()
    tiers: tuple[Tier, ...] = ()
    obligations: Obligations = Obligations()
    context: Mapping[str, Json] = {}  # what was seen beside input and facts
    mode: str = "act"
    money: int | None = None  # minor units that count against budgets
    approver: str | None = None
    took_ms: float = 0.0
    facts_ms: float = 0.0  # of it, having the facts
    over: BudgetExhausted | None = None  # the budget that had no room

    def timed(self, took_ms: float, facts_ms: float) -> None:
        """How long it took is known once it is made; nothing else is told later. (In place, for an `Allowed` is never made from another one.)"""
        force_setattr(self, "took_ms", took_ms)
        force_setattr(self, "facts_ms", facts_ms)


class Allowed(Made, frozen=True):
    """It may be carried out. Made in `decide/judge.py` only."""

    request: ActionRequest
    grounds: Grounds
    key: str | None  # hash of the business key; None for reads

    verdict = Verdict.ALLOW

    def changed(self, **what: Any) -> Never:
        raise TypeError("an Allowed is made in decide/judge.py, never from another one")


class Held(Made, frozen=True):
    """It waits for a person."""

    request: ActionRequest
    grounds: Grounds
    key: str | None
    approver_sets: tuple[frozenset[str], ...]
    expires_at: datetime
    default: str = "refuse"

    verdict = Verdict.HOLD


class Refused(Made, frozen=True):
    """It is not done. Said with the reasons and what would change the answer."""

    request: ActionRequest
    grounds: Grounds

    verdict = Verdict.REFUSE


Decision = Allowed | Held | Refused
