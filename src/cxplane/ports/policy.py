"""The policy engine: given one release's policies and schema, it answers one question at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cxplane.domain.decision import Obligations
from cxplane.domain.errors import Mistake
from cxplane.domain.made import Made
from cxplane.domain.people import Caller
from cxplane.domain.release import ControlRepo
from cxplane.domain.values import Json

ALL = "*"  # of what a policy reads: the whole record


@dataclass(frozen=True, slots=True)
class PolicyMeta:
    """One policy: its id, where it stands, what it says of itself."""

    id: str
    effect: str  # permit | forbid
    reason: str
    file: str
    line: int
    owner: str | None
    obligations: Obligations
    text: str
    actions: frozenset[str] | None  # Cedar action and group names in its scope; None = any
    context: frozenset[str]  # context.X that it reads; "*": all of it
    input: frozenset[str]  # context.input.X that it reads; "*": all of it
    facts: frozenset[str]  # context.facts.X that it reads; "*": all of them
    who: bool  # whether it can tell one customer from another by more than attributes: it names one, or compares
    roles: frozenset[str] = frozenset()  # roles in its principal scope; empty = not limited to a role
    kinds: frozenset[str] = frozenset()  # Agent, Person … in its principal scope; empty = all


class Question(Made, frozen=True):
    """May this caller do this, to this customer, given this?"""

    hidden = frozenset({"attributes", "context"})

    caller: Caller
    action: str  # Cedar action: "billing.issue_credit" or "billing.issue_credit:request"
    customer: str | None  # None: the resource is the tenant
    attributes: Mapping[str, Json] = {}  # of the customer
    context: Mapping[str, Json] = {}  # plain JSON; datetimes as `datetime`, decimals as `float`
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: str  # allow | deny | no_decision | error
    policies: tuple[str, ...]  # determining policy ids
    errors: tuple[str, ...] = ()  # never holds values of the context


class Policies(Protocol):
    """The compiled policies of one release."""

    meta: Mapping[str, PolicyMeta]

    def facts_for(self, action: str) -> frozenset[str]:
        """Names of the facts that any policy that may apply to this catalog action (either tier) reads."""
        ...

    def policies_for(self, action: str) -> Sequence[PolicyMeta]:
        """The policies whose scope covers either tier of this catalog action."""
        ...

    def answer(self, question: Question) -> Answer:
        """Never raises: what cannot be evaluated is `no_decision` or `error`, which refuse."""
        ...


class PolicyEngine(Protocol):
    def compile(self, repo: ControlRepo) -> Policies:
        """Parse, validate against the schema made from the catalog, and run the canary. Raises ControlError with all mistakes."""
        ...

    def check(self, repo: ControlRepo) -> Sequence[Mistake]:
        """The mistakes that `compile` would raise, without raising."""
        ...

    def schema(self, repo: ControlRepo) -> str:
        """The Cedar schema (JSON text) made from the catalog, for editors."""
        ...
