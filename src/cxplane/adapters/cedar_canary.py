"""The canary: questions with known answers, put before a release may decide.

It exists because an engine that does not know the action groups answers Allow where a group forbid should deny, without
any error. Same schema, same entities, same call as every request.
"""

from __future__ import annotations

from collections.abc import Sequence

import cedarpy

from cxplane.adapters.cedar_answers import CedarPolicies
from cxplane.adapters.cedar_schema import groups, tiers
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.release import ControlRepo
from cxplane.ports.policy import Question

_ROLE = "cxplane-canary"
_MEMBER = Caller(CallerKind.AGENT, "cxplane-canary", roles=frozenset({_ROLE}))
_STRANGER = Caller(CallerKind.AGENT, "cxplane-canary")
_PERMIT = f'permit (principal in Role::"{_ROLE}", action, resource);'
_FAILING = "forbid (principal, action, resource) when { 9223372036854775807 + context.assurance.level + 1 > 0 };"
_IDS = {"policy0": "canary-permit", "policy1": "canary-forbid"}


def sing(policies: CedarPolicies, repo: ControlRepo) -> list[str]:
    """What the engine got wrong; an empty list if it may be trusted with these policies.

    Every tier of every action is asked about once: a forbid on each of its groups must determine that it is denied.
    What does not hang on the action is asked once for each kind of resource.
    """
    wrong: list[str] = []
    seen: set[bool] = set()
    for action in repo.actions.values():
        forbidden = _forbidden(groups(action))
        for name in tiers(action.id):
            asked = Question(_MEMBER, name, "cxplane-canary", {}, policies.schema.contexts[name].sample())
            answer = policies.answer_by(asked, *forbidden)
            if answer.outcome != "deny":
                wrong.append(f"no forbid on a group stopped {name}")
            for group in set(groups(action)) - set(answer.policies):
                wrong.append(f"a forbid on the group {group} did not stop {name}")
            if action.needs_customer not in seen:
                wrong += _alike_for_all(policies, asked)
        seen.add(action.needs_customer)
        sliced = {id for name in tiers(action.id) for id in policies.slices[name].ids.values()}
        if sliced != {meta.id for meta in policies.policies_for(action.id)}:
            wrong.append(f"it is not sure which policies cover {action.id}")
    return wrong


def _alike_for_all(policies: CedarPolicies, asked: Question) -> list[str]:
    """What is alike for all actions of a kind of resource: who a permit is for, and that a failing policy is noticed."""
    wrong: list[str] = []
    permit, failing = (cedarpy.PolicySet.from_str(text) for text in (_PERMIT, f"{_PERMIT}\n{_FAILING}"))
    if policies.answer_by(asked, permit, _IDS).outcome != "allow":
        wrong.append(f"a permit did not let {asked.action} go")
    if policies.answer_by(asked.changed(caller=_STRANGER), permit, _IDS).outcome != "deny":
        wrong.append(f"a permit for a role let somebody else do {asked.action}")
    if policies.answer_by(asked, failing, _IDS).outcome != "error":
        wrong.append(f"a policy that fails went unnoticed for {asked.action}")
    return wrong


def _forbidden(names: Sequence[str]) -> tuple[cedarpy.PolicySet, dict[str, str]]:
    """A permit, and a forbid on each group: all of the forbids must determine the answer. With their ids, named by group.

    They are for a role, so that the answer also tells that this action's schema knows roles.
    """
    member = f'principal in Role::"{_ROLE}"'
    forbids = [f'forbid ({member}, action in Action::"{name}", resource);' for name in names]
    ids = {f"policy{n}": name for n, name in enumerate(["canary-permit", *names])}
    return cedarpy.PolicySet.from_str("\n".join([_PERMIT, *forbids])), ids
