"""What the system confirmed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from cxplane.domain.made import Made
from cxplane.domain.values import JsonObject


class Status(StrEnum):
    """Where a request stands."""

    RUNNING = "running"  # intent on record, no outcome yet
    DONE = "done"
    FAILED = "failed"  # certainly not done
    UNKNOWN = "unknown"  # being found out
    HELD = "held"
    REFUSED = "refused"
    PREVIEWED = "previewed"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"  # an approver edited it; see the request that replaces it
    STUCK = "stuck"  # a person must find out

    @property
    def final(self) -> bool:
        return self not in (Status.RUNNING, Status.UNKNOWN, Status.HELD, Status.STUCK)


class Attempt(Made, frozen=True):
    """One call that was tried."""

    at: datetime
    took_ms: float
    result: str  # done | retry | refused | unknown; of a look at the system: confirmed | not_done | unclear
    said: str = ""  # no customer data


class Outcome(Made, frozen=True):
    hidden = frozenset({"output"})

    request: str
    status: Status  # DONE | FAILED | UNKNOWN | STUCK
    at: datetime
    output: JsonObject | None = None
    confirmed_by: str | None = None  # "reply", "read billing.get_credit", "person:maria"
    error: str | None = None  # plain words, no customer data
    kind: str | None = None  # retry | refused | unknown: the class of a failure
    attempts: tuple[Attempt, ...] = ()
