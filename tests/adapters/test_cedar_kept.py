"""An answer that is given again is the answer that the engine would give."""

from __future__ import annotations

from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxplane.adapters import cedar_answers
from cxplane.adapters.cedar_answers import CedarPolicies
from cxplane.ports.policy import Answer, Question
from tests.adapters.test_cedar import CREDIT, ENGINE, context, forbid, permit
from tests.decide import world as w

WHO = (
    'resource == Customer::"c1"',
    'resource in Customer::"c1"',
    'resource is Customer in Customer::"c2"',
    '[resource].contains(Customer::"c1")',
    '{a: resource} == {a: Customer::"c2"}',
    'context has customer && context.customer == "c1"',
)
NOT_WHO = (
    'resource has segment && resource.segment == "gold"',
    "resource has segment",
    'principal == Agent::"fin"',
    'principal in Role::"supervisor"',
    "context.input.amount > 1000",
    "context has confirmed && context.confirmed",
    "context.assurance.level >= 2",
)
QUESTIONS = st.lists(
    st.builds(
        lambda caller, customer, attributes, amount, more: Question(
            caller,
            CREDIT,
            customer,
            attributes,
            context(input={"account_id": "A1", "dispute_id": "D1", "amount": amount}, customer=customer, **more),
        ),
        st.sampled_from([w.FIN, w.MARIA]),
        st.sampled_from(["c1", "c2", "c|1"]),
        st.sampled_from([{}, {"segment": "gold"}, {"segment": "tin"}]),
        st.sampled_from([1, 1001]),
        st.sampled_from([{}, {"confirmed": True}, {"assurance": {"level": 1, "method": "none"}}]),
    ),
    min_size=2,
    max_size=8,
)


def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows whenever the engine is asked."""
    calls: list[Any] = []
    engine = cedarpy.is_authorized

    def counted(request: Any, *more: Any, **named: Any) -> Any:
        calls.append(request)
        return engine(request, *more, **named)

    monkeypatch.setattr(cedarpy, "is_authorized", counted)
    return calls


def engine_says(policies: CedarPolicies, question: Question) -> Answer:
    slice = policies.slices[question.action]
    return policies.answer_by(question, slice.policies, slice.ids)


@given(st.sampled_from(WHO + NOT_WHO), st.sampled_from(WHO + NOT_WHO), QUESTIONS)
@settings(max_examples=80, deadline=None)
def test_whoever_asks_what_in_whatever_order(yes: str, no: str, questions: list[Question]) -> None:
    policies = ENGINE.compile(w.repo(permit(yes) + forbid(no)))
    for question in (*questions, *questions):
        assert policies.answer(question) == engine_says(policies, question)


@pytest.mark.parametrize("when", NOT_WHO)
def test_the_same_for_another_customer_is_answered_without_the_engine(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = ENGINE.compile(w.repo(permit(when)))
    calls = asked(monkeypatch)
    answers = {
        policies.answer(Question(w.FIN, CREDIT, who, {"segment": "gold"}, context())) for who in ("c1", "c2", "c1")
    }
    assert len(answers) == len(calls) == 1


@pytest.mark.parametrize("when", WHO)
def test_a_policy_that_sees_who_it_is_is_asked_for_each(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = ENGINE.compile(w.repo(permit(when)))
    calls = asked(monkeypatch)
    outcomes = [
        policies.answer(Question(w.FIN, CREDIT, who, {}, context(customer=who))).outcome for who in ("c1", "c2", "c1")
    ]
    assert outcomes[0] == outcomes[2] != outcomes[1]
    assert len(calls) == 2


@pytest.mark.parametrize("scope", ['resource == Customer::"c1"', 'resource in Customer::"c1"'])
def test_a_scope_that_names_a_customer_sees_who_it_is(scope: str) -> None:
    text = f'@id("one") @reason("one") permit (principal, action == Action::"{CREDIT}", {scope});'
    policies = ENGINE.compile(w.repo(text))
    said = [policies.answer(Question(w.FIN, CREDIT, who, {}, context())).outcome for who in ("c1", "c2")]
    assert said == ["allow", "deny"]


def test_what_hangs_on_the_time_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = ENGINE.compile(w.repo(permit('context.now > datetime("2026-01-01")')))
    calls = asked(monkeypatch)
    for _ in range(3):
        policies.answer(Question(w.FIN, CREDIT, "c1", {}, context()))
    assert len(calls) == 3


def test_an_error_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = ENGINE.compile(w.repo(permit()))
    question = Question(w.FIN, CREDIT, "c1", {}, context())

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(cedarpy, "is_authorized", broken)
        assert policies.answer(question).outcome == "error"
    assert policies.answer(question).outcome == "allow"
    failing = ENGINE.compile(w.repo(permit() + forbid("9223372036854775807 + context.input.amount > 0")))
    calls = asked(monkeypatch)
    assert [failing.answer(question).outcome for _ in range(2)] == ["error", "error"]
    assert len(calls) == 2


@pytest.mark.parametrize("when", [WHO[0], NOT_WHO[-1]])
def test_a_customer_whose_id_is_no_text_is_an_error(when: str) -> None:
    answer = ENGINE.compile(w.repo(permit(when))).answer(Question(w.FIN, CREDIT, "\ud800", {}, context()))
    assert answer.outcome == "error"


def test_a_new_release_keeps_nothing_of_the_one_before() -> None:
    question = Question(w.FIN, CREDIT, "c1", {}, context())
    assert ENGINE.compile(w.repo(permit())).answer(question).outcome == "allow"
    assert ENGINE.compile(w.repo(permit() + forbid())).answer(question).outcome == "deny"


def test_only_so_many_are_kept_and_no_word_of_a_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar_answers, "KEPT", 3)
    policies = ENGINE.compile(w.repo(permit('context.input has reason && context.input.reason like "*x*"')))
    for n in range(10):
        said = {"account_id": "A1", "dispute_id": "D1", "amount": 1500, "reason": f"secret-{n}"}
        policies.answer(Question(w.FIN, CREDIT, "c1", {}, context(input=said)))
    assert len(policies._given) == 3
    assert all(len(key) == 32 for key in policies._given) and "secret" not in repr(policies._given)
