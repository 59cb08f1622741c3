"""A proposal to act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cxplane.domain.made import Made
from cxplane.domain.people import Caller
from cxplane.domain.values import Json, JsonObject, digest


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another action that the proposer thought of, and why it was not taken."""

    action: str
    score: float | None = None
    why_not: str = ""


class ActionRequest(Made, frozen=True):
    """Somebody asks for one action. `input` is what the contract describes; evidence is in `recorded`."""

    hidden = frozenset({"input", "reason", "recorded"})

    id: str
    tenant: str
    action: str
    input: JsonObject
    caller: Caller
    at: datetime
    customer: str | None = None
    conversation: str | None = None
    channel: str = "api"
    purpose: str | None = None  # None: the purpose of the catalog entry
    confidence: float | None = None
    reason: str = ""
    candidates: tuple[Candidate, ...] = ()
    recorded: Mapping[str, Json] = {}
    dry_run: bool = False
    replaces: str | None = None  # the request that an approver edited
    undoes: str | None = None  # the request that this one takes back
    cause: str | None = None
    run: str | None = None  # the run of a journey that asks

    @property
    def input_hash(self) -> str:
        return digest(self.input)
