from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cxplane.domain.people import Caller
from cxplane.domain.record import ApprovalRow
from cxplane.people.approvals import edited, may_see, waits_for, why_not
from tests.decide import world as w


def approval(**changes: Any) -> ApprovalRow:
    known: dict[str, Any] = {
        "id": "apr_1",
        "request": "req_1",
        "action": "billing.issue_credit",
        "customer": "c1",
        "proposed_by": "agent:fin",
        "approver_sets": (("supervisor",),),
        "four_eyes": False,
        "status": "open",
        "opened_at": w.NOW,
        "expires_at": w.NOW + timedelta(hours=4),
        "default": "refuse",
    }
    return ApprovalRow(**{**known, **changes})


def test_a_person_with_the_role_may_decide() -> None:
    assert why_not(approval(), w.MARIA, w.NOW) is None


@pytest.mark.parametrize(
    ("changes", "person", "later", "said"),
    [
        ({}, w.JON, 0, "somebody with the role supervisor"),
        ({}, w.FIN, 0, "only a person"),
        ({"status": "approved"}, w.MARIA, 0, "approved already"),
        ({}, w.MARIA, 4, "expired"),
        ({"approver_sets": (("supervisor",), ("risk", "fraud"))}, w.MARIA, 0, "fraud or risk"),
        ({"four_eyes": True, "proposed_by": "person:maria"}, w.MARIA, 0, "four eyes"),
    ],
)
def test_why_somebody_may_not_decide_is_said(changes: dict[str, Any], person: Caller, later: int, said: str) -> None:
    assert said in (why_not(approval(**changes), person, w.NOW + timedelta(hours=later)) or "")


def test_who_proposed_it_may_decide_it_where_policy_does_not_ask_for_four_eyes() -> None:
    assert why_not(approval(proposed_by="person:maria"), w.MARIA, w.NOW) is None


def test_those_concerned_may_see_it() -> None:
    assert [may_see(approval(), who) for who in (w.MARIA, w.FIN, w.JON)] == [True, True, False]


def test_an_edit_is_a_new_request_linked_to_the_old_one_that_the_editor_approves() -> None:
    later = w.NOW + timedelta(minutes=1)
    new = {**w.request().input, "amount": 900}
    edit = edited(w.request(confidence=0.4), approval(), w.MARIA, new, id="req_2", at=later)
    made = edit.request
    assert (made.id, made.replaces, made.cause, made.at, made.input) == ("req_2", "req_1", "apr_1", later, new)
    assert (made.caller, made.customer, made.confidence, edit.approver) == (w.FIN, "c1", None, w.MARIA)


def test_under_four_eyes_the_editor_becomes_the_proposer() -> None:
    edit = edited(w.request(), approval(four_eyes=True), w.MARIA, {"amount": 1}, id="req_2", at=w.NOW)
    assert (edit.request.caller, edit.approver) == (w.MARIA, None)


def test_an_edit_that_changes_nothing_is_no_edit() -> None:
    with pytest.raises(ValueError, match="approve it instead"):
        edited(w.request(), approval(), w.MARIA, dict(w.request().input), id="req_2", at=w.NOW)


def test_whom_it_waits_for_is_said_in_words() -> None:
    assert waits_for([["supervisor"], ["risk", "fraud"]]) == "supervisor and (fraud or risk)"
