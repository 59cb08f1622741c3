"""What happened in a run, told from its entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.domain.journey import Expected, Journey, Listen
from cxplane.domain.record import Entry
from cxplane.journeys.timeline import timeline, words
from tests.journeys.driving import journey as driven
from tests.journeys.samples import DISPUTE

BEGIN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SOURCES = {"request", "decision", "outcome", "approval.opened", "approval.decided"}


def entry(
    position: int,
    kind: str,
    body: Mapping[str, Any],
    *,
    after: timedelta = timedelta(),
    actor: str = "cxplane",
    private: Mapping[str, Any] | None = None,
) -> Entry:
    stream = body.get("request", body.get("id", "")) if kind in SOURCES else "run_1"
    return Entry(position, "t", kind, stream, BEGIN + after, actor, body, private)


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TELLER = "person:ada.lind"
STATE = {"tokens": [{"id": 1, "at": "credit", "wait": {"kind": "call", "request": "req_1"}}]}
ENTRIES = [
    entry(
        1,
        "run.started",
        {"run": "run_1", "journey": "billing_dispute", "key": "D-7", "started_by": "system:billing"},
        actor="system:billing",
    ),
    entry(
        2,
        "run.advanced",
        {
            "run": "run_1",
            "status": "waiting",
            "event": ["started"],
            "went": [["note_opened", "done"], ["size.large", "taken"], ["judge", "waits"]],
        },
    ),
    entry(
        3,
        "task.opened",
        {
            "task": "tsk_1",
            "run": "run_1",
            "step": "judge",
            "team": "billing-care",
            "what": "approve",
            "due": "2026-11-23T09:00:00+00:00",
        },
    ),
    entry(4, "task.moved", {"task": "tsk_1", "how": "reminded"}, after=DAY),
    entry(
        5,
        "task.answered",
        {"task": "tsk_1", "run": "run_1", "by": TELLER, "how": "answered"},
        after=DAY + HOUR,
        actor=TELLER,
        private={"answer": {"approved": True}, "comment": "seen the bill"},
    ),
    entry(
        6,
        "run.advanced",
        {
            "run": "run_1",
            "status": "ready",
            "event": ["task answered"],
            "went": [["judge", "done"], ["credit", "waits"]],
        },
        after=DAY + HOUR,
        private={"state": STATE},
    ),
    entry(
        7,
        "request",
        {"id": "req_1", "action": "billing.issue_credit", "caller": "journey:billing_dispute", "run": "run_1"},
        after=DAY + HOUR,
        actor="journey:billing_dispute",
    ),
    entry(
        8,
        "decision",
        {"request": "req_1", "verdict": "hold", "reasons": [{"code": "x", "text": "a credit above 20.00"}]},
        after=DAY + HOUR,
    ),
    entry(
        9,
        "approval.opened",
        {"request": "req_1", "approval": "app_1", "action": "billing.issue_credit", "approver_sets": [["supervisor"]]},
        after=DAY + HOUR,
    ),
    entry(
        10,
        "approval.decided",
        {"request": "req_1", "approval": "app_1", "status": "approved", "decided_by": TELLER},
        after=2 * DAY,
        actor=TELLER,
    ),
    entry(11, "outcome", {"request": "req_1", "status": "failed", "error": "no such account"}, after=2 * DAY),
    entry(
        12,
        "run.advanced",
        {
            "run": "run_1",
            "status": "stuck",
            "event": ["request failed"],
            "went": [["credit", "failed", "failed"]],
            "error": "failed at step credit",
        },
        after=2 * DAY,
        private={"texts": {"credit": "no such account"}},
    ),
    entry(
        13, "run.told", {"run": "run_1", "what": "skip", "by": TELLER, "step": "credit"}, after=3 * DAY, actor=TELLER
    ),
    entry(
        14,
        "run.advanced",
        {
            "run": "run_1",
            "status": "done",
            "event": ["told skip", "signal crm.flagged", "time due"],
            "went": [["credit", "skipped"]],
        },
        after=3 * DAY,
    ),
]


def test_everything_is_told_in_the_order_of_the_record() -> None:
    texts = [item["text"] for item in timeline(DISPUTE, list(reversed(ENTRIES)))]
    assert texts == [
        "The journey billing_dispute starts for D-7, by system:billing",
        "note_opened: done",
        "size.large: this case holds",
        "judge: waits (ask: billing-care: yes or no, within 2 days)",
        "judge: billing-care is asked to say yes or no, due 23 Nov 2026 09:00 UTC",
        "judge: a reminder was sent",
        "judge: person:ada.lind answers: yes (“seen the bill”)",
        "judge: done",
        "credit: waits (call: billing.issue_credit)",
        "credit: billing.issue_credit is asked for by journey:billing_dispute",
        "credit: billing.issue_credit is held for approval: a credit above 20.00",
        "credit: billing.issue_credit waits for the approval of supervisor",
        "credit: billing.issue_credit is approved by person:ada.lind",
        "credit: billing.issue_credit was not done: no such account",
        "credit: failed, failed: no such account",
        "The run is stuck until a person frees it: failed at step credit",
        "Told to skip what is stuck (credit), by person:ada.lind",
        "The signal crm.flagged came",
        "The time that was waited for has come",
        "credit: a person skipped it",
        "The run is done",
    ]


def test_each_item_says_when_where_and_by_whom() -> None:
    items = timeline(DISPUTE, ENTRIES)
    assert items[0]["at"] == "2026-11-21T09:00:00+00:00"
    assert items[0] | {"text": ""} == {
        "at": "2026-11-21T09:00:00+00:00",
        "position": 1,
        "what": "run.started",
        "how": "started",
        "text": "",
        "actor": "system:billing",
    }
    asked = next(item for item in items if item["what"] == "request")
    assert (asked["request"], asked["step"], asked["how"]) == ("req_1", "credit", "asked")
    assert [item["position"] for item in items] == sorted(item["position"] for item in items)


def test_a_run_whose_definition_is_gone_is_told_by_names() -> None:
    texts = [item["text"] for item in timeline(None, ENTRIES)]
    assert "judge: waits" in texts and "credit: a person skipped it" in texts


def test_lines_say_how_long_after_the_beginning() -> None:
    lines = words(DISPUTE, ENTRIES)
    assert lines[0].startswith("start ")
    assert any(line.startswith("+1 day 1 hour  judge: person:ada.lind") for line in lines)
    assert words(DISPUTE, []) == []


def test_what_nobody_answered_and_what_was_taken_back_is_told() -> None:
    told = timeline(
        DISPUTE,
        [
            entry(1, "task.opened", {"task": "tsk_1", "step": "judge", "team": "billing-care", "what": "choose"}),
            entry(2, "task.moved", {"task": "tsk_1", "how": "escalated", "team": "supervisors"}),
            entry(
                3,
                "task.answered",
                {"task": "tsk_1", "by": "cxplane", "how": "defaulted"},
                private={"answer": {"choice": "no"}},
            ),
            entry(4, "run.told", {"what": "cancel", "by": TELLER, "compensate": False, "switched_to": "run_2"}),
            entry(
                5,
                "run.advanced",
                {"status": "cancelled", "event": {"kind": "told"}, "went": [["flag", "undone"], ["", "cancelled"]]},
            ),
        ],
    )
    assert [item["text"] for item in told] == [
        "judge: billing-care is asked to choose",
        "judge: nobody answered, so it went to supervisors",
        "judge: nobody answered in time, so the default counts: no",
        "Told to cancel the run, without taking anything back, and goes on as run run_2, by person:ada.lind",
        "flag: taken back",
        "The run is being cancelled",
        "The run is cancelled",
    ]


def test_kinds_of_entries_that_are_not_of_a_run_are_left_out() -> None:
    assert timeline(DISPUTE, [entry(1, "customer.changed", {}), entry(2, "intent", {"request": "req_1"})]) == []


def test_what_a_run_did_before_it_came_over_is_told_as_its_step_was_then() -> None:
    def listens(days: int) -> Journey:
        return driven(Listen("parcel", signals=(Expected("shop.came"),), within=timedelta(days=days)))

    entries = [
        replace(entry(n, "run.advanced", {"went": [["parcel", "waits"]], "status": "waiting"}), release=release)
        for n, release in enumerate(("old", "new"))
    ]
    texts = [item["text"] for item in timeline(listens(14), entries, {"old": listens(5)})]
    assert texts == [
        "parcel: waits (listen: for shop.came, 5 days at most)",
        "parcel: waits (listen: for shop.came, 2 weeks at most)",
    ]
