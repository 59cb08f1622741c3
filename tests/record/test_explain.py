from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from cxplane.domain.decision import Allowed, FactValue, Grounds, Held, Obligations, Reason, Refused, Tier, Verdict
from cxplane.domain.entries import (
    approval_decided,
    approval_opened,
    decision_entry,
    outcome_entry,
    request_entry,
)
from cxplane.domain.outcome import Attempt, Outcome, Status
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import Entry, NewEntry
from cxplane.domain.request import ActionRequest, Candidate
from cxplane.record.about import About
from cxplane.record.explain import explain, plain

T = datetime(2026, 1, 5, 10, 0, 0, tzinfo=UTC)
REQUEST = ActionRequest(
    id="req_1",
    tenant="t",
    action="billing.issue_credit",
    input={"account_id": "a1", "amount": 900},
    caller=Caller(CallerKind.AGENT, "fin", frozenset({"service-agent"})),
    at=T,
    customer="c1",
    conversation="cv1",
    channel="chat",
    confidence=0.9,
    reason="the fee was wrong",
    candidates=(Candidate("billing.waive_fee", 0.4, "the fee is paid already"),),
)
LIMIT = Reason("policy", "Above 5.00 a supervisor decides", Verdict.HOLD, "ai-limit", "policies/credits.cedar", 12)
SILENT = Reason("unavailable", "'account' could not be had: no answer", Verdict.REFUSE, where="account")
GROUNDS = Grounds(
    release="abcdef123456" + "0" * 52,
    at=T + timedelta(milliseconds=4),
    reasons=(LIMIT,),
    determined_by="policy",
    facts=(FactValue("account", {"status": "active"}, "billing.get_account", T, 1.5),),
    tiers=(Tier("billing.issue_credit", "deny", ("ai-limit",)),),
    obligations=Obligations(require=frozenset({"four-eyes"}), cites=frozenset({"credits-2"})),
    money=900,
    took_ms=3.25,
)
HELD = Held(REQUEST, GROUNDS, "k1", (frozenset({"supervisor"}),), T + timedelta(hours=4))
ALLOWED = Allowed(REQUEST, GROUNDS.changed(at=T + timedelta(minutes=9), approver="maria", determined_by="person"), "k1")


def record(*news: NewEntry) -> list[Entry]:
    position = count(1)
    return [
        Entry(next(position), "t", n.kind, n.stream, n.at, n.actor, n.body, n.private, n.release, n.cause) for n in news
    ]


def asked() -> NewEntry:
    return request_entry(REQUEST, version=2, key="k1")


def ended(status: Status, **more: object) -> NewEntry:
    at = T + timedelta(minutes=9, seconds=1)
    attempts = (
        Attempt(at, 300.0, "unknown", "POST /credits: no answer within 0.3 s"),
        Attempt(at, 12.0, "confirmed", "looked with billing.find_credit: it is done"),
    )
    outcome = Outcome("req_1", status, at, attempts=attempts, **more)  # type: ignore[arg-type]
    return outcome_entry(outcome, release=GROUNDS.release, subject=None)


APPROVED = (
    asked(),
    decision_entry(HELD),
    approval_opened(HELD, "apr_1", four_eyes=True),
    approval_decided(
        "apr_1",
        "req_1",
        status="approved",
        by="person:maria",
        at=T + timedelta(minutes=9),
        subject=None,
        comment="fair enough",
    ),
    decision_entry(ALLOWED, at=T + timedelta(minutes=9), due=T + timedelta(minutes=10)),
    ended(Status.DONE, output={"credit_id": "cr-1"}, confirmed_by="read billing.find_credit"),
)


def test_the_whole_story_is_told_in_plain_words() -> None:
    told = explain(record(*APPROVED))
    assert json.loads(json.dumps(told)) == told
    text = plain(told)
    for words in (
        "agent:fin asked for billing.issue_credit (version 2) for customer c1",
        "at 2026-01-05 10:00:00 UTC, through chat, as request req_1",
        "because, as it said: the fee was wrong",
        "amount = 900",
        "billing.waive_fee (score 0.4): the fee is paid already",
        "hold: Above 5.00 a supervisor decides [ai-limit, policies/credits.cedar:12]",
        'account = {"status": "active"} (from billing.get_account, read 2026-01-05 10:00:00 UTC, 1.5 s old)',
        "determined by the operator's policy",
        "under release abcdef123456",
        "It obliges to: four-eyes",
        "It cites: credits-2",
        "supervisor must decide, not the one who asked",
        "approved by person:maria at 2026-01-05 10:09:00 UTC",
        "saying: fair enough",
        "Judged again",
        "with the approval of maria",
        "no clear answer (POST /credits: no answer within 0.3 s)",
        "It was done, confirmed by a look at the system (billing.find_credit).",
        "credit_id = cr-1",
        "9 min waiting for a person",
        "6.5 ms deciding, both together",
        "What to do next: Nothing: it is done.",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("entries", "stands", "words"),
    [
        ((asked(),), "running", "Wait: cxplane is finding out"),
        (
            (asked(), decision_entry(HELD), approval_opened(HELD, "apr_1", four_eyes=False)),
            "held",
            "Wait for supervisor",
        ),
        (
            (
                asked(),
                decision_entry(Refused(REQUEST, GROUNDS.changed(reasons=(LIMIT.changed(effect=Verdict.REFUSE),)))),
            ),
            "refused",
            "Change what the reasons name, then ask again: Above 5.00",
        ),
        (
            (asked(), decision_entry(Refused(REQUEST, GROUNDS.changed(reasons=(SILENT,))))),
            "refused",
            "Ask again, as a new request, when the system that the fact comes from answers.",
        ),
        (
            (
                *APPROVED[:3],
                approval_decided("apr_1", "req_1", status="rejected", by="person:maria", at=T, subject=None),
            ),
            "rejected",
            "anew",
        ),
        (
            (*APPROVED[:3], approval_decided("apr_1", "req_1", status="expired", by="cxplane", at=T, subject=None)),
            "expired",
            "anew",
        ),
        (
            (
                *APPROVED[:3],
                approval_decided(
                    "apr_1", "req_1", status="edited", by="person:m", at=T, subject=None, replaced_by="req_2"
                ),
            ),
            "replaced",
            "See request req_2",
        ),
        ((request_entry(REQUEST.changed(dry_run=True), version=2, key=None), APPROVED[4]), "previewed", "a dry run"),
        (APPROVED[:5], "running", "Wait"),
        ((*APPROVED[:5], ended(Status.FAILED, kind="retry", error="down")), "failed", "its key is free"),
        ((*APPROVED[:5], ended(Status.FAILED, kind="refused", error="409")), "failed", "why it said no"),
        ((*APPROVED[:5], ended(Status.STUCK, error="nobody knows")), "stuck", "A person must look"),
    ],
)
def test_where_it_stands_and_what_to_do_next(entries: tuple[NewEntry, ...], stands: str, words: str) -> None:
    told = explain(record(*entries))
    assert told["stands"] == stands
    assert words in told["next"]
    assert told["next"] in plain(told)


def test_erased_data_leaves_names_and_sources() -> None:
    erased = [replace(entry, private=None) for entry in record(*APPROVED)]
    text = plain(explain(erased))
    assert "account = (not shown, or erased) (from billing.get_account" in text
    assert "Input: not shown, or erased" in text
    for gone in ("a1", "cr-1", "the fee was wrong", "fair enough", "active"):
        assert gone not in text


def test_an_unknown_outcome_says_when_it_is_looked_at_again() -> None:
    outcome = Outcome("req_1", Status.UNKNOWN, T, error="not known yet")
    entries = record(*APPROVED[:5], outcome_entry(outcome, release="r", subject=None, due=T + timedelta(seconds=5)))
    assert "it looks again at 2026-01-05 11:00:05 CET." in explain(entries, About(zone="Europe/Berlin"))["next"]


def test_entries_without_a_request_explain_nothing() -> None:
    with pytest.raises(ValueError, match="no request"):
        explain(record(APPROVED[1]))
