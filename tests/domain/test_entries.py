from datetime import UTC, datetime, timedelta

from cxplane.domain.decision import FactValue, Grounds, Held, Obligations, Reason, Refused, Tier, Verdict
from cxplane.domain.entries import (
    decision_entry,
    decision_status,
    grounds_from,
    outcome_entry,
    outcome_from,
    request_entry,
    request_from,
)
from cxplane.domain.outcome import Attempt, Outcome, Status
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import Entry, NewEntry
from cxplane.domain.request import ActionRequest, Candidate

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
REQUEST = ActionRequest(
    id="req_1",
    tenant="t",
    action="billing.issue_credit",
    input={"account_id": "A-Planted", "amount": 500},
    caller=Caller(CallerKind.AGENT, "fin", frozenset({"service-agent"}), "care", frozenset({"billing"})),
    at=NOW,
    customer="c1",
    conversation="con_1",
    channel="chat",
    confidence=0.9,
    reason="outage",
    candidates=(Candidate("billing.waive_fee", 0.3, "smaller loss"),),
    recorded={"customer_confirmed": True},
)
GROUNDS = Grounds(
    release="f" * 64,
    at=NOW,
    reasons=(Reason("policy", "small credits", Verdict.HOLD, "small", "policies/a.cedar", 3),),
    determined_by="policy",
    facts=(FactValue("account", {"balance": -1200}, "billing.get_account", NOW, 0.5),),
    tiers=(Tier("billing.issue_credit", "deny"), Tier("billing.issue_credit:request", "allow", ("small",))),
    obligations=Obligations(frozenset({"lead"}), (frozenset({"lead"}),), frozenset({"four-eyes"}), frozenset(), 3600.0),
    context={"assurance": {"level": 2}},
    money=500,
)


def kept(new: NewEntry) -> Entry:
    return Entry(1, "t", new.kind, new.stream, new.at, new.actor, new.body, new.private, new.release, new.cause)


def test_a_request_comes_back_from_the_record_as_it_was() -> None:
    assert request_from(kept(request_entry(REQUEST, version=2, key="k"))) == REQUEST


def test_the_grounds_of_a_decision_come_back_as_they_were() -> None:
    held = Held(REQUEST, GROUNDS, "k", (frozenset({"lead"}),), NOW + timedelta(hours=1))
    assert grounds_from(kept(decision_entry(held))) == GROUNDS


def test_what_judging_saw_as_now_is_kept_beside_the_time_of_the_entry() -> None:
    entry = decision_entry(Refused(REQUEST, GROUNDS), at=NOW + timedelta(days=900))
    assert entry.at == NOW + timedelta(days=900)
    assert grounds_from(kept(entry)).at == NOW


def test_personal_data_stands_in_private_alone() -> None:
    for entry in (request_entry(REQUEST, version=2, key="k"), decision_entry(Refused(REQUEST, GROUNDS))):
        assert "Planted" not in str(entry.body)
        assert "-1200" not in str(entry.body)


def test_an_outcome_comes_back_from_the_record_as_it_was() -> None:
    outcome = Outcome(
        "req_1", Status.DONE, NOW, {"credit_id": "cr1"}, "reply", None, None, (Attempt(NOW, 5.25, "done", ""),)
    )
    assert outcome_from(kept(outcome_entry(outcome, release="f", subject=None))) == outcome


def test_a_dry_run_is_previewed_whatever_was_decided() -> None:

    assert decision_status(Refused(REQUEST.changed(dry_run=True), GROUNDS)) is Status.PREVIEWED
    assert decision_status(Refused(REQUEST, GROUNDS)) is Status.REFUSED
