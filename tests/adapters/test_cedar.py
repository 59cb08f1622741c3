"""Each trap of Cedar that would open the gate, and what a control repo may say in policies."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxplane.adapters import cedar_answers as cedar_module
from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cedar_answers import CedarPolicies
from cxplane.adapters.cedar_canary import sing
from cxplane.adapters.cedar_schema import Reads, schema_of
from cxplane.adapters.cedar_types import Record
from cxplane.domain.errors import ControlError
from cxplane.domain.people import Caller
from cxplane.ports.policy import Answer, Question
from tests.decide import world as w

ENGINE = CedarEngine()
CREDIT = "billing.issue_credit"


def context(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "input": {"account_id": "A1", "dispute_id": "D1", "amount": 1500},
        "facts": {"account": w.ACCOUNT, "credits_30d": 100},
        "channel": "chat",
        "purpose": "service",
        "mode": "act",
        "now": w.NOW,
        "assurance": {"level": 2, "method": "otp"},
        "consents": ["service"],
        "caller": {"id": "fin", "kind": "agent"},
    }
    return {**known, **changes}


def ask(
    policies: str,
    *,
    action: str = CREDIT,
    caller: Caller = w.FIN,
    attributes: dict[str, Any] | None = None,
    **changes: Any,
) -> Answer:
    compiled = ENGINE.compile(w.repo(policies))
    return compiled.answer(Question(caller, action, "c1", attributes or {}, context(**changes)))


def policy(id: str, head: str, when: str = "true", effect: str = "permit") -> str:
    return f'@id("{id}") @reason("because {id}") {effect} ({head}, resource) when {{ {when} }};\n'


def permit(when: str = "true", action: str = f'action == Action::"{CREDIT}"') -> str:
    return policy("yes", f"principal, {action}", when)


def forbid(when: str = "true", action: str = f'action in Action::"{CREDIT}:any"') -> str:
    return policy("no", f"principal, {action}", when, "forbid")


# the traps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [f"{CREDIT}:any", "billing:any", "any", "write", "risk:medium"])
@pytest.mark.parametrize("tier", [CREDIT, f"{CREDIT}:request"])
def test_a_forbid_on_a_group_stops_both_tiers(group: str, tier: str) -> None:
    text = permit(action="action") + forbid(action=f'action in Action::"{group}"')
    assert ask(text, action=tier) == Answer("deny", ("no",))


def test_a_forbid_on_a_group_of_others_stops_nothing() -> None:
    text = permit(action="action") + forbid(action='action in [Action::"read", Action::"risk:low"]')
    assert ask(text) == Answer("allow", ("yes",))


def test_the_canary_notices_entities_without_action_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = cedarpy.Entities.from_json_str
    monkeypatch.setattr(cedar_module.cedarpy.Entities, "from_json_str", lambda text, schema=None: parse(text))
    with pytest.raises(ControlError, match="failed its canary: a forbid on the group"):
        ENGINE.compile(w.repo(permit(action="action")))


def test_the_canary_notices_an_engine_that_denies_or_allows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    repo = w.repo()
    compiled = ENGINE.compile(repo)
    assert sing(compiled, repo) == []
    for outcome in ("allow", "deny", "error"):
        monkeypatch.setattr(CedarPolicies, "answer_by", lambda *_, outcome=outcome: Answer(outcome, ("canary-forbid",)))
        assert sing(compiled, repo)


def test_a_policy_that_fails_makes_an_error_and_not_an_allowance() -> None:
    failing = forbid("9223372036854775807 + context.input.amount > 0")
    answer = ask(permit() + failing)
    assert answer.outcome == "error"
    assert answer.errors == ("policy no could not be evaluated",)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"input": {"account_id": "A1", "dispute_id": "D1", "amount": "Erika"}}, "context.input.amount"),
        ({"input": {"account_id": "A1", "dispute_id": "D1", "amount": 5.0}}, "context.input.amount"),
        ({"input": {"account_id": "A1", "dispute_id": "D1", "amount": 2**63}}, "context.input.amount"),
        ({"input": {"account_id": "A1", "dispute_id": "D1", "amount": True}}, "context.input.amount"),
        ({"input": {"account_id": "A1", "dispute_id": "D1"}}, "context.input.amount"),
        ({"now": "Erika"}, "context.now"),
        ({"now": w.NOW.replace(tzinfo=None)}, "context.now"),
        ({"confidence": float("nan")}, "context.confidence"),
        ({"assurance": None}, "context.assurance"),
        ({"attributes": {"segment": 7}}, "customer.segment"),
    ],
)
def test_a_context_that_breaks_the_schema_gives_no_decision_and_no_values(changes: dict[str, Any], where: str) -> None:
    reads = ("context.input.amount > 1", "context.now == context.now", "context.assurance.level > 1")
    answer = ask(permit(" || ".join((*reads, "context has confidence"))), **changes)
    assert (answer.outcome, answer.policies) == ("no_decision", ())
    assert where in answer.errors[0]
    assert "Erika" not in str(answer)


def test_a_policy_id_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = ENGINE.compile(w.repo(permit()))
    strange = {name: cedar_module.Slice(s.policies, {}) for name, s in compiled.slices.items()}
    monkeypatch.setattr(compiled, "slices", strange)
    assert compiled.answer(Question(w.FIN, CREDIT, "c1", {}, context())).outcome == "error"


def test_an_engine_that_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = ENGINE.compile(w.repo(permit()))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Erika")

    monkeypatch.setattr(cedar_module.cedarpy, "is_authorized", broken)
    answer = compiled.answer(Question(w.FIN, CREDIT, "c1", {}, context()))
    assert answer == Answer("error", (), ("the policy engine failed (RuntimeError)",))


@pytest.mark.parametrize("action", ["billing.nope", f"{CREDIT}:any", ""])
def test_an_action_that_is_not_in_the_catalog_is_no_decision(action: str) -> None:
    assert ask(permit(action="action"), action=action).outcome == "no_decision"


@given(
    st.dictionaries(
        st.sampled_from([*context(), "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
@settings(max_examples=60, deadline=None)
def test_no_context_makes_the_answer_raise_or_allow_what_is_forbidden(changes: dict[str, Any]) -> None:
    answer = COMPILED.answer(Question(w.FIN, CREDIT, "c1", {}, {**context(), **changes}))
    assert answer.outcome in ("deny", "no_decision", "error")


COMPILED = ENGINE.compile(w.repo(permit() + forbid()))


# what policies see ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "changes"),
    [
        ('context.facts.account.status == "active" && context.facts.credits_30d == 100', {}),
        ('resource has segment && resource.segment == "gold"', {"attributes": {"segment": "gold", "other": [1]}}),
        ("context has confidence && context.confidence.greaterThan(decimal(\"0.9\"))", {"confidence": 0.91}),
        ("!(context has confidence)", {}),
        ('context.now > datetime("2026-01-05T09:59:59Z") && context.now.toDate() == datetime("2026-01-05")', {}),
        ('context.consents.contains("service") && context.assurance.level >= 2', {}),
        ('context has approver && context.approver.roles.contains("supervisor")', {"approver": {"id": "m", "roles": ["supervisor"]}}),
        ("context has confirmed && context.confirmed", {"confirmed": True}),
        ('context.facts has why && context.facts.why == "x"', {"facts": {**context()["facts"], "why": "x"}}),
        ('context.input has tags && context.input.tags.contains("a")', {"input": {**context()["input"], "tags": ["a"]}}),
        ('context.input has address && context.input.address.city == "B"', {"input": {**context()["input"], "address": {"city": "B", "zip": 1}}}),
        ('context.input has reason && context.input.reason == "outage"', {"input": {**context()["input"], "reason": "outage", "share": 0.5, "lines": [{"n": 1}]}}),
        ('context.caller.kind == "agent" && principal is Agent', {}),
        ('!(principal has team)', {}),
        ('context.customer == "c1"', {"customer": "c1"}) ,
    ],
)  # fmt: skip
def test_a_policy_may_speak_of(when: str, changes: dict[str, Any]) -> None:
    if "context.customer" in when:
        when = f"context has customer && {when}"
    assert ask(permit(when), **changes) == Answer("allow", ("yes",))


def test_roles_and_teams_are_the_callers_own() -> None:
    text = policy(
        "role",
        f'principal in Role::"supervisor", action == Action::"{CREDIT}"',
        'principal has team && principal.team == "billing-care"',
    )
    assert ask(text, caller=w.MARIA).outcome == "allow"
    assert ask(text, caller=w.ANNA).outcome == "deny"
    assert ask(text, caller=w.FIN).outcome == "deny"


def test_an_action_without_customer_is_about_the_tenant() -> None:
    plain = w.action("ops.restart", needs_customer=False, facts={}, money=None, key=("account_id",))
    text = policy("tenant", 'principal, action == Action::"ops.restart"', 'resource == Tenant::"northwind"')
    compiled = ENGINE.compile(w.repo(text, plain))
    asked = context(facts={})
    assert compiled.answer(Question(w.FIN, "ops.restart", None, {}, asked)).outcome == "allow"
    assert compiled.answer(Question(w.FIN, CREDIT, None, {}, asked)).outcome == "no_decision"


def test_numbers_lists_of_objects_and_unions_are_left_out_of_the_schema() -> None:
    schema = json.loads(ENGINE.schema(w.repo()))
    input = schema[""]["actions"][CREDIT]["appliesTo"]["context"]["attributes"]["input"]["attributes"]
    assert input.keys() == {"account_id", "dispute_id", "amount", "reason", "tags", "address"}
    assert input["amount"] == {"type": "Long", "required": True}
    assert input["reason"] == {"type": "String", "required": False}
    assert input["tags"] == {"type": "Set", "element": {"type": "String"}, "required": False}


def test_only_facts_that_the_action_s_policies_read_are_asked_for() -> None:
    has = permit("context.facts has why")
    assert ENGINE.compile(w.repo(has)).facts_for(CREDIT) == {"why"}
    assert ENGINE.compile(w.repo(forbid('context.facts.account.status == "x"'))).facts_for(CREDIT) == {"account"}
    assert ENGINE.compile(w.repo(permit())).facts_for(CREDIT) == set()
    whole = ENGINE.compile(w.repo(permit("context.facts == context.facts")))
    assert whole.facts_for(CREDIT) == {"account", "credits_30d", "limit", "why", "unused"}
    other = policy("other", 'principal, action == Action::"billing.get_account"', "context.facts has account")
    assert ENGINE.compile(w.repo(other)).facts_for(CREDIT) == set()


@pytest.mark.parametrize(
    ("when", "brought", "inputs", "facts"),
    [
        ("true", set(), set(), set()),
        ("context.input.amount > 1", {"input"}, {"amount"}, set()),
        ('context.input has address && context.input.address.city == "x"', {"input"}, {"address"}, set()),
        ("context has confirmed && context.confirmed", {"confirmed"}, set(), set()),
        ('context.assurance.method == "otp" || context.facts has why', {"assurance", "facts"}, set(), {"why"}),
        ("[context.now].contains(context.now)", {"now"}, set(), set()),
        ("if context has approver then true else context.consents.isEmpty()", {"approver", "consents"}, set(), set()),
        ("context.input == context.input", {"input"}, {"account_id", "dispute_id", "amount", "reason"}, set()),
    ],
)
def test_a_request_brings_only_what_the_action_s_policies_read(
    when: str, brought: set[str], inputs: set[str], facts: set[str]
) -> None:
    fields = ENGINE.compile(w.repo(permit(when))).schema.contexts[CREDIT].fields
    assert fields.keys() == brought

    def inside(part: str) -> set[str]:
        shape = fields[part].shape if part in fields else Record({})
        assert isinstance(shape, Record)
        return set(shape.fields)

    assert inputs <= inside("input") and (len(inputs) > 1 or inside("input") == inputs) and inside("facts") == facts


ATOMS = (
    "context.input.amount > 1000",
    'context.input has reason && context.input.reason like "*x*"',
    'context.input has address && context.input.address has city && context.input.address.city == "Bonn"',
    'context has input && context["input"]["dispute_id"] == "D1"',
    'context.facts.account.status == "active"',
    "context.facts has why",
    "context.facts == context.facts",
    "context has confirmed && context.confirmed",
    "context has approver",
    "context.assurance.level >= 2",
    'context.consents.contains("service")',
    'context.now > datetime("2026-01-01")',
    'context.caller == {id: "fin", kind: "agent"}',
    "{a: context} == {a: context}",
    "(if context has customer then context else context).channel == context.mode",
)
CONDITIONS = st.recursive(
    st.sampled_from(ATOMS).map(lambda atom: f"({atom})"),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda three: f"({' '.join(three)})"),
        inner.map(lambda one: f"!{one}"),
        st.tuples(inner, inner, inner).map(lambda three: "(if {} then {} else {})".format(*three)),
    ),
    max_leaves=5,
)
SEEN = st.fixed_dictionaries(
    {},
    optional={
        "confirmed": st.booleans(),
        "approver": st.just({"id": "maria", "roles": ["supervisor"]}),
        "customer": st.just("c1"),
        "assurance": st.just({"level": 1, "method": "none"}),
        "input": st.just(
            {"account_id": "A1", "dispute_id": "D2", "amount": 1, "reason": "xx", "address": {"city": "Bonn"}}
        ),
    },
)


@given(CONDITIONS, CONDITIONS, SEEN)
@settings(max_examples=60, deadline=None)
def test_what_policies_do_not_read_changes_no_answer(yes: str, no: str, seen: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        repo = w.repo(permit(yes) + forbid(no))
        lean = ENGINE.compile(repo)
        patch.setattr(cedar_module, "_reads", lambda metas: Reads(*(frozenset({"*"}),) * 3))
        whole = ENGINE.compile(repo)
    facts = {"account": w.ACCOUNT, "credits_30d": 100, "unused": w.ACCOUNT}
    question = Question(w.FIN, CREDIT, "c1", {}, context(facts=facts, **seen))
    answer = whole.answer(question)
    assert answer.outcome in ("allow", "deny") and lean.answer(question) == answer


def test_a_policy_that_uses_the_whole_context_brings_all_of_it() -> None:
    compiled = ENGINE.compile(w.repo(permit('context.channel == "x"') + forbid("{a: context} == {a: context}")))
    assert compiled.schema.contexts[CREDIT] == schema_of(w.repo()).contexts[CREDIT]


def test_a_policy_that_covers_another_action_is_not_evaluated_for_this_one() -> None:
    compiled = ENGINE.compile(w.repo())
    assert set(compiled.slices[CREDIT].ids.values()) == {"small-credit", "not-alone", "closed-account"}
    assert {m.id for m in compiled.policies_for("billing.get_account")} == {"read-own"}


# what is wrong with policies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('@reason("x") permit (principal, action, resource);', 1, "without @id"),
        ('@id("a b") @reason("x") permit (principal, action, resource);', 1, "no policy id"),
        ('\n// about a;\n@id("a") permit (principal, action, resource);', 3, "has no @reason"),
        ('@id("a") @reason("") permit (principal, action, resource);', 1, "has no @reason"),
        (
            '@id("a") @reason("x")\n@aprovers("risk") permit (principal, action, resource);',
            2,
            "did you mean @approvers?",
        ),
        ('@id("a") @reason("x") @approvers("boss") permit (principal, action, resource);', 1, "unknown role 'boss'"),
        ('@id("a") @reason("x") @approvers permit (principal, action, resource);', 1, "names no role"),
        ('@id("a") @reason("x") @require("six-eyes") permit (principal, action, resource);', 1, "'six-eyes'"),
        ('@id("a") @reason("x") @expires("soon") permit (principal, action, resource);', 1, "span of time"),
        ('@id("a") @reason("x") @default("allow") permit (principal, action, resource);', 1, '@default("allow")'),
        ('@id("a") @reason("x") @default("escalate:boss") permit (principal, action, resource);', 1, "not known"),
        ('@id("a") @reason("x") permit (principal in Role::"risc", action, resource);', 1, "did you mean 'risk'?"),
        ('@id("a") @reason("x") permit (principal == Agent::"fim", action, resource);', 1, "unknown agent 'fim'"),
        ('@id("a") @reason("x") permit (principal == ?principal, action, resource);', 1, "templates"),
        ('@id("a") @reason("x") permit (principal, action, resource) when { 1 + };', 1, "unexpected token"),
        ('@id("a") @reason("x") permit (principal, action, resource)', 1, "cannot be read"),
        (permit() + "\n\n" + permit(), 4, "is taken"),
        (permit("\n\ncontext.input.amout > 1"), 3, "amout"),
        (permit('context.input.amount == "x"'), 1, "not compatible"),
        (permit('context.facts.why == "x"'), 1, "guard it"),
        (permit(action='action == Action::"billing.issue_crdit"'), 1, "unrecognized action"),
        (permit("context.input.share > 1"), 1, "share"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, line: int, said: str) -> None:
    found = ENGINE.check(w.repo(text))
    assert [m for m in found if m.file == "policies/credit.cedar" and m.line == line and said in str(m)], found


def test_all_mistakes_of_all_files_are_told_at_once() -> None:
    files = {
        "policies/a.cedar": permit("context.input.x"),
        "policies/b.cedar": '@id("b") permit (principal, action, resource);',
    }
    assert {m.file for m in ENGINE.check(w.repo(files))} == set(files)


def test_a_policy_keeps_the_file_and_line_it_was_written_in() -> None:
    files = {"policies/a.cedar": permit(), "policies/b.cedar": "// one; two\n\n" + forbid()}
    meta = ENGINE.compile(w.repo(files)).meta
    assert {(m.id, m.file, m.line) for m in meta.values()} == {
        ("yes", "policies/a.cedar", 1),
        ("no", "policies/b.cedar", 3),
    }


def test_a_fact_without_a_type_cannot_be_read_by_a_policy() -> None:
    facts = {**w.credit_facts(), "bare": w.ComputedFact("bare", "1 + 1", line=20)}
    (mistake,) = ENGINE.check(w.repo(permit("context.facts.bare == 2"), w.action(facts=facts)))
    assert (mistake.file, mistake.line) == ("catalog/billing/issue_credit.yaml", 20)
    assert "which has no type" in mistake.what


def test_an_unknown_type_is_a_mistake() -> None:
    facts = {"n": w.ComputedFact("n", "1", "Integer", line=4)}
    assert "unknown type 'Integer'" in str(ENGINE.check(w.repo(permit(), w.action(facts=facts))))


def test_obligations_are_read_from_annotations() -> None:
    text = (
        '@id("a") @reason("x") @owner("billing-care") @approvers("risk, supervisor") @require("four-eyes,redact:email")\n'
        '@cites("kb-1") @expires("90m") @default("escalate:risk") permit (principal, action, resource);'
    )
    meta = ENGINE.compile(w.repo(text)).meta["a"]
    duties = meta.obligations
    assert duties.approver_sets == (frozenset({"risk", "supervisor"}),)
    assert duties.require == {"four-eyes", "redact:email"}
    assert (duties.cites, duties.expires_s, duties.default) == ({"kb-1"}, 5400.0, "escalate:risk")
    assert meta.owner == "billing-care"


def test_an_empty_repo_of_policies_allows_nothing() -> None:
    compiled = ENGINE.compile(w.repo(""))
    assert compiled.answer(Question(w.FIN, CREDIT, "c1", {}, context())) == Answer("deny", ())
