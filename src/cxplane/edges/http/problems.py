"""Every error as problem+json (RFC 9457): what is wrong, where, and what to do next."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cxplane.domain import errors
from cxplane.domain.masking import mask, masked
from cxplane.edges.http.cloudevents import SomeNotTaken
from cxplane.edges.http.strict_json import NotJson, NotTaken, TooSlow

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One error answer. `type` is a name in `TYPES`; customer data never enters it."""

    type: str
    detail: str
    next: str
    where: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    mistakes: tuple[Mapping[str, Any], ...] = ()

    @property
    def status(self) -> int:
        return TYPES[self.type][0]

    def body(self, request: str) -> bytes:
        status, title = TYPES[self.type]
        told: dict[str, Any] = {
            "type": f"urn:cxplane:problem:{self.type}",
            "title": title,
            "status": status,
            "detail": mask(self.detail),  # the last net: no message holds personal data in the first place
            "next": self.next,
        }
        if self.where:
            told["where"] = mask(self.where)  # names of fields are what a caller sent
        if self.mistakes:
            told["mistakes"] = masked(list(self.mistakes))
        told["request_id"] = request
        return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")


TYPES: Mapping[str, tuple[int, str]] = {
    "not-json": (400, "The body cannot be read"),
    "credentials": (401, "Nobody we know is asking"),
    "forbidden": (403, "The caller may not do this"),
    "not-found": (404, "There is no such thing"),
    "method": (405, "This address does not take that method"),
    "slow": (408, "The body did not come in time"),
    "conflict": (409, "It contradicts what is on record"),
    "too-large": (413, "The body is too large"),
    "address": (414, "The address is too long"),
    "media-type": (415, "Only JSON is taken here"),
    "malformed": (422, "The request cannot be understood"),
    "overloaded": (429, "More than the plane takes now"),
    "internal": (500, "The plane failed"),
    "control": (500, "The control repo has mistakes"),
    "system": (502, "A business system did not do what was asked"),
    "unavailable": (503, "Something the plane needs does not answer"),
}
"""Problem type -> status and title."""


def problem_of(error: BaseException) -> Problem:
    """What to tell about an error. One that nobody foresaw tells nothing of its inside."""
    match error:
        case errors.CallerUnknown():
            return Problem(
                "credentials", str(error), error.next, headers={"WWW-Authenticate": 'Bearer realm="cxplane"'}
            )
        case errors.Forbidden():
            return Problem("forbidden", str(error), error.next)
        case NotJson():
            return Problem("not-json", str(error), error.next, where=error.where)
        case NotTaken():
            return Problem("media-type", str(error), error.next)
        case TooSlow():
            return Problem("slow", str(error), error.next, headers={"Connection": "close"})
        case SomeNotTaken():
            return Problem("malformed", str(error), error.next, where=error.where, mistakes=error.mistakes)
        case errors.Malformed():
            return Problem("malformed", str(error), error.next, where=error.where)
        case errors.NotFound():
            return Problem("not-found", str(error), error.next)
        case errors.Conflict():
            return Problem("conflict", str(error), error.next)
        case errors.Overloaded():
            return Problem("overloaded", str(error), error.next, headers=_retry(error.retry_after_s))
        case errors.StoreUnavailable():
            return Problem("unavailable", str(error), error.next, headers=_retry(1))
        case errors.StoreError():
            return Problem("unavailable", str(error), error.next, headers=_retry(5))
        case errors.NotSealed():
            return Problem("conflict", str(error), error.next, headers=_retry(5))
        case errors.FactFailure():
            return Problem("unavailable", str(error), error.next, headers=_retry(5))
        case errors.SystemFailure(kind=errors.FailureKind.RETRY):
            return Problem("unavailable", str(error), error.next, headers=_retry(error.retry_after_s or 5))
        case errors.SystemFailure():
            return Problem("system", str(error), error.next)
        case errors.ControlError():
            mistakes = tuple({"file": m.file, "line": m.line, "what": m.what, "hint": m.hint} for m in error.mistakes)
            return Problem("control", "the control repo has mistakes", error.next, mistakes=mistakes)
        case errors.CxplaneError():
            return Problem("internal", str(error), error.next)
        case _:
            return Problem(
                "internal",
                "an error that nobody foresaw",
                "Ask again with the same key; if it stays, "
                "give the request id to whoever runs the plane: it is in the log.",
            )


def problem_of_status(status: int, *, headers: Mapping[str, str] | None = None) -> Problem:
    """For what the router itself turns away."""
    match status:
        case 404:
            return Problem(
                "not-found", "nothing lives at this address", "See /openapi.json for the addresses there are."
            )
        case 405:
            allowed = (headers or {}).get("allow", "")
            return Problem(
                "method",
                "this address does not take that method",
                f"Use one of: {allowed}.",
                headers=dict(headers or {}),
            )
        case 413:
            return Problem(
                "too-large",
                "the body is larger than 256 kB",
                "Send less; keep documents where they are and send a reference.",
                headers={"Connection": "close"},
            )
        case _ if status < 500:
            return Problem("malformed", "the request cannot be understood", "Mend the request and send it again.")
        case _:
            return problem_of(Exception())


def _retry(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
