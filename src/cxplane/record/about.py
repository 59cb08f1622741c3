"""What an explanation says beside the entries of the request: the words of its releases, and what it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxplane.domain.values import Json, JsonObject


@dataclass(frozen=True, slots=True)
class About:
    """Everything is optional: what is not there is not told."""

    zone: str = "UTC"  # IANA name; times are told in it
    currency: str | None = None  # ISO 4217; without it money is told in minor units
    policies: Mapping[tuple[str, str], JsonObject] = field(default_factory=dict)  # (release, policy) -> text, owner
    tried: Mapping[int, Sequence[JsonObject]] = field(
        default_factory=dict
    )  # position of a decision that no policy spoke for -> policies for this caller: policy, file, line, text, policy_text
    budgets: Mapping[int, Sequence[JsonObject]] = field(default_factory=dict)  # position of the decision -> each budget
    askable: Mapping[str, Sequence[str]] = field(default_factory=dict)  # approval -> persons who could decide it
    action: JsonObject = field(default_factory=dict)  # summary, system, owner
    links: Mapping[str, Json] = field(default_factory=dict)  # replaced_by, undone_by, run, journey, step
