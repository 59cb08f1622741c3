"""Who may ask and who may approve."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class CallerKind(StrEnum):
    AGENT = "agent"  # a narrow AI worker
    PERSON = "person"
    JOURNEY = "journey"
    SYSTEM = "system"

    @property
    def cedar(self) -> str:
        """The entity type in Cedar."""
        return self.value.capitalize()

    @property
    def is_ai(self) -> bool:
        return self is CallerKind.AGENT


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks: a party that the control repo knows, with roles and, for agents, a data scope."""

    kind: CallerKind
    id: str
    roles: frozenset[str] = frozenset()
    team: str | None = None
    data: frozenset[str] | None = None  # data classes in scope; None = not limited here
    actions: frozenset[str] | None = None  # journeys: the decisions their charter allows; None = not limited here
    version: int | None = None
    owner: str | None = None
    summary: str = ""
    instructions: str = field(default="", repr=False)
    file: str = ""

    @property
    def name(self) -> str:
        """`agent:fin`, `person:maria` …: one text for tables, tests and logs."""
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class Role:
    id: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Team:
    id: str
    lead: str | None = None
    summary: str = ""
