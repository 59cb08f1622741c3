"""The same decision once more, from what its entries say: under the release that made it, or under another one.

Under its own release everything that judging saw is on record, so the answer must be the same. Under another release the
readings of then are used where that release asks for the same ones, what is computed is computed anew, and what the record
cannot know is named: then the answer is a guess, and is told as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from cxplane.decide.facts import Facts, NotHad, gather
from cxplane.decide.judge import exhausted, judge
from cxplane.decide.reasons import lack_of
from cxplane.decide.rulebook import Rulebook
from cxplane.decide.standing import objections
from cxplane.domain.budget import Reservation
from cxplane.domain.catalog import ReadFact, RecordedFact
from cxplane.domain.customer import Assurance, Consent, Customer, Recorded, Situation
from cxplane.domain.decision import Allowed, Decision, Grounds, Held
from cxplane.domain.decision_body import obligations_body, reason_body
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import BudgetExhausted, BudgetUse
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json, JsonObject

CONFIRMED = "customer_confirmed"


@dataclass(frozen=True, slots=True)
class Again:
    """A decision made once more. `unknown`: what this release would have looked at and the record does not hold."""

    decision: Decision
    facts: Facts
    unknown: tuple[str, ...] = ()


async def same_release(rulebook: Rulebook, request: ActionRequest, grounds: Grounds) -> Again:
    """Judge again under the release of then. What was computed from the readings is computed once more, to be compared."""
    situation = situation_of(rulebook, request, grounds)
    recorded = Facts(grounds.facts, _lacks(grounds), grounds.money)
    decision = judge(rulebook, request, situation, recorded, grounds.at, _approver(grounds))
    decision = after_budget(rulebook, decision, grounds.over)
    return Again(decision, await _gathered(rulebook, rulebook, request, situation, grounds))


async def other_release(then: Rulebook, other: Rulebook, request: ActionRequest, grounds: Grounds) -> Again:
    """What another release would have said of the same request at the same time, as far as the record can tell.

    Budgets come after: see `shortage`.
    """
    situation = situation_of(then, request, grounds)
    facts = await _gathered(then, other, request, situation, grounds)
    decision = judge(other, request, situation, facts, grounds.at, _approver(grounds))
    return Again(decision, facts, tuple(_unknown(then, other, request, situation, grounds, facts)))


Counter = tuple[str, str, str]  # budget, scope, window


def shortage(wanted: Sequence[Reservation], used: Mapping[Counter, BudgetUse]) -> BudgetExhausted | None:
    """The first limit that these reservations would pass, after what was used; None if there is room."""
    for one in wanted:
        before = used.get((one.budget, one.scope, one.window))
        for limit, asked in (("money", one.money), ("count", one.count), ("risk", one.risk)):
            allowed, had = getattr(one, f"limit_{limit}"), getattr(before, limit, 0)
            if allowed is not None and had + asked > allowed and not one.force:
                return BudgetExhausted(one.budget, limit, had, asked, allowed)
    return None


def after_budget(rulebook: Rulebook, decision: Decision, over: BudgetExhausted | None) -> Decision:
    """What an allowed request became for want of room in a budget."""
    budget = next((b for b in rulebook.release.repo.budgets if over and b.id == over.budget), None)
    if over is None or budget is None or not isinstance(decision, Allowed):
        return decision
    return exhausted(decision, budget, over)


def situation_of(rulebook: Rulebook, request: ActionRequest, grounds: Grounds) -> Situation:
    """What the store said then, from what the decision kept of it (`entries.SEEN`)."""
    seen = grounds.context
    unknown = seen.get("unknown", ())
    customer = None
    if request.customer is not None and "customer" not in unknown:
        sure: Mapping[str, Any] = seen.get("assurance", {})
        level, method = sure.get("level", 0), sure.get("method", "none")
        later = grounds.at + timedelta(days=1)
        customer = Customer(
            id=request.customer,
            attributes=seen.get("attributes", {}),
            assurances=(Assurance(level, method, later),) if (level, method) != (0, "none") else (),
            consents=tuple(Consent(purpose, True, grounds.at, "record") for purpose in seen.get("consents", ())),
        )
    return Situation(
        customer=customer,
        conversation_known="conversation" not in unknown,
        conversation_customer=seen.get("conversation_with", request.customer if request.conversation else None),
        recorded=dict(_evidence(rulebook, request, grounds)),
    )


def _evidence(rulebook: Rulebook, request: ActionRequest, grounds: Grounds) -> Iterator[tuple[str, Recorded]]:
    rules = rulebook.rules.get(request.action)
    for fact in grounds.facts:
        spec = rules.action.facts.get(fact.name) if rules else None
        if isinstance(spec, RecordedFact):
            by = fact.source.removeprefix("recorded by ")
            yield spec.recorded, Recorded(spec.recorded, fact.value, by, fact.as_of)
    if "confirmed" in grounds.context:
        yield CONFIRMED, Recorded(CONFIRMED, grounds.context["confirmed"], request.caller.name, grounds.at)


def _lacks(grounds: Grounds) -> tuple[NotHad, ...]:
    return tuple(lack for reason in grounds.reasons if (lack := lack_of(reason)) is not None)


def _approver(grounds: Grounds) -> Caller | None:
    if grounds.approver is None:
        return None
    kind, _, id = grounds.approver.partition(":")
    return Caller(CallerKind(kind), id)


# facts ------------------------------------------------------------------------------------------------------


async def _gathered(
    then: Rulebook, now: Rulebook, request: ActionRequest, situation: Situation, grounds: Grounds
) -> Facts:
    """The readings of then where the release asks for the same; the rest computed, looked up, or lacking."""
    rules = now.rules.get(request.action)
    if rules is None:
        return Facts()
    given = {name: value for name, value in values_of(grounds).items() if _same_reading(then, now, request, name)}
    facts = await gather(now, request, situation, _no_reading, grounds.at, given, only=rules.gathered)
    lacked = {lack.name: lack for lack in _lacks(grounds)}
    specs = rules.action.facts
    not_had = tuple(
        replace(lacked[lack.name], on_error=specs[lack.name].on_error)
        if lack.name in lacked and lack.name in specs and _same_reading(then, now, request, lack.name)
        else lack
        for lack in facts.not_had
    )
    return replace(facts, not_had=not_had)


def values_of(grounds: Grounds) -> Mapping[str, Json]:
    return {fact.name: fact.value for fact in grounds.facts}


def _same_reading(then: Rulebook, now: Rulebook, request: ActionRequest, name: str) -> bool:
    """Whether both releases have this fact by the same reading, so that what was read then serves."""
    old, new = (
        b.rules[request.action].action.facts.get(name) if request.action in b.rules else None for b in (then, now)
    )
    if not isinstance(old, ReadFact) or not isinstance(new, ReadFact):
        return False
    return (old.read, dict(old.with_), old.each, old.item) == (new.read, dict(new.with_), new.each, new.item)


async def _no_reading(action: str, input: JsonObject) -> JsonObject:
    raise AssertionError(f"nothing is read for a replay, and {action} was asked")


def _unknown(
    then: Rulebook, other: Rulebook, request: ActionRequest, situation: Situation, grounds: Grounds, facts: Facts
) -> Iterator[str]:
    """What the other release looks at and the record does not hold. Nothing, where it refuses before it looks."""
    rules, old = other.rules.get(request.action), then.rules.get(request.action)
    if rules is None:
        return
    data_then = old.action.data if old else frozenset()
    if situation.customer is not None and rules.action.data and rules.action.data != data_then:
        known = frozenset(grounds.context.get("consents", ())) if rules.action.data <= data_then else frozenset()
        if not {rules.action.purpose, request.purpose or rules.action.purpose} <= known:
            yield f"the consent of the customer to the use of {', '.join(sorted(rules.action.data))} data"
            return
    if objections(other, request, situation):
        return
    lacked = {lack.name for lack in _lacks(grounds)}
    had = {fact.name for fact in facts.values}
    for name in rules.judged:
        spec = rules.action.facts[name]
        if name in had or name in lacked:
            continue
        if isinstance(spec, ReadFact) and not (spec.optional and _same_reading(then, other, request, name)):
            yield f"the fact {name!r} (from {spec.read}), which was not read then"
        elif isinstance(spec, RecordedFact) and request.conversation and not _recorded_then(old, spec):
            yield f"the fact {name!r} (evidence {spec.recorded}), which was not looked for then"
    policies = other.policies.policies_for(request.action)
    for attribute in sorted(
        other.release.repo.plane.customer_attributes.keys() - then.release.repo.plane.customer_attributes.keys()
    ):
        if request.customer and any(re.search(rf"\b{re.escape(attribute)}\b", p.text) for p in policies):
            yield f"the customer's {attribute!r}, which the release of then did not look at"


def _recorded_then(old: Any, spec: RecordedFact) -> bool:
    return any(
        isinstance(one, RecordedFact) and one.recorded == spec.recorded and one.max_age == spec.max_age
        for one in (old.action.facts.values() if old else ())
    )


# what is different ------------------------------------------------------------------------------------------

END = ("verdict", "key", "approver_sets", "expires_at", "default")


def end_of(decision: Decision) -> dict[str, Any]:
    """How a decision ends, in the words of its entry."""
    found: dict[str, Any] = {"verdict": decision.verdict.value}
    if isinstance(decision, (Allowed, Held)) and decision.key is not None:
        found["key"] = decision.key
    if isinstance(decision, Held):
        found["approver_sets"] = [sorted(s) for s in decision.approver_sets]
        found["expires_at"] = decision.expires_at.isoformat()
        found["default"] = decision.default
    return found


def compared(grounds: Grounds, end: JsonObject, *, exact: bool) -> dict[str, Any]:
    """A decision as it is compared. Not `exact`: without what only says where a rule stands in its file, and keys."""
    reasons = [reason_body(r) for r in grounds.reasons]
    if not exact:
        reasons = [{k: v for k, v in r.items() if k not in ("file", "line")} for r in reasons]
    found = {name: end[name] for name in END if name in end and (exact or name != "key")}
    return found | {
        "determined_by": grounds.determined_by,
        "reasons": reasons,
        "tiers": [
            {"action": t.action, "outcome": t.outcome, "policies": list(t.policies), "errors": list(t.errors)}
            for t in grounds.tiers
        ],
        "obligations": obligations_body(grounds.obligations),
        "mode": grounds.mode,
        "money": grounds.money,
        "approver": grounds.approver,
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[{what, then, now}] for all that is not the same."""
    return [
        {"what": name, "then": then.get(name), "now": now.get(name)}
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    ]


def fact_differences(grounds: Grounds, again: Facts) -> list[dict[str, Any]]:
    """Facts, and the money, that are of another value when they are computed once more from the same readings."""
    then, now = values_of(grounds), again.as_map()
    found = {f"fact {name}": (then[name], now[name]) for name in then if name in now}
    if again.money is not None:
        found["money"] = (grounds.money, again.money)
    return [{"what": what, "then": old, "now": new} for what, (old, new) in found.items() if old != new]
