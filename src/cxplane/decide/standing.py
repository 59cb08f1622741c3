"""What must stand before policy is asked: the request's shape, who asks, whom it is about, what they allow.

Plain rules over what is at hand, no facts; so nothing is read from a system for a request that fails here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from datetime import datetime

from cxplane.decide.rulebook import Rulebook
from cxplane.decide.shape import not_plain
from cxplane.domain.catalog import Action, Mode
from cxplane.domain.customer import Situation
from cxplane.domain.decision import Reason, Verdict
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json


def purpose_of(action: Action, request: ActionRequest) -> str:
    return request.purpose or action.purpose


def caller_of(rulebook: Rulebook, request: ActionRequest) -> Caller | None:
    """The caller as this release knows them: its roles and data scope count, not those the request was made with."""
    return rulebook.release.repo.callers.get(request.caller.name)


def objections(rulebook: Rulebook, request: ActionRequest, situation: Situation) -> tuple[Reason, ...]:
    """Every ground on which the request is refused before policy is asked; empty if there is none."""
    rules = rulebook.rules.get(request.action)
    if rules is None:
        near = difflib.get_close_matches(request.action, rulebook.rules, 1)
        hint = f"did you mean {near[0]}?" if near else "GET /v1/actions lists what there is."
        return (_no("action", f"the catalog has no action of this name; {hint}"),)
    action = rules.action
    found = [*rules.input.wrong(request.input)]
    if not found and (problem := rulebook.key_problem(request)):
        found.append(problem)
    found.extend(_evidence(request))
    found.extend(_people(rulebook, request, situation, action))
    if not any(reason.code in ("customer", "conversation") for reason in found):
        found.extend(_consent(request, situation, action))
    return tuple(found)


def _evidence(request: ActionRequest) -> Iterator[Reason]:
    confidence = request.confidence
    if confidence is not None and not (math.isfinite(confidence) and 0 <= confidence <= 1):
        yield _no("input", "confidence must lie between 0 and 1", "/confidence")
    if (problem := not_plain(dict(request.recorded))) is not None:
        yield _no("input", f"recorded{problem}", "/recorded")


def _people(rulebook: Rulebook, request: ActionRequest, situation: Situation, action: Action) -> Iterator[Reason]:
    caller = caller_of(rulebook, request)
    if caller is None:
        yield _no("caller", f"this release knows no {request.caller.kind} of this name; add it to people/ or agents/")
    if caller is not None and caller.actions is not None and action.id not in caller.actions:
        yield _no(
            "scope", f"the charter of {caller.name} does not allow {action.id}; {caller.file} says what it allows"
        )
    if caller is not None and caller.data is not None and (beyond := sorted(action.data - caller.data)):
        yield _no(
            "scope",
            f"{action.id} touches the data classes {', '.join(beyond)}, which are outside the data scope of {caller.name}",
        )
    if action.mode is Mode.PERSON and request.caller.kind is not CallerKind.PERSON:
        yield _no("mode", f"only a person may do {action.id}; hand it to one")
    if request.customer is None:
        if action.needs_customer:
            yield _no("customer", f"{action.id} is about a customer: name one")
    elif situation.customer is None or situation.customer.id != request.customer:
        yield _no("customer", "no such customer is known; PUT /v1/customers/{id} makes one known")
    if request.conversation is not None:
        if not situation.conversation_known:
            yield _no("conversation", "no such conversation is known; POST /v1/conversations opens one")
        elif situation.conversation_customer is not None and situation.conversation_customer != request.customer:
            yield _no("conversation", "the conversation is with another customer than the request names")


def _consent(request: ActionRequest, situation: Situation, action: Action) -> Iterator[Reason]:
    """The customer must allow the purpose of the entry, and the one that the caller states, for all data touched."""
    customer = situation.customer
    if not action.data or request.customer is None or customer is None:
        return
    allowed = customer.purposes_allowed(request.channel, action.data)
    for purpose in dict.fromkeys((action.purpose, purpose_of(action, request))):
        if purpose not in allowed:
            yield _no(
                "consent",
                f"the customer has given no consent in force to use {', '.join(sorted(action.data))} data "
                f"for the purpose {purpose!r} on this channel",
                purpose,
            )


def consents(request: ActionRequest, situation: Situation, action: Action) -> frozenset[str]:
    """The purposes in force for the data that the action touches."""
    if situation.customer is None:
        return frozenset()
    return situation.customer.purposes_allowed(request.channel, action.data)


def assurance(situation: Situation, now: datetime) -> dict[str, int | str]:
    """Level 0 and method `none` where nobody is sure, or no longer."""
    best = situation.customer.assurance_at(now) if situation.customer else None
    return {"level": best.level, "method": best.method} if best else {"level": 0, "method": "none"}


def seen(request: ActionRequest, situation: Situation, action: Action | None, now: datetime) -> dict[str, Json]:
    """What the store said of the customer and the conversation, where it bears on the answer."""
    found: dict[str, Json] = {"assurance": dict(assurance(situation, now))}
    if action is not None:
        found["consents"] = sorted(consents(request, situation, action))
    unknown = []
    if request.customer is not None and (situation.customer is None or situation.customer.id != request.customer):
        unknown.append("customer")
    if request.conversation is not None and not situation.conversation_known:
        unknown.append("conversation")
    if unknown:
        found["unknown"] = list(unknown)
    if situation.conversation_customer not in (None, request.customer):
        found["conversation_with"] = situation.conversation_customer
    return found


def _no(code: str, text: str, where: str | None = None) -> Reason:
    return Reason(code=code, text=text, effect=Verdict.REFUSE, where=where)
