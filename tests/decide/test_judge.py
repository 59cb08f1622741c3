from __future__ import annotations

import ast
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxplane.decide.facts import Facts
from cxplane.decide.judge import exhausted, judge, resume
from cxplane.domain.catalog import Mode, OnError
from cxplane.domain.customer import Assurance, Consent, Recorded
from cxplane.domain.decision import Allowed, Held, Refused, Verdict, for_now
from cxplane.domain.entries import decision_entry, grounds_from
from cxplane.domain.errors import FailureKind, SystemFailure
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import BudgetExhausted, Entry
from cxplane.ports.policy import Answer, Question
from tests.decide import world as w

BOOK = w.rulebook()
SMALL, LARGE, HUGE = 1500, 5_000, 50_000
BUSY = {**w.ACCOUNT, "credits": [{"amount": 6_000, "age_days": 1}]}
CLOSED = {**w.ACCOUNT, "status": "closed"}


def credit(amount: Any = SMALL, **changes: Any) -> Any:
    return w.request(input={"account_id": "A1", "dispute_id": "D1", "amount": amount}, **changes)


def account(answer: Any) -> w.Systems:
    return w.Systems(**{"billing.get_account": answer})


def codes(decision: Any) -> list[str]:
    return [r.code for r in decision.grounds.reasons]


def policies(decision: Any) -> list[str | None]:
    return [r.policy for r in decision.grounds.reasons if r.policy]


# the three answers ---------------------------------------------------------------------------------


def test_what_policy_permits_goes_ahead_with_policy_file_line_and_text() -> None:
    decision = w.decide(BOOK, credit())
    assert isinstance(decision, Allowed)
    (reason,) = decision.grounds.reasons
    assert (reason.code, reason.policy, reason.file, reason.line) == (
        "policy",
        "small-credit",
        "policies/credit.cedar",
        4,
    )
    assert reason.text == "A small credit to an account in good standing"
    assert (reason.effect, decision.grounds.determined_by) == (Verdict.ALLOW, "policy")
    assert decision.key == BOOK.key_of(credit())
    assert [(t.action, t.outcome) for t in decision.grounds.tiers] == [("billing.issue_credit", "allow")]
    assert (decision.grounds.money, decision.grounds.release) == (SMALL, BOOK.release.hash)
    assert {f.name for f in decision.grounds.facts} == {"account", "credits_30d"}


def test_what_may_only_be_asked_for_is_held_for_whom_policy_names() -> None:
    decision = w.decide(BOOK, credit(LARGE))
    assert isinstance(decision, Held)
    assert policies(decision) == ["larger-credit"]
    assert decision.approver_sets == (frozenset({"supervisor"}),)
    assert decision.expires_at == w.NOW + timedelta(hours=2)
    assert decision.default == "refuse"
    assert [t.outcome for t in decision.grounds.tiers] == ["deny", "allow"]


def test_what_nobody_permits_is_refused_with_the_permits_there_are() -> None:
    decision = w.decide(BOOK, credit(HUGE))
    assert isinstance(decision, Refused)
    assert codes(decision) == ["no_policy"]
    assert "small-credit (A small credit" in decision.grounds.reasons[0].text


def test_who_is_in_no_permit_hears_whom_it_is_for() -> None:
    decision = w.decide(BOOK, credit(caller=w.SYNC))
    assert codes(decision) == ["no_policy"]
    assert "it is for service-agent" in decision.grounds.reasons[0].text


def test_an_action_that_no_policy_permits_says_so() -> None:
    assert "to anybody" in w.decide(w.rulebook(""), credit()).grounds.reasons[0].text


def test_a_forbid_on_the_group_is_final_with_its_reason() -> None:
    for approver in (None, w.ANNA):
        decision = w.decide(BOOK, credit(), systems=account(CLOSED), approver=approver)
        assert isinstance(decision, Refused)
        assert policies(decision) == ["closed-account"]


def test_a_forbid_on_going_ahead_means_never_without_a_person() -> None:
    decision = w.decide(BOOK, credit(), systems=account(BUSY))
    assert isinstance(decision, Held)
    assert policies(decision) == ["larger-credit", "many-credits", "not-alone"]


def test_duties_of_all_determining_policies_add_up_and_the_strictest_wins() -> None:
    decision = w.decide(BOOK, credit(), systems=account(BUSY))
    assert isinstance(decision, Held)
    duties = decision.grounds.obligations
    assert decision.approver_sets == (frozenset({"risk"}), frozenset({"supervisor"}))
    assert duties.require == {"log", "four-eyes"}
    assert decision.expires_at == w.NOW + timedelta(hours=1)


def test_a_permit_that_names_approvers_lets_nothing_go_alone() -> None:
    text = '@id("a") @reason("r") @approvers("risk") permit (principal, action in Action::"billing.issue_credit:any", resource);'
    decision = w.decide(w.rulebook(text), credit())
    assert isinstance(decision, Held)
    assert decision.approver_sets == (frozenset({"risk"}),)


# before policy is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"action": "billing.isue_credit"}, "action", "did you mean billing.issue_credit?"),
        ({"input": {"account_id": "A1", "dispute_id": "D1", "amount": 5.0}}, "input", "whole number"),
        ({"input": {"account_id": "A1", "dispute_id": "D1", "amount": float("nan")}}, "input", "finite"),
        ({"confidence": 1.5}, "input", "between 0 and 1"),
        ({"confidence": float("nan")}, "input", "between 0 and 1"),
        ({"recorded": {"x": float("inf")}}, "input", "recorded/x"),
        ({"caller": Caller(CallerKind.AGENT, "ghost", frozenset({"service-agent"}))}, "caller", "knows no agent"),
        ({"caller": w.NARROW}, "scope", "data classes billing"),
        ({"customer": None}, "customer", "name one"),
        ({"customer": "c2"}, "customer", "no such customer"),
        ({"purpose": "marketing"}, "consent", "'marketing'"),
    ],
)
def test_a_request_without_standing_is_refused_by_rule(changes: dict[str, Any], code: str, said: str) -> None:
    decision = w.decide(BOOK, w.request(**changes))
    assert isinstance(decision, Refused)
    assert (codes(decision), decision.grounds.determined_by) == ([code], "rule")
    assert said in decision.grounds.reasons[0].text
    assert decision.grounds.tiers == ()


def test_all_objections_are_told_at_once() -> None:
    decision = w.decide(BOOK, credit(0, caller=w.NARROW, customer=None))
    assert codes(decision) == ["input", "scope", "customer"]


@pytest.mark.parametrize(
    ("about", "code"),
    [
        (w.situation(customer=None), "customer"),
        (w.situation(conversation_known=False), "conversation"),
        (w.situation(conversation_customer="c2"), "conversation"),
        (w.situation(customer=w.customer(consents=())), "consent"),
        (w.situation(customer=w.customer(consents=(Consent("service", False, w.NOW, "web"),))), "consent"),
        (w.situation(customer=w.customer(consents=(Consent("service", True, w.NOW, "web", channel="phone"),))), "consent"),
        (w.situation(customer=w.customer(consents=(Consent("service", True, w.NOW, "web", data=frozenset({"contact"})),))), "consent"),
    ],
)  # fmt: skip
def test_whom_it_is_about_must_be_known_and_allow_it(about: Any, code: str) -> None:
    decision = w.decide(BOOK, credit(conversation="conv_1"), about)
    assert isinstance(decision, Refused)
    assert codes(decision) == [code]


def test_another_purpose_does_not_stand_for_the_one_of_the_entry() -> None:
    about = w.situation(customer=w.customer(consents=(Consent("research", True, w.NOW, "web"),)))
    assert codes(w.decide(BOOK, credit(purpose="research"), about)) == ["consent"]


def test_an_action_that_touches_no_data_needs_no_consent() -> None:
    rules = w.rulebook(w.POLICIES, w.action(data=frozenset()))
    assert isinstance(w.decide(rules, credit(), w.situation(customer=w.customer(consents=()))), Allowed)


def test_an_assurance_that_has_ended_counts_as_none() -> None:
    about = w.situation(customer=w.customer(assurances=(Assurance(3, "otp", w.NOW),)))
    decision = w.decide(BOOK, credit(), about)
    assert isinstance(decision, Held)
    assert decision.grounds.context["assurance"] == {"level": 0, "method": "none"}


def test_roles_are_those_that_the_release_gives_not_those_that_the_request_claims() -> None:
    claimed = replace(w.SYNC, roles=frozenset({"service-agent"}))
    assert isinstance(w.decide(BOOK, credit(caller=claimed)), Refused)


def test_a_missing_part_of_the_business_key_is_a_refusal() -> None:
    rules = w.rulebook(w.POLICIES, w.action(key=("conversation",)))
    assert codes(w.decide(rules, credit())) == ["key"]


# facts ------------------------------------------------------------------------------------------------

DOWN = SystemFailure("billing", "no answer", kind=FailureKind.RETRY)


def test_a_fact_that_cannot_be_had_refuses_and_is_named() -> None:
    decision = w.decide(BOOK, credit(), systems=account(DOWN))
    assert isinstance(decision, Refused)
    reasons = decision.grounds.reasons
    assert [(r.code, r.where) for r in reasons] == [("unavailable", "account"), ("unavailable", "credits_30d")]
    assert decision.grounds.tiers == () and for_now(reasons)
    absent = SystemFailure("billing", "404", kind=FailureKind.REFUSED, not_found=True)
    reasons = w.decide(BOOK, credit(), systems=account(absent)).grounds.reasons
    assert [(r.code, r.where) for r in reasons] == [("fact", "account"), ("fact", "credits_30d")]
    assert not for_now(reasons) and not for_now(()) and not for_now((*decision.grounds.reasons, *reasons))


def test_a_fact_that_cannot_be_had_holds_where_the_entry_says_so() -> None:
    specs = w.credit_facts()
    specs["account"] = replace(specs["account"], on_error=OnError.HOLD)
    specs["credits_30d"] = replace(specs["credits_30d"], on_error=OnError.HOLD)
    rules = w.rulebook(w.POLICIES, w.action(facts=specs))
    decision = w.decide(rules, credit(), systems=account(DOWN))
    assert isinstance(decision, Held)
    still = w.decide(rules, credit(), systems=account(DOWN), approver=w.ANNA)
    assert isinstance(still, Held)  # nobody can say yes while a forbid may go unheard


def test_facts_that_were_not_brought_never_allow() -> None:
    decision = judge(BOOK, credit(), w.situation(), Facts(money=1500), w.NOW)
    assert codes(decision) == ["policy_error"]
    decision = judge(BOOK, credit(), w.situation(), Facts(w.facts_of(BOOK, credit()).values), w.NOW)
    assert [(r.code, r.where) for r in decision.grounds.reasons] == [("fact", "money")]


def test_a_policy_that_fails_refuses_even_beside_a_permit() -> None:
    text = w.POLICIES + (
        '@id("broken") @reason("r") forbid (principal, action in Action::"billing.issue_credit:any", resource)'
        " when { 9223372036854775807 + context.input.amount > 0 };"
    )
    decision = w.decide(w.rulebook(text), credit())
    assert isinstance(decision, Refused)
    assert codes(decision) == ["policy_error"]
    assert "policy broken could not be evaluated" in decision.grounds.reasons[0].text
    assert decision.grounds.tiers[0].outcome == "error"


# autonomy ---------------------------------------------------------------------------------------------


def test_only_a_person_does_what_a_person_must_do() -> None:
    rules = w.rulebook(w.POLICIES, w.action(mode=Mode.PERSON))
    assert codes(w.decide(rules, credit())) == ["mode"]
    assert isinstance(w.decide(rules, credit(caller=w.JON)), Allowed)


def test_an_ai_that_may_only_propose_is_held_and_a_person_is_not() -> None:
    rules = w.rulebook(w.POLICIES, w.action(mode=Mode.PROPOSE))
    decision = w.decide(rules, credit())
    assert isinstance(decision, Held)
    assert (codes(decision), decision.grounds.determined_by) == (["mode"], "rule")
    assert decision.approver_sets == (frozenset({"supervisor"}),)
    assert decision.expires_at == w.NOW + timedelta(hours=4)
    assert isinstance(w.decide(rules, credit(caller=w.JON)), Allowed)


@pytest.mark.parametrize(
    ("plane", "entry", "stated", "caller", "held"),
    [
        (0.8, None, 0.79, w.FIN, True),
        (0.8, None, 0.8, w.FIN, False),
        (0.8, 0.9, 0.85, w.FIN, True),
        (0.8, 0.5, 0.6, w.FIN, False),
        (0.8, None, None, w.FIN, False),
        (None, None, 0.1, w.FIN, False),
        (0.8, None, 0.1, w.JON, False),
    ],
)
def test_an_ai_that_is_not_sure_enough_is_held(plane: Any, entry: Any, stated: Any, caller: Any, held: bool) -> None:
    rules = w.rulebook(w.POLICIES, w.action(confidence=entry), confidence=plane)
    decision = w.decide(rules, credit(confidence=stated, caller=caller))
    assert (codes(decision) == ["confidence"]) is held
    assert isinstance(decision, Held if held else Allowed)


def test_evidence_that_the_customer_confirmed_reaches_policy_only_as_yes_or_no() -> None:
    text = '@id("a") @reason("r") permit (principal, action, resource) when { context has confirmed && context.confirmed };'
    rules = w.rulebook(text)
    said = {"customer_confirmed": Recorded("customer_confirmed", True, "person:jon", w.NOW)}
    assert isinstance(w.decide(rules, credit(recorded={"customer_confirmed": True})), Allowed)
    assert isinstance(w.decide(rules, credit(), w.situation(recorded=said)), Allowed)
    for value in ("yes", 1, False):
        assert isinstance(w.decide(rules, credit(recorded={"customer_confirmed": value})), Refused)


# approval -----------------------------------------------------------------------------------------------


def test_a_held_request_is_allowed_by_whom_it_waited_for() -> None:
    decision = w.decide(BOOK, credit(LARGE), approver=w.MARIA)
    assert isinstance(decision, Allowed)
    assert (decision.grounds.determined_by, decision.grounds.approver) == ("person", "person:maria")
    assert codes(decision) == ["policy", "approver"]
    assert decision.grounds.context["approver"] == {"id": "maria", "roles": ["supervisor"]}


@pytest.mark.parametrize("approver", [w.JON, replace(w.JON, roles=frozenset({"supervisor"}))])
def test_somebody_without_the_role_releases_nothing_whatever_they_claim(approver: Caller) -> None:
    decision = w.decide(BOOK, credit(LARGE), approver=approver)
    assert isinstance(decision, Held)
    assert codes(decision)[-1] == "approver"


@pytest.mark.parametrize("approver", [w.FIN, w.SYNC, Caller(CallerKind.PERSON, "ghost", frozenset({"supervisor"}))])
def test_only_a_person_whom_the_release_knows_approves(approver: Caller) -> None:
    decision = w.decide(BOOK, credit(LARGE), approver=approver)
    assert isinstance(decision, Refused)
    assert codes(decision) == ["approver"]


def test_every_set_of_approvers_must_be_met() -> None:
    both = Caller(CallerKind.PERSON, "rita", roles=frozenset({"risk", "supervisor"}))
    rules = w.rulebook(callers=(w.FIN, w.MARIA, both))
    assert isinstance(w.decide(rules, credit(), systems=account(BUSY), approver=w.MARIA), Held)
    assert isinstance(w.decide(rules, credit(), systems=account(BUSY), approver=both), Allowed)


def test_four_eyes_are_two_people() -> None:
    rita = Caller(CallerKind.PERSON, "rita", roles=frozenset({"risk", "supervisor", "service-agent"}))
    rules = w.rulebook(w.POLICIES.replace("A larger", "One larger"), callers=(rita, w.ANNA))
    assert isinstance(w.decide(rules, credit(LARGE, caller=rita), approver=rita), Allowed)
    own = w.decide(rules, credit(LARGE, caller=rita), systems=account(BUSY), approver=rita)
    assert isinstance(own, Held)
    assert "four eyes" in own.grounds.reasons[-1].text


@pytest.mark.parametrize("changes", [{"mode": Mode.PROPOSE}, {"confidence": 0.9}])
def test_an_approver_answers_for_mode_and_confidence(changes: dict[str, Any]) -> None:
    rules = w.rulebook(w.POLICIES, w.action(**changes))
    assert isinstance(w.decide(rules, credit(confidence=0.5)), Held)
    assert isinstance(w.decide(rules, credit(confidence=0.5), approver=w.MARIA), Allowed)
    assert isinstance(w.decide(rules, credit(confidence=0.5), approver=w.JON), Held)


def test_approval_cannot_release_what_has_become_forbidden_or_lost_its_consent() -> None:
    assert isinstance(w.decide(BOOK, credit(LARGE), systems=account(CLOSED), approver=w.MARIA), Refused)
    about = w.situation(customer=w.customer(consents=()))
    assert isinstance(w.decide(BOOK, credit(LARGE), about, approver=w.MARIA), Refused)
    assert isinstance(w.decide(BOOK, credit(HUGE), approver=w.MARIA), Refused)


# budgets, resuming ---------------------------------------------------------------------------------------


def allowed() -> Allowed:
    decision = w.decide(BOOK, credit())
    assert isinstance(decision, Allowed)
    return decision


def test_an_exhausted_budget_holds_for_its_approvers_or_refuses() -> None:
    full = BudgetExhausted("ai-credits-daily", "money", 49_000, 1_500, 50_000)
    held = exhausted(allowed(), w.daily(approvers=("risk",)), full)
    assert isinstance(held, Held)
    assert held.approver_sets == (frozenset({"risk"}),)
    assert (held.grounds.reasons[-1].code, held.grounds.reasons[-1].where) == ("budget", "ai-credits-daily")
    assert "49000 of 50000" in held.grounds.reasons[-1].text
    nobody = exhausted(allowed(), w.daily(approvers=()), full)
    assert isinstance(nobody, Held)
    assert nobody.approver_sets == (frozenset({"supervisor"}),)
    assert isinstance(exhausted(allowed(), w.daily(exhausted="refuse"), full), Refused)


def from_record(decision: Any) -> Any:
    made = decision_entry(decision)
    return grounds_from(
        Entry(1, "northwind", made.kind, made.stream, made.at, made.actor, made.body, made.private, made.release)
    )


@pytest.mark.parametrize("approver", [None, w.MARIA])
def test_what_was_allowed_can_be_resumed_from_the_record(approver: Caller | None) -> None:
    decision = w.decide(BOOK, credit(LARGE if approver else SMALL), approver=approver)
    assert isinstance(decision, Allowed)
    again = resume(decision.request, from_record(decision), decision.key)
    assert (again.key, again.grounds.reasons) == (decision.key, decision.grounds.reasons)


@pytest.mark.parametrize("amount", [LARGE, HUGE, 0])
def test_what_was_not_allowed_cannot_be_resumed(amount: int) -> None:
    decision = w.decide(BOOK, credit(amount))
    with pytest.raises(ValueError, match="does not allow"):
        resume(decision.request, from_record(decision), "key")
    full = exhausted(allowed(), w.daily(), BudgetExhausted("b", "count", 1, 1, 1))
    with pytest.raises(ValueError, match="does not allow"):
        resume(full.request, from_record(full), "key")


# what always holds -----------------------------------------------------------------------------------------


def test_allowed_is_made_in_one_file() -> None:
    made = set()
    for file in Path("src/cxplane").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Allowed":
                made.add(file.as_posix())
    assert made == {"src/cxplane/decide/judge.py"}


OUTCOMES = st.sampled_from(["allow", "deny", "no_decision", "error", "nonsense"])
STRICTNESS = {Verdict.ALLOW: 0, Verdict.HOLD: 1, Verdict.REFUSE: 2}
FACTS = w.facts_of(BOOK, credit())


class Saying:
    """Policies that say what they are told to."""

    def __init__(self, ahead: str, asked: str, by: tuple[str, ...]) -> None:
        self.meta, self._said, self._by = BOOK.policies.meta, {False: ahead, True: asked}, by

    def facts_for(self, action: str) -> frozenset[str]:
        return BOOK.policies.facts_for(action)

    def policies_for(self, action: str) -> Any:
        return BOOK.policies.policies_for(action)

    def answer(self, question: Question) -> Answer:
        return Answer(self._said[question.action.endswith(":request")], self._by)


@given(OUTCOMES, OUTCOMES, st.sampled_from([(), ("small-credit",), ("many-credits",), ("unknown",)]), st.booleans())
def test_only_a_clear_yes_of_a_known_policy_is_a_yes(
    ahead: str, asked: str, by: tuple[str, ...], approve: bool
) -> None:
    rules = replace(BOOK, policies=Saying(ahead, asked, by))
    decision = judge(rules, credit(), w.situation(), FACTS, w.NOW, w.MARIA if approve else None)
    if isinstance(decision, Allowed):
        assert by and "unknown" not in by
        assert ahead == "allow" or (ahead == "deny" and asked == "allow" and approve)
    if ahead not in ("allow", "deny"):
        assert isinstance(decision, Refused)
    assert decision.grounds.reasons


CONDITIONS = st.sampled_from(
    [
        "true",
        "context.input.amount > 1000",
        "context.input.amount > 100000",
        "context.facts.credits_30d > 50",
        'context.facts.account.status == "closed"',
        "context has approver",
        "principal is Agent",
    ]
)
SCOPES = st.sampled_from(
    ["action", *(f'action in Action::"{a}"' for a in ("billing.issue_credit", "billing.issue_credit:request", "billing.issue_credit:any", "any", "write"))]
)  # fmt: skip


@given(CONDITIONS, SCOPES, st.sampled_from([SMALL, LARGE, HUGE]), st.sampled_from([None, w.MARIA]), st.sampled_from([w.ACCOUNT, BUSY, CLOSED]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_another_forbid_never_makes_an_answer_milder(
    condition: str, scope: str, amount: int, approver: Caller | None, found: dict[str, Any]
) -> None:
    if "issue_credit" not in scope and "write" not in scope and ("input" in condition or "facts" in condition):
        condition = "true"  # the scope covers actions that have no such input and facts
    more = f'@id("more") @reason("r") forbid (principal, {scope}, resource) when {{ {condition} }};'
    stricter = w.rulebook(w.POLICIES + more)
    before = w.decide(BOOK, credit(amount), systems=account(found), approver=approver)
    after = w.decide(stricter, credit(amount), systems=account(found), approver=approver)
    assert STRICTNESS[after.verdict] >= STRICTNESS[before.verdict]


@given(st.dictionaries(st.sampled_from(["account_id", "dispute_id", "amount", "share", "tags", "x"]), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=2)))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_whatever_is_asked_gets_an_answer_with_reasons(input: dict[str, Any]) -> None:
    decision = w.decide(BOOK, w.request(input=input))
    assert decision.grounds.reasons
    assert isinstance(decision, (Allowed, Held)) is not (decision.verdict is Verdict.REFUSE)
