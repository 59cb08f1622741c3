"""The canary asks about every tier of every action: what is unknown of one of them alone is noticed."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cedar_answers import CedarPolicies, Put
from cxplane.adapters.cedar_canary import sing
from cxplane.adapters.cedar_schema import groups
from cxplane.ports.policy import Question
from tests.decide import world as w

LAST = "crm.note"
REPO = w.repo(w.POLICIES, w.action(), w.action("ops.restart", needs_customer=False, facts={}), w.action(LAST, facts={}))


@pytest.fixture
def policies() -> CedarPolicies:
    return CedarEngine().compile(REPO)


@pytest.mark.parametrize("group", groups(REPO.actions[LAST]))
@pytest.mark.parametrize("tier", [LAST, f"{LAST}:request"])
def test_one_group_that_one_tier_of_one_action_is_not_known_to_be_in(
    policies: CedarPolicies, group: str, tier: str
) -> None:
    own, *above = groups(REPO.actions[LAST])
    schema: dict[str, Any] = json.loads(json.dumps(policies.schema.json))
    parents = [own, *above]
    parents.remove(group)
    known = schema[""]["actions"]
    known[own]["memberOf"] = []
    for name in (LAST, f"{LAST}:request"):
        known[name]["memberOf"] = [{"id": one} for one in (parents if name == tier else [own, *above])]
    policies._schemas[tier] = cedarpy.Schema.from_json_str(json.dumps(schema))
    assert sing(policies, REPO) == [f"a forbid on the group {group} did not stop {tier}"]


def test_roles_that_are_not_known_where_one_action_is_asked_about(
    policies: CedarPolicies, monkeypatch: pytest.MonkeyPatch
) -> None:
    entities = Put.entities

    def without_roles(self: Put) -> str:
        told = json.loads(entities(self))
        return json.dumps([{**e, "parents": []} for e in told] if self.action == LAST else told)

    monkeypatch.setattr(Put, "entities", without_roles)
    said = {f"a forbid on the group {group} did not stop {LAST}" for group in groups(REPO.actions[LAST])}
    assert set(sing(policies, REPO)) == said


@pytest.mark.parametrize("text", ["permit did not let", "fails went unnoticed", "let somebody else"])
def test_what_is_alike_for_all_is_asked_for_each_kind_of_resource(
    policies: CedarPolicies, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    answer_by = CedarPolicies.answer_by
    wrong = {"permit did not let": "deny", "fails went unnoticed": "allow", "let somebody else": "allow"}[text]

    def mistaken(self: CedarPolicies, question: Question, asked: Any, ids: Any) -> Any:
        answer = answer_by(self, question, asked, ids)
        return answer if len(ids) > 2 else type(answer)(wrong, answer.policies)

    monkeypatch.setattr(CedarPolicies, "answer_by", mistaken)
    about = ["billing.issue_credit", "billing.issue_credit:request", "ops.restart", "ops.restart:request"]
    assert [said.removesuffix(" go").rsplit(" ", 1)[1] for said in sing(policies, REPO) if text in said] == about
