"""A control repo, read and checked; and a release of it, which decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cxplane.domain.budget import Budget
from cxplane.domain.catalog import Action, System, Table
from cxplane.domain.journey import Bounds, Journey
from cxplane.domain.people import Caller, CallerKind, Role, Team
from cxplane.domain.values import JsonObject


@dataclass(frozen=True, slots=True)
class Plane:
    name: str
    tenant: str
    owner: str
    time_zone: str
    currency: str
    languages: tuple[str, ...] = ("en",)
    customer_attributes: Mapping[str, str] = field(default_factory=dict)  # name -> Cedar type
    caller_attributes: Mapping[str, str] = field(
        default_factory=dict
    )  # of persons, services and agents; name -> Cedar type
    jwt: Mapping[str, str] | None = None  # issuer, audience, jwks
    gates: tuple[str, ...] = ("check", "test", "conformance")
    confidence: float | None = None
    access: Mapping[str, frozenset[str]] = field(default_factory=dict)  # permission -> roles; missing = nobody
    retention: Mapping[str, timedelta] = field(
        default_factory=dict
    )  # class of data -> how long it is kept; missing: for ever
    journeys: Bounds = field(default=Bounds())
    sources: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # caller -> sources of signals that it speaks for, besides its own name


PERMISSIONS = ("customers", "assurance", "consents", "facts", "record", "journeys", "signals", "erase")
"""What `access` in plane.yaml may grant: customer records, recording assurance, consents and facts, reading the record, starting
and steering journeys, sending signals, erasing customers."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    file: str  # relative to the control repo
    text: str


@dataclass(frozen=True, slots=True)
class ControlRepo:
    """Everything that the files say, with references resolved to exist."""

    plane: Plane
    actions: Mapping[str, Action]
    systems: Mapping[str, System]
    tables: Mapping[str, Table]
    policies: tuple[PolicyFile, ...]
    budgets: tuple[Budget, ...]
    roles: Mapping[str, Role]
    teams: Mapping[str, Team]
    callers: Mapping[str, Caller]  # "agent:fin" -> Caller
    journeys: Mapping[str, Journey] = field(default_factory=dict)
    policy_tests: tuple[JsonObject, ...] = ()  # each with `file` and `line` beside the keys of the format
    files: Mapping[str, str] = field(default_factory=dict, repr=False)  # relative path -> text: what a release freezes

    def caller(self, name: str) -> Caller | None:
        """By `kind:id`, or by a bare id where only one kind has it."""
        if name in self.callers:
            return self.callers[name]
        found = [self.callers[f"{kind}:{name}"] for kind in CallerKind if f"{kind}:{name}" in self.callers]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable version of the control repo: the same files give the same hash."""

    hash: str  # SHA-256 of the canonical map path -> text, 64 hex digits
    repo: ControlRepo

    @property
    def short(self) -> str:
        return self.hash[:12]


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    """A line in the list of releases."""

    hash: str
    at: datetime
    by: str
    note: str = ""
    live: bool = False
    gates: Mapping[str, str] = field(default_factory=dict)  # gate -> passed / why not asked
