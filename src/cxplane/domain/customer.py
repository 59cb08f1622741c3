"""Whom it is about: the customer, how sure we are, and what they allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cxplane.domain.values import Json


@dataclass(frozen=True, slots=True)
class Assurance:
    """How sure we are that it is them."""

    level: int  # 0 nobody checked … 3 strongest; the operator's scale
    method: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Consent:
    """What the customer allows, or no longer allows. None in `channel` means every channel; empty `data` every class."""

    purpose: str
    granted: bool
    at: datetime
    source: str
    channel: str | None = None
    data: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Identity:
    kind: str  # email, phone, account …
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Customer:
    id: str
    attributes: Mapping[str, Json] = field(default_factory=dict, repr=False)
    identities: tuple[Identity, ...] = field(default=(), repr=False)
    assurances: tuple[Assurance, ...] = ()
    consents: tuple[Consent, ...] = ()  # newest statement per purpose, channel and data first

    def assurance_at(self, now: datetime) -> Assurance | None:
        """The strongest assurance still in force, or None."""
        alive = [a for a in self.assurances if a.until > now]
        return max(alive, key=lambda a: (a.level, a.until), default=None)

    def purposes_allowed(self, channel: str, data: frozenset[str]) -> frozenset[str]:
        """Purposes for which the newest statement that covers this channel and all these data classes grants."""
        allowed: set[str] = set()
        for purpose in {c.purpose for c in self.consents}:
            mine = sorted((c for c in self.consents if c.purpose == purpose), key=lambda c: c.at)
            if data:
                states = [self._latest(mine, channel, one) for one in data]
            else:
                states = [self._latest(mine, channel, None)]
            if all(states):
                allowed.add(purpose)
        return frozenset(allowed)

    @staticmethod
    def _latest(statements: list[Consent], channel: str, data: str | None) -> bool:
        """The last word on one data class: a later statement overrules an earlier one that it covers.

        Without a data class (the action touches none), a withdrawal of any class does not count, a grant of any does not either.
        """
        answer = False
        for said in statements:
            if said.channel not in (None, channel):
                continue
            if said.data and (data is None or data not in said.data):
                continue
            answer = said.granted
        return answer


@dataclass(frozen=True, slots=True)
class Recorded:
    """Evidence that a caller attached to a conversation."""

    name: str
    value: Json = field(repr=False)
    by: str  # caller name
    at: datetime


@dataclass(frozen=True, slots=True)
class Situation:
    """What the store knows when a request is judged."""

    customer: Customer | None
    conversation_known: bool = True  # True also where the request names none
    conversation_customer: str | None = None
    recorded: Mapping[str, Recorded] = field(default_factory=dict)
    version: str | None = field(default=None, compare=False)  # of all that, as the store has it: see `record.AsSeen`
