"""The decision. Facts in, answer out: no reading, no clock, no chance.

    objections (shape, caller, scope, customer, consent)  any → refused
    facts that could not be had                           refused, or held where the entry says so
    policy, may it go ahead?                              allow → next; an error → refused
    policy, may it be asked for?                          allow → held; else refused
    mode, confidence, obligations                         held for a person

With an approver everything is judged again: what was held is allowed if the approver is whom it waited for; what policy
forbids stays refused. `Allowed` is made in this file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cxplane.decide.facts import Facts
from cxplane.decide.reasons import (
    DEFAULT_APPROVERS,
    EXPIRES,
    by_policies,
    four_eyes,
    nobody_permits,
    not_had,
    union,
    unsuited,
)
from cxplane.decide.rulebook import ActionRules, Rulebook
from cxplane.decide.standing import caller_of, objections, purpose_of, seen
from cxplane.domain.budget import Budget
from cxplane.domain.catalog import Mode
from cxplane.domain.customer import Situation
from cxplane.domain.decision import Allowed, Decision, Grounds, Held, Obligations, Reason, Refused, Tier, Verdict
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import BudgetExhausted
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json
from cxplane.ports.policy import Answer, Question

CONFIRMED = "customer_confirmed"  # the evidence that `context.confirmed` holds


def judge(
    rulebook: Rulebook,
    request: ActionRequest,
    situation: Situation,
    facts: Facts,
    now: datetime,
    approver: Caller | None = None,
    *,
    against: Sequence[Reason] | None = None,
) -> Decision:
    """Answer one request. `now` is what policies see; expiry counts from it. `approver`: who releases what was held.

    `against`: the objections to it, where they are known already.
    """
    case = _Case(rulebook, request, situation, facts, now)
    if against is None:
        against = objections(rulebook, request, situation)
    if against:
        return case.refused(tuple(against), by="rule")
    case.rules = rulebook.rules[request.action]
    case.caller = caller_of(rulebook, request) or request.caller
    if approver is not None:
        case.approver = rulebook.release.repo.callers.get(approver.name)
        if case.approver is None or case.approver.kind is not CallerKind.PERSON:
            return case.refused((_rule("approver", "only a person whom this release knows may approve"),), by="rule")
    if lacking := case.lacking():
        holds = all(reason.effect is Verdict.HOLD for reason in lacking)
        return case.held(lacking, by="rule") if holds else case.refused(lacking, by="rule")
    return case.by_policy()


@dataclass(slots=True)
class _Case:
    """One request on the table, and what has been found about it so far."""

    rulebook: Rulebook
    request: ActionRequest
    situation: Situation
    facts: Facts
    now: datetime
    rules: ActionRules | None = None
    caller: Caller | None = None
    approver: Caller | None = None
    tiers: list[Tier] = field(default_factory=list)
    obligations: Obligations = field(default_factory=Obligations)
    context: dict[str, Json] = field(default_factory=dict)

    # the steps --------------------------------------------------------------------------------------

    def lacking(self) -> tuple[Reason, ...]:
        """Facts that could not be had. Policy is not asked without them: a forbid could go unheard."""
        assert self.rules is not None
        found = [not_had(lack) for lack in self.facts.not_had]
        if self.rules.facts.money is not None and self.facts.money is None and not found:
            found.append(_rule("fact", "the amount of money that it moves is not known", "money"))
        return tuple(found)

    def by_policy(self) -> Decision:
        assert self.rules is not None
        action = self.rules.action
        self.context = self._context()
        ahead = self._ask(action.id)
        if ahead.outcome in ("error", "no_decision"):
            return self._failed(ahead)
        meta = self.rulebook.policies.meta
        self.obligations = union(meta[p].obligations for p in ahead.policies)
        if ahead.outcome == "allow":
            grounds = by_policies(meta, ahead.policies, Verdict.ALLOW)
            waits = self._wanting_approvers(grounds)
        else:
            asked = self._ask(f"{action.id}:request")
            if asked.outcome in ("error", "no_decision"):
                return self._failed(asked)
            if asked.outcome == "deny":
                return self._denied(ahead, asked)
            self.obligations = union(meta[p].obligations for p in (*ahead.policies, *asked.policies))
            grounds = by_policies(meta, asked.policies, Verdict.ALLOW)
            waits = (*_holding(grounds), *by_policies(meta, ahead.policies, Verdict.HOLD))
        waits += self._autonomy()
        if not waits:
            return self._allowed(grounds)
        return self._released(grounds, waits) if self.approver else self.held(waits)

    def _wanting_approvers(self, grounds: tuple[Reason, ...]) -> tuple[Reason, ...]:
        """A permit that names approvers lets nothing go without them."""
        return _holding(grounds) if self.obligations.approver_sets else ()

    def _autonomy(self) -> tuple[Reason, ...]:
        """Where an AI may only propose, and where it is not sure enough."""
        assert self.rules is not None and self.caller is not None
        action, confidence = self.rules.action, self.request.confidence
        if not self.caller.kind.is_ai:
            return ()
        found: list[Reason] = []
        if action.mode is Mode.PROPOSE:
            found.append(
                _rule("mode", f"an AI may only propose {action.id}; a person releases it", effect=Verdict.HOLD)
            )
        threshold = action.confidence
        if threshold is None and action.writes:
            threshold = self.rulebook.release.repo.plane.confidence
        if threshold is not None and confidence is not None and confidence < threshold:
            found.append(
                _rule(
                    "confidence",
                    f"the stated confidence {confidence:g} is below {threshold:g}, from which an AI may do it alone",
                    effect=Verdict.HOLD,
                )
            )
        return tuple(found)

    def _released(self, grounds: tuple[Reason, ...], waits: tuple[Reason, ...]) -> Decision:
        assert self.approver is not None
        sets = self.obligations.approver_sets or DEFAULT_APPROVERS
        if why := unsuited(self.approver, sets, self.request.caller.name, with_four_eyes=four_eyes(self.obligations)):
            return self.held((*waits, _rule("approver", why, effect=Verdict.HOLD)))
        return self._allowed(grounds)

    # asking policy ------------------------------------------------------------------------------------

    def _ask(self, cedar_action: str) -> Answer:
        assert self.caller is not None and self.rules is not None
        customer = self.situation.customer
        answer = self.rulebook.policies.answer(
            Question(
                caller=self.caller,
                action=cedar_action,
                customer=self.request.customer if self.rules.action.needs_customer else None,
                attributes=customer.attributes if customer else {},
                context={**self.context, "input": self.request.input, "facts": self.facts.as_map(), "now": self.now},
                now=self.now,
            )
        )
        if answer.outcome not in ("error", "no_decision") and not self._clear(answer):
            answer = Answer("error", (), ("the answer names no known policy",))
        self.tiers.append(Tier(cedar_action, answer.outcome, tuple(answer.policies), tuple(answer.errors)))
        return answer

    def _clear(self, answer: Answer) -> bool:
        """A yes by at least one policy, or a no; by policies that are known."""
        known = all(policy in self.rulebook.policies.meta for policy in answer.policies)
        return known and (answer.outcome == "deny" or (answer.outcome == "allow" and bool(answer.policies)))

    def _context(self) -> dict[str, Json]:
        """What policy sees beside input, facts and the time."""
        assert self.rules is not None and self.caller is not None
        request, action = self.request, self.rules.action
        context: dict[str, Json] = {
            "channel": request.channel,
            "purpose": purpose_of(action, request),
            "mode": action.mode.value,
            **seen(request, self.situation, action, self.now),
            "caller": {"id": self.caller.id, "kind": self.caller.kind.value},
        }
        if request.customer is not None:
            context["customer"] = request.customer
        if request.conversation is not None:
            context["conversation"] = request.conversation
        if request.confidence is not None:
            context["confidence"] = float(request.confidence)
        if isinstance(confirmed := self._evidence(CONFIRMED), bool):
            context["confirmed"] = confirmed
        if self.approver is not None:
            context["approver"] = {"id": self.approver.id, "roles": sorted(self.approver.roles)}
        return context

    def _evidence(self, name: str) -> Json:
        if name in self.request.recorded:
            return self.request.recorded[name]
        found = self.situation.recorded.get(name)
        return found.value if found else None

    # the answers ----------------------------------------------------------------------------------------

    def _failed(self, answer: Answer) -> Refused:
        text = "policy could not be asked, so it is refused: " + ("; ".join(answer.errors) or answer.outcome)
        return self.refused((_rule("policy_error", text),), by="policy")

    def _denied(self, ahead: Answer, asked: Answer) -> Refused:
        assert self.rules is not None and self.caller is not None
        policies = self.rulebook.policies
        self.obligations = union(policies.meta[p].obligations for p in (*ahead.policies, *asked.policies))
        forbids = tuple(dict.fromkeys((*asked.policies, *ahead.policies)))
        reasons = by_policies(policies.meta, forbids, Verdict.REFUSE)
        if not asked.policies:  # nothing forbids asking, so silence does
            reasons += (nobody_permits(policies.policies_for(self.rules.action.id), self.rules.action.id, self.caller),)
        return self.refused(reasons, by="policy")

    def _allowed(self, reasons: tuple[Reason, ...]) -> Allowed:
        by = "policy"
        if self.approver is not None:
            by = "person"
            reasons += (
                Reason(
                    "approver",
                    f"released by {self.approver.name} ({', '.join(sorted(self.approver.roles))})",
                    Verdict.ALLOW,
                ),
            )
        return Allowed(self.request, self._grounds(reasons, by), self.rulebook.key_of(self.request))

    def held(self, reasons: tuple[Reason, ...], by: str | None = None) -> Held:
        assert self.rules is not None
        if by is None:
            by = "policy" if any(reason.code == "policy" for reason in reasons) else "rule"
        return Held(
            request=self.request,
            grounds=self._grounds(reasons, by),
            key=self.rulebook.key_of(self.request),
            approver_sets=self.obligations.approver_sets or DEFAULT_APPROVERS,
            expires_at=self.now + _expires(self.obligations),
            default=self.obligations.default,
        )

    def refused(self, reasons: tuple[Reason, ...], *, by: str) -> Refused:
        return Refused(self.request, self._grounds(reasons, by))

    def _grounds(self, reasons: tuple[Reason, ...], by: str) -> Grounds:
        attributes: Mapping[str, Json] = self.situation.customer.attributes if self.situation.customer else {}
        known = {k: attributes[k] for k in self.rulebook.release.repo.plane.customer_attributes if k in attributes}
        context = dict(self.context)
        if not context:  # policy was not asked; what it would have seen is kept all the same
            context = seen(self.request, self.situation, self.rulebook.action(self.request.action), self.now)
            if isinstance(confirmed := self._evidence(CONFIRMED), bool):
                context["confirmed"] = confirmed
        context |= {"now": self.now.isoformat(), **({"attributes": known} if known else {})}
        return Grounds(
            release=self.rulebook.release.hash,
            at=self.now,
            reasons=reasons,
            determined_by=by,
            facts=self.facts.values,
            tiers=tuple(self.tiers),
            obligations=self.obligations,
            context=context,
            mode=self.rules.action.mode.value if self.rules else "act",
            money=self.facts.money,
            approver=self.approver.name if self.approver else None,
        )


# after the decision -----------------------------------------------------------------------------------------


def exhausted(decision: Allowed, budget: Budget, result: BudgetExhausted) -> Held | Refused:
    """What an allowed request becomes when a budget has no room for it."""
    holds = budget.exhausted != "refuse"
    reason = Reason(
        code="budget",
        text=(
            f"the budget {budget.id!r} has no room: {result.asked} asked, {result.used} of {result.allowed} "
            f"used ({result.limit} in this {budget.window.value})"
        ),
        effect=Verdict.HOLD if holds else Verdict.REFUSE,
        file=budget.file or None,
        line=budget.line if budget.file else None,
        where=budget.id,
    )
    grounds = decision.grounds.changed(over=result)
    if not holds:
        return Refused(decision.request, grounds.changed(reasons=(*grounds.reasons, reason), determined_by="rule"))
    obligations = grounds.obligations
    if budget.approvers:
        obligations = union((obligations, Obligations(approver_sets=(frozenset(budget.approvers),))))
    return Held(
        request=decision.request,
        grounds=grounds.changed(reasons=(*grounds.reasons, reason), determined_by="rule", obligations=obligations),
        key=decision.key,
        approver_sets=obligations.approver_sets or DEFAULT_APPROVERS,
        expires_at=grounds.at + _expires(obligations),
        default=obligations.default,
    )


def resume(request: ActionRequest, grounds: Grounds, key: str | None) -> Allowed:
    """The `Allowed` that is on record, for an act that was begun and not ended. ValueError if it was no allowance.

    Every reason of an allowance allows; a hold and a refusal have at least one that does not.
    """
    if not grounds.reasons or any(reason.effect is not Verdict.ALLOW for reason in grounds.reasons):
        raise ValueError(f"the decision on record for {request.id} does not allow it")
    return Allowed(request, grounds, key)


def _holding(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    return tuple(reason.changed(effect=Verdict.HOLD) for reason in reasons)


def _expires(obligations: Obligations) -> timedelta:
    return EXPIRES if obligations.expires_s is None else timedelta(seconds=obligations.expires_s)


def _rule(code: str, text: str, where: str | None = None, effect: Verdict = Verdict.REFUSE) -> Reason:
    return Reason(code=code, text=text, effect=effect, where=where)
