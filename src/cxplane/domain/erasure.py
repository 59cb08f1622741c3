"""Erasing a customer: what was destroyed, and what is left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cxplane.domain.record import NewEntry


@dataclass(frozen=True, slots=True)
class DestroyedKey:
    """A key that nobody has any more. `proof`: SHA-256, in hex, of the wrapped key that was destroyed."""

    id: str
    proof: str


@dataclass(frozen=True, slots=True)
class CustomerErased:
    """A customer was erased: the entry of the record that says so."""

    customer: str
    at: datetime
    by: str
    position: int  # of the entry customer.erased
    keys: tuple[DestroyedKey, ...]
    entries: int  # that nobody can read any more


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What keeps a customer from being erased: it must end first, or the hold be lifted."""

    runs: tuple[tuple[str, str, str], ...] = ()  # id, journey, status
    requests: tuple[tuple[str, str, str], ...] = ()  # id, action, status
    on_hold: bool = False


@dataclass(frozen=True, slots=True)
class EndedKey:
    """How a key of the customer ended. `why`: erased | retention."""

    id: str
    at: datetime
    by: str
    why: str
    proof: str


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a customer after every entry was looked at."""

    customer: str
    keys: tuple[EndedKey, ...]
    unreadable: int  # entries sealed by a key that is gone
    readable: int  # entries sealed by a key that lives: written since, or never erased
    unsealed: int  # entries from before personal data was sealed
    rows: int  # of projections that still hold something
    living_keys: int
    looked_at: int  # entries with personal data, of all customers

    @property
    def nothing(self) -> bool:
        """Whether nothing of the customer can be read any more."""
        return bool(self.keys) and not (self.readable or self.unsealed or self.rows or self.living_keys)


def customer_hold(customer: str, *, on: bool, reason: str, at: datetime, actor: str) -> NewEntry:
    """A legal hold: while it is on, nothing of the customer is erased, neither by hand nor by time."""
    body = {"on": on} | ({"reason": reason} if reason else {})
    return NewEntry("customer.hold", customer, at, actor, body)


def store_redone(restored: int, *, upto: int | None, at: datetime, actor: str) -> NewEntry:
    """What the time before a restore took away was done again: `restored` is the entry that told of it, `upto` the last entry
    that was known of that time; None where a person did it by hand."""
    return NewEntry("store.redone", "store", at, actor, {"restored": restored} | ({"upto": upto} if upto else {}))
