"""Why: reasons from policies, their obligations put together, and who may approve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from cxplane.decide.facts import NotHad
from cxplane.domain.catalog import OnError
from cxplane.domain.decision import UNAVAILABLE, Obligations, Reason, Verdict
from cxplane.domain.people import Caller, CallerKind
from cxplane.ports.policy import PolicyMeta

DEFAULT_APPROVERS = (frozenset({"supervisor"}),)  # who decides where no policy names anybody
_NOT_HAD = " could not be had: "
EXPIRES = timedelta(hours=4)  # how long a person has where no policy says it


def by_policies(meta: Mapping[str, PolicyMeta], ids: Iterable[str], effect: Verdict) -> tuple[Reason, ...]:
    return tuple(
        Reason(code="policy", text=meta[id].reason, effect=effect, policy=id, file=meta[id].file, line=meta[id].line)
        for id in ids
    )


def not_had(lack: NotHad) -> Reason:
    effect = Verdict.HOLD if lack.on_error is OnError.HOLD else Verdict.REFUSE
    code = UNAVAILABLE if lack.later else "fact"
    return Reason(code, f"{lack.name!r}{_NOT_HAD}{lack.why}", effect, where=lack.name)


def lack_of(reason: Reason) -> NotHad | None:
    """The lack that a reason tells of (see `not_had`); None if it tells of something else."""
    name, told, why = reason.text.partition(_NOT_HAD)
    if reason.code not in ("fact", UNAVAILABLE) or not told or name != repr(reason.where):
        return None
    on_error = OnError.HOLD if reason.effect is Verdict.HOLD else OnError.REFUSE
    return NotHad(str(reason.where), why, on_error, reason.code == UNAVAILABLE)


def union(all_: Iterable[Obligations]) -> Obligations:
    """All duties of all policies: every approver set, every requirement, the shortest time, refusal before escalation."""
    given = list(all_)
    if len(given) == 1 and not given[0].approver_sets and not given[0].approvers:
        return given[0]
    sets: dict[frozenset[str], None] = {}
    for one in given:
        sets.update(dict.fromkeys(one.approver_sets))
    spans = [one.expires_s for one in given if one.expires_s is not None]
    defaults = {one.default for one in given}
    return Obligations(
        approvers=frozenset(role for s in sets for role in s),
        approver_sets=tuple(sorted(sets, key=sorted)),
        require=frozenset(duty for one in given for duty in one.require),
        cites=frozenset(article for one in given for article in one.cites),
        expires_s=min(spans, default=None),
        default=defaults.pop() if len(defaults) == 1 else "refuse",
    )


def four_eyes(obligations: Obligations) -> bool:
    return "four-eyes" in obligations.require


def unsuited(approver: Caller, sets: Sequence[Iterable[str]], proposed_by: str, *, with_four_eyes: bool) -> str | None:
    """Why this person may not release it; None if they may: one role of every set, and another person where policy says so."""
    if approver.kind is not CallerKind.PERSON:
        return "only a person may approve"
    if with_four_eyes and approver.name == proposed_by:
        return "policy asks for four eyes: who proposed it may not approve it"
    for roles in (frozenset(s) for s in sets):
        if not roles & approver.roles:
            return f"{approver.name} has none of the roles that may approve it: {' or '.join(sorted(roles))}"
    return None


def nobody_permits(policies: Sequence[PolicyMeta], action: str, caller: Caller) -> Reason:
    """Refusal by silence, told with the permits that there are and whom they are for."""
    permits = [p for p in policies if p.effect == "permit"]
    if not permits:
        return Reason("no_policy", f"no policy permits {action} to anybody", Verdict.REFUSE)
    mine = [p for p in permits if _for(p, caller)]
    if mine:
        told = "; ".join(f"{p.id} ({p.reason})" for p in mine[:5])
        text = f"no policy permits {action} as asked; those for {caller.name} did not apply: {told}"
    else:
        who = sorted({whom for p in permits for whom in (p.roles or p.kinds)})
        text = f"no policy permits {action} to {caller.name}; it is for {', '.join(who) or 'others'}"
    return Reason("no_policy", text, Verdict.REFUSE)


def _for(policy: PolicyMeta, caller: Caller) -> bool:
    """Whether the caller is in a policy's principal scope, as far as roles and kinds tell."""
    return (not policy.roles or bool(policy.roles & caller.roles)) and (
        not policy.kinds or caller.kind.cedar in policy.kinds
    )
