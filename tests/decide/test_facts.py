from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cxplane.decide.facts import AT_ONCE, Facts, gather
from cxplane.decide.rulebook import Rulebook
from cxplane.domain.catalog import FactSpec, OnError
from cxplane.domain.customer import Recorded
from cxplane.domain.errors import FailureKind, SystemFailure
from tests.decide import world as w

DOWN = SystemFailure("billing", "no answer within 5 s", kind=FailureKind.RETRY)
MISSING = SystemFailure("billing", "404", kind=FailureKind.REFUSED, not_found=True)
NO = SystemFailure("billing", "422", kind=FailureKind.REFUSED)


def book(*specs: FactSpec, money: str | None = None) -> Rulebook:
    return w.rulebook(w.POLICIES.split('@id("small')[0], w.action(facts={s.name: s for s in specs}, money=money))


def had(
    rules: Rulebook, systems: w.Systems | None = None, asked: Any = None, about: Any = None, **kwargs: Any
) -> Facts:
    names = kwargs.pop("only", list(rules.rules["billing.issue_credit"].facts.rules))
    return asyncio.run(
        gather(rules, asked or w.request(), about or w.situation(), systems or w.Systems(), w.NOW, only=names, **kwargs)
    )


def read(name: str = "account", **changes: Any) -> w.ReadFact:
    return w.ReadFact(name, "billing.get_account", **{"with_": {"account_id": "input.account_id"}, **changes})


def computed(name: str, cel: str, type: str | None = None, **changes: Any) -> w.ComputedFact:
    return w.ComputedFact(name, cel, type, **changes)


def test_facts_are_read_computed_and_looked_up_with_their_sources() -> None:
    facts = w.facts_of(w.rulebook(), w.request())
    assert facts.as_map() == {"account": w.ACCOUNT, "credits_30d": 100}
    assert {f.name: f.source for f in facts.values} == {"account": "billing.get_account", "credits_30d": "computed"}
    assert (facts.money, facts.not_had) == (1500, ())


def test_nothing_is_read_for_a_request_that_is_refused_anyway() -> None:
    systems = w.Systems()
    for bad in (w.request(caller=w.NARROW), w.request(input={}), w.request(customer="c2"), w.request(action="nope")):
        assert w.facts_of(w.rulebook(), bad, systems=systems) == Facts()
    assert systems.asked == []


def test_a_fact_that_nobody_uses_is_not_read() -> None:
    systems = w.Systems()
    w.facts_of(w.rulebook(), w.request(), systems=systems)
    assert systems.asked == [("billing.get_account", {"account_id": "A1"})]


def test_the_same_read_is_made_once_and_others_in_parallel() -> None:
    systems = w.Systems()
    others = [read(f"r{n}", with_={"account_id": f"'B{n}'"}) for n in range(4)]
    facts = had(book(read("a"), read("b"), *others), systems)
    assert len(facts.values) == 6
    assert len(systems.asked) == 5
    assert systems.most_at_once == 5


def test_a_read_may_use_earlier_facts() -> None:
    second = read("second", with_={"account_id": "account.plan + channel"})
    systems = w.Systems()
    had(book(second, read()), systems)
    assert systems.asked[1] == ("billing.get_account", {"account_id": "goldchat"})


def test_each_reads_one_per_item_in_order_and_a_few_at_once() -> None:
    spec = read("all", with_={"account_id": "'A' + t"}, each="input.tags", item="t")
    asked = w.request(input={**w.request().input, "tags": [str(n) for n in range(30)]})
    systems = w.Systems(**{"billing.get_account": lambda i: {**w.ACCOUNT, "plan": i["account_id"]}})
    (fact,) = had(book(spec), systems, asked).values
    assert [item["plan"] for item in fact.value] == [f"A{n}" for n in range(30)]
    assert systems.most_at_once == AT_ONCE


def test_each_over_too_many_items_or_over_no_list_is_not_had() -> None:
    many = w.request(input={**w.request().input, "tags": ["x"] * 201})
    spec = read("all", with_={"account_id": "t"}, each="input.tags", item="t")
    assert "more than 200" in had(book(spec), asked=many).not_had[0].why
    text = read("all", with_={"account_id": "t"}, each="channel", item="t")
    assert "not a list" in had(book(text)).not_had[0].why


@pytest.mark.parametrize(
    ("spec", "answer", "why"),
    [
        (read(), DOWN, "no answer within 5 s"),
        (read(), MISSING, "it is not there"),
        (read(), NO, "422"),
        (read(), ValueError("Erika"), "could not be read (ValueError)"),
        (read(), {"status": "Erika"}, "broke its contract"),
        (read(), {**w.ACCOUNT, "balance": float("nan")}, "finite"),
        (read(), {**w.ACCOUNT, "extra": 2**60}, "beyond 2^53"),
        (read(), ["Erika"], "broke its contract"),
        (read(with_={"account_id": "input.amount"}), w.ACCOUNT, "cannot be asked"),
        (read(with_={"account": "'x'"}), w.ACCOUNT, "cannot be asked"),
        (read(with_={"account_id": "input.nope"}), w.ACCOUNT, "no field 'nope'"),
        (read(optional=True), DOWN, "no answer"),
        (read("all", each="input.nope"), w.ACCOUNT, "no field 'nope'"),
    ],
)
def test_a_read_that_fails_is_told_without_customer_data(spec: FactSpec, answer: Any, why: str) -> None:
    facts = had(book(spec), w.Systems(**{"billing.get_account": answer}))
    assert facts.values == ()
    (lack,) = facts.not_had
    assert why in lack.why
    assert "Erika" not in lack.why


@pytest.mark.parametrize("answer", [MISSING, NO])
def test_an_optional_read_that_finds_nothing_leaves_the_fact_absent(answer: Exception) -> None:
    facts = had(book(read(optional=True)), w.Systems(**{"billing.get_account": answer}))
    assert facts == Facts()


def test_what_a_missing_fact_leads_to_is_the_entry_s_word() -> None:
    facts = had(book(read(on_error=OnError.HOLD)), w.Systems(**{"billing.get_account": DOWN}))
    assert facts.not_had[0].on_error is OnError.HOLD


@pytest.mark.parametrize(("answer", "later"), [(DOWN, True), (MISSING, False), (NO, False), (ValueError(), False)])
def test_only_a_system_that_does_not_answer_is_lacking_for_now(answer: Exception, later: bool) -> None:
    specs = (read(), computed("x", "account.balance + 1"), computed("y", "x + 1"))
    facts = had(book(*specs), w.Systems(**{"billing.get_account": answer}))
    assert {lack.name: lack.later for lack in facts.not_had} == {"account": later, "x": later, "y": later}


def test_what_needs_one_for_now_and_one_for_good_is_lacking_for_good() -> None:
    specs = (read(), computed("bad", "input.nope + 1"), computed("x", "account.balance + bad"))
    facts = had(book(*specs), w.Systems(**{"billing.get_account": DOWN}))
    assert {lack.name: lack.later for lack in facts.not_had} == {"account": True, "bad": False, "x": False}


def test_a_fact_made_of_a_missing_one_is_missing_too_and_says_why() -> None:
    facts = had(book(read(), computed("x", "account.balance + 1")), w.Systems(**{"billing.get_account": DOWN}))
    assert [lack.why for lack in facts.not_had if lack.name == "x"] == ["it needs account, which could not be had"]


def test_money_made_of_a_missing_fact_is_not_known() -> None:
    facts = had(book(read(), money="account.balance"), w.Systems(**{"billing.get_account": DOWN}))
    assert facts.money is None


@pytest.mark.parametrize("money", ["1.5", "input.nope", "-1"])
def test_money_that_is_no_amount_is_a_fact_that_could_not_be_had(money: str) -> None:
    facts = had(book(money=money))
    assert [lack.name for lack in facts.not_had] == ["money"]


@pytest.mark.parametrize(
    ("type", "cel", "value"),
    [
        ("Bool", "1 < 2", True),
        ("Long", "5 / 2", 2),
        ("String", "today", "2026-01-05"),
        ("Decimal", "1.5", 1.5),
        ("Datetime", "now", "2026-01-05T10:00:00+00:00"),
        ("Datetime", "'2026-01-05T10:00:00Z'", "2026-01-05T10:00:00+00:00"),
        ("Set<String>", "['a']", ["a"]),
        ("Set<Long>", "[1]", [1]),
        (None, "{'a': 1}", {"a": 1}),
    ],
)
def test_a_computed_fact_has_its_type(type: str | None, cel: str, value: Any) -> None:
    assert had(book(computed("x", cel, type))).as_map() == {"x": value}


@pytest.mark.parametrize(
    ("type", "cel"),
    [
        ("Bool", "1"), ("Long", "true"), ("Long", "1.0"), ("String", "1"), ("Decimal", "'1'"),
        ("Datetime", "'soon'"), ("Set<String>", "[1]"), ("Set<Long>", "['1']"), ("Long", "null"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_not_had(type: str, cel: str) -> None:
    (lack,) = had(book(computed("x", cel, type))).not_had
    assert "not a" in lack.why or "null" in lack.why


def test_a_moment_stays_a_moment_for_later_facts() -> None:
    facts = had(
        book(
            computed("at", "timestamp('2026-01-04T10:00:00Z')", "Datetime"),
            computed("old", "now - at >= duration('24h')", "Bool"),
        )
    )
    assert facts.as_map()["old"] is True


def test_today_is_the_day_in_the_plane_s_time_zone() -> None:
    late = w.NOW.replace(hour=23, minute=30)
    rules = book(computed("d", "today", "String"))
    facts = asyncio.run(gather(rules, w.request(), w.situation(), w.Systems(), late, only=["d"]))
    assert facts.as_map() == {"d": "2026-01-06"}


def test_a_table_gives_its_cell_and_a_missing_one_leaves_an_optional_fact_absent() -> None:
    cell = w.TableFact("limit", "limits", "'gold'", "'credit'", "Long")
    assert had(book(cell)).as_map() == {"limit": 2500}
    none = w.TableFact("limit", "limits", "'tin'", "'credit'", "Long")
    assert had(book(none)).not_had[0].why == "it is not there"
    assert had(book(w.TableFact("limit", "limits", "'tin'", "'credit'", "Long", optional=True))) == Facts()


def test_an_absent_optional_fact_can_be_asked_for_with_has() -> None:
    why = w.RecordedFact("why", "reason_given", optional=True)
    guarded = computed("known", "has(facts.why) && facts.why == 'x'", "Bool")
    assert had(book(why, guarded)).as_map() == {"known": False}
    assert had(book(why, guarded), asked=w.request(recorded={"reason_given": "x"})).as_map()["known"] is True


def test_a_fact_made_of_an_absent_one_is_absent_only_if_it_may_be() -> None:
    why = w.RecordedFact("why", "reason_given", optional=True)
    assert had(book(why, computed("x", "why + '!'", "String", optional=True))) == Facts()
    assert had(book(why, computed("x", "why + '!'", "String"))).not_had[0].why == "it needs why, which is absent"
    broken = computed("x", "1 / 0", "Long", optional=True)
    assert had(book(broken)).not_had[0].why == "a division by zero"


def conversation(value: Any, minutes: float = 5) -> Any:
    at = w.NOW - timedelta(minutes=minutes)
    return w.situation(recorded={"reason_given": Recorded("reason_given", value, "person:jon", at)})


def test_evidence_says_who_recorded_it_and_when() -> None:
    spec = w.RecordedFact("why", "reason_given", max_age=timedelta(minutes=10))
    (fact,) = had(book(spec), about=conversation("outage")).values
    assert (fact.value, fact.source, fact.age_s) == ("outage", "recorded by person:jon", 300.0)
    (now,) = had(book(spec), about=conversation("outage"), asked=w.request(recorded={"reason_given": "other"})).values
    assert (now.value, now.source) == ("other", "recorded by agent:fin")


@pytest.mark.parametrize(
    ("about", "why"),
    [(conversation("x", 11), "not there"), (w.situation(), "not there"), (conversation(7), "not a String"), (conversation(None), "not there")],
)  # fmt: skip
def test_evidence_that_is_old_missing_or_of_another_type_does_not_count(about: Any, why: str) -> None:
    spec = w.RecordedFact("why", "reason_given", max_age=timedelta(minutes=10))
    assert why in had(book(spec), about=about).not_had[0].why


def test_evidence_is_as_old_as_it_was_when_the_request_was_made() -> None:
    spec = w.RecordedFact("why", "reason_given", max_age=timedelta(minutes=10))
    later = w.NOW + timedelta(hours=3)
    facts = asyncio.run(gather(book(spec), w.request(), conversation("x"), w.Systems(), later, only=["why"]))
    assert facts.as_map() == {"why": "x"}


def test_a_read_that_is_fresh_enough_is_used_again_with_its_age() -> None:
    rules, systems, ticks = book(read(max_age=timedelta(seconds=30))), w.Systems(), [0.0]
    for tick, reads in [(0.0, 1), (29.0, 1), (31.0, 2)]:
        ticks[0] = tick
        (fact,) = had(rules, systems, tick=lambda: ticks[0]).values
        assert len(systems.asked) == reads
    assert fact.age_s == 0.0
    ticks[0] = 40.0
    (fact,) = had(rules, systems, tick=lambda: ticks[0]).values
    assert (fact.age_s, fact.as_of) == (9.0, w.NOW - timedelta(seconds=9))
    had(rules, systems, asked=w.request(tenant="other"), tick=lambda: ticks[0])
    assert len(systems.asked) == 3


def test_a_read_without_max_age_is_made_every_time() -> None:
    rules, systems = book(read()), w.Systems()
    had(rules, systems)
    had(rules, systems)
    assert len(systems.asked) == 2


def test_given_values_stand_for_reads_and_nothing_goes_out() -> None:
    systems = w.Systems()
    rules = w.rulebook()
    facts = had(rules, systems, given={"account": {**w.ACCOUNT, "credits": []}}, only=["credits_30d"])
    assert facts.as_map()["credits_30d"] == 0
    assert (
        had(rules, systems, given={"credits_30d": 7, "account": w.ACCOUNT}, only=["credits_30d"]).as_map()[
            "credits_30d"
        ]
        == 7
    )
    lack = asyncio.run(gather(rules, w.request(), w.situation(), systems, w.NOW, given={})).not_had[0]
    assert "the test gives no value" in lack.why
    assert systems.asked == []
