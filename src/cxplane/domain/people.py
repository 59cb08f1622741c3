"""Who may ask and who may approve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cxplane.domain.values import Json


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
class Limits:
    """What a credential is limited to, of all that its caller may do."""

    scope: frozenset[str] | None = None  # of `domain.keys.SCOPES`; None = everything
    actions: frozenset[str] | None = None  # that it may ask for; None = all


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks: a party that the control repo knows, with roles and, for agents, a data scope."""

    kind: CallerKind
    id: str
    roles: frozenset[str] = frozenset()
    team: str | None = None
    data: frozenset[str] | None = None  # data classes in scope; None = not limited here
    actions: frozenset[str] | None = None  # journeys: the decisions their charter allows; None = not limited here
    attributes: Mapping[str, Json] = field(
        default_factory=dict, hash=False
    )  # region, level …: as plane.yaml types them
    limits: Limits = Limits()  # of the credential that was shown
    version: int | None = None
    owner: str | None = None
    summary: str = ""
    instructions: str = field(default="", repr=False)
    file: str = ""

    @property
    def name(self) -> str:
        """`agent:fin`, `person:maria` …: one text for tables, tests and logs."""
        return self.kind + ":" + self.id  # a format would ask the enumeration, at ten times the cost


@dataclass(frozen=True, slots=True)
class Role:
    id: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Team:
    id: str
    lead: str | None = None
    summary: str = ""
