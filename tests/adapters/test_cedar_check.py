"""Policies are checked against the actions that they cover: the verdict is that of the whole catalog."""

from __future__ import annotations

import pytest

from cxplane.adapters import cedar_check
from cxplane.adapters.cedar import CedarEngine
from cxplane.domain.release import ControlRepo
from tests.decide import world as w

ENGINE = CedarEngine()
CREDIT = "billing.issue_credit"
OTHERS = tuple(w.action(f"crm.note_{n}", facts={}, money=None) for n in range(6))


def repo(*policies: str) -> ControlRepo:
    texts = (f'@id("p{n}") @reason("because") {text}' for n, text in enumerate(policies))
    return w.repo("\n".join(texts), w.action(), *OTHERS)


def permit(scope: str, when: str = "true") -> str:
    return f"permit (principal, {scope}, resource) when {{ {when} }};"


OWN = f'action == Action::"{CREDIT}"'


@pytest.mark.parametrize(
    ("policies", "fit"),
    [
        ((permit(OWN, "context.input.amount > 1"),), True),
        ((permit(OWN, 'action in Action::"write"'), permit(OWN, 'action in Action::"crm:any"')), True),
        ((permit(OWN, f'action == Action::"{CREDIT}:request" || action in Action::"crm.note_1:any"'),), True),
        ((permit('action in [Action::"crm.note_1:any", Action::"crm.note_2"]', "context.input.amount > 1"),), True),
        ((permit('action in Action::"write"', "context.input.amount > 1"), permit(OWN, "context.facts has why")), True),
        ((permit("action"),), True),
        ((permit(OWN, "context.input.amout > 1"), permit(OWN)), False),
        ((permit(OWN, 'action in Action::"crm.note_9:any"'),), False),
        ((permit('action in [Action::"crm.note_1:any", Action::"crm.note_9"]'),), False),
        ((permit('action == Action::"billing.issue_crdit"'),), False),
        ((permit(f'action in [Action::"{CREDIT}:any", Action::"crm.note_1"]', 'context.facts.why == "x"'),), False),
        ((permit(OWN, "context.input.amount"), permit("action", "context.facts.why"), permit(OWN, "1 + true")), False),
    ],
)
def test_what_is_said_of_policies_is_what_the_whole_catalog_says(
    policies: tuple[str, ...], fit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ENGINE.check(repo(*policies))
    assert (not said) is fit, said
    monkeypatch.setattr(cedar_check._Checked, "_fit", lambda *_: False)
    assert said == ENGINE.check(repo(*policies))


def test_a_policy_that_covers_few_actions_is_not_put_before_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(*_: object) -> None:
        raise AssertionError("the schema of the whole catalog was made")

    monkeypatch.setattr(cedar_check, "schema_of", whole)
    assert (
        ENGINE.check(repo(permit(OWN, "context.input.amount > 1"), permit('action in Action::"crm.note_1:any"'))) == ()
    )
