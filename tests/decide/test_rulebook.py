from __future__ import annotations

from typing import Any

import pytest

from cxplane.decide.rulebook import Rulebook, mistakes
from cxplane.domain.catalog import Confirm, ConfirmWhen, FactSpec, HttpCall, Undo
from cxplane.domain.errors import ControlError
from tests.decide import world as w

BOOK = w.rulebook()


def facts(**specs: FactSpec) -> dict[str, FactSpec]:
    return {**w.credit_facts(), **specs}


@pytest.mark.parametrize(
    ("changes", "line", "said"),
    [
        ({"facts": facts(x=w.ComputedFact("x", "acount.balance", "Long", line=7))}, 7, "did you mean 'account'?"),
        ({"facts": facts(x=w.ComputedFact("x", "1 +", "Long", line=7))}, 7, "bad syntax"),
        ({"facts": facts(x=w.ComputedFact("x", "shell(1)", "Long", line=7))}, 7, "unknown function shell"),
        ({"facts": facts(x=w.ComputedFact("x", "facts[channel]", "Long", line=7))}, 7, "`facts` as a whole"),
        ({"facts": facts(x=w.ComputedFact("x", "has(facts.wy)", "Bool", line=7))}, 7, "facts.wy"),
        ({"facts": facts(x=w.ReadFact("x", "billing.get_acount", {}, line=7))}, 7, "did you mean 'billing.get_account'?"),
        ({"facts": facts(x=w.ReadFact("x", "billing.issue_credit", {}, line=7))}, 7, "which is a write"),
        ({"facts": facts(x=w.ReadFact("x", "billing.get_account", {"a": "c.id"}, each="input.lines", item="b", line=7))}, 7, "'c'"),
        ({"facts": facts(x=w.TableFact("x", "limit", "'a'", "'b'", "Long", line=7))}, 7, "did you mean 'limits'?"),
        ({"facts": facts(now=w.ComputedFact("now", "1", line=7))}, 7, "has a meaning already"),
        ({"money": "input.amount + fee"}, 1, "'fee'"),
        ({"key": ("account", "dispute_id")}, 1, "no 'account'"),
        ({"confirm": Confirm("billing.get_account", {"k": "request.key"}, "reslt.ok", ConfirmWhen.ALWAYS)}, 1, "did you mean 'result'?"),
        ({"undo": Undo("billing.issue_credit", {"id": "outptu.id"})}, 1, "did you mean 'output'?"),
        ({"via": HttpCall("billing", "POST", "/x", body={"a": "account.id"})}, 1, "'account'"),
        ({"input": {"type": "object", "properties": {"account_id": {"type": "text"}, "dispute_id": {}}}}, 1, "no JSON Schema"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_entry_is_told_with_its_line(changes: dict[str, Any], line: int, said: str) -> None:
    found = mistakes(w.repo(w.POLICIES, w.action(**changes)), None, w.EXPRESSIONS)
    assert [m for m in found if m.file == "catalog/billing/issue_credit.yaml" and m.line == line and said in str(m)], (
        found
    )


def test_facts_that_need_each_other_are_a_mistake() -> None:
    circle = facts(
        a=w.ComputedFact("a", "b + 1", line=3),
        b=w.ComputedFact("b", "c", line=4),
        c=w.ComputedFact("c", "facts.a", line=5),
    )
    (mistake,) = mistakes(w.repo(w.POLICIES, w.action(facts=circle)), None, w.EXPRESSIONS)
    assert (mistake.line, "in a circle" in mistake.what) == (3, True)


def test_a_release_with_mistakes_does_not_compile() -> None:
    bad = w.release(w.POLICIES, w.action(money="1 +", key=("nope",)))
    with pytest.raises(ControlError) as caught:
        Rulebook.compile(bad, w.ENGINE.compile(bad.repo), w.EXPRESSIONS)
    assert len(caught.value.mistakes) == 2


def test_a_right_repo_has_no_mistakes() -> None:
    assert mistakes(w.repo(), BOOK.policies, w.EXPRESSIONS) == ()


def test_only_facts_that_somebody_uses_are_had_with_what_they_need() -> None:
    rules = BOOK.rules["billing.issue_credit"]
    assert rules.judged == ("account", "credits_30d")
    undo = w.action(undo=Undo("billing.issue_credit", {"account_id": "unused.status"}))
    assert "unused" in w.rulebook(w.POLICIES, undo).rules["billing.issue_credit"].gathered


# keys --------------------------------------------------------------------------------------------------


def test_the_same_act_has_the_same_key_whoever_asks_and_whatever_else_is_said() -> None:
    first = BOOK.key_of(w.request())
    again = w.request(id="req_2", caller=w.JON, input={"dispute_id": "D1", "amount": 9, "account_id": "A1"})
    assert first is not None
    assert BOOK.key_of(again) == first


@pytest.mark.parametrize("change", [{"account_id": "A2"}, {"dispute_id": "D2"}])
def test_another_act_has_another_key(change: dict[str, str]) -> None:
    assert BOOK.key_of(w.request(input={**w.request().input, **change})) != BOOK.key_of(w.request())


def test_values_cannot_slide_from_one_part_of_a_key_into_another() -> None:
    one = w.request(input={"account_id": "A1", "dispute_id": "2,3", "amount": 1})
    other = w.request(input={"account_id": "A1,2", "dispute_id": "3", "amount": 1})
    assert BOOK.key_of(one) != BOOK.key_of(other)


def test_a_read_has_no_key() -> None:
    assert BOOK.key_of(w.request(action="billing.get_account", input={"account_id": "A1"})) is None


@pytest.mark.parametrize(
    ("key", "changes", "lacks"),
    [
        (("conversation",), {}, "conversation"),
        (("input.reason",), {}, "input.reason"),
        (("address.city",), {}, "address.city"),
        (("customer",), {"customer": None}, "customer"),
    ],
)
def test_a_missing_part_of_the_key_is_named(key: tuple[str, ...], changes: dict[str, Any], lacks: str) -> None:
    book = w.rulebook(w.POLICIES, w.action(key=key))
    problem = book.key_problem(w.request(**changes))
    assert book.key_of(w.request(**changes)) is None
    assert problem is not None
    assert (problem.code, problem.where) == ("key", lacks)


# money -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expression", ["1.5", "'12'", "true", "-1", "null", "9007199254740993"])
def test_money_is_a_whole_number_of_minor_units(expression: str) -> None:
    book = w.rulebook(w.POLICIES, w.action(money=expression))
    with pytest.raises(ValueError, match="whole number of minor units"):
        book.money_of(w.request(), {"input": {}})
