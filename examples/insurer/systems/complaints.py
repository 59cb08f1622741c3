"""The complaints register: what was complained of, what was answered, what was paid, what went to the ombudsman."""

from __future__ import annotations

from datetime import date
from typing import Any

from examples.broadband.systems.service import (
    Call,
    Done,
    Refusal,
    State,
    by_key,
    next_id,
    public,
    reads,
    row,
    writes,
)

from .households import BENCH

FINDINGS = ("upheld", "partly_upheld", "not_upheld")


def seed(today: date) -> State:
    state: State = {"complaints": {}, "answers": {}, "redress": {}, "referrals": {}}
    for group in range(1, 4):  # what the conformance test works on: cp-11 to cp-39
        for n in range(1, 10):
            complaint = _complaint(f"cp-{group}{n}", BENCH.customer_id, "A complaint for the conformance test")
            if group > 1:
                complaint |= {"status": "answered", "offered": 500}
            state["complaints"][complaint["complaint_id"]] = complaint
    return state


def _complaint(complaint_id: str, customer_id: str, text: str) -> dict[str, Any]:
    return {
        "complaint_id": complaint_id,
        "customer_id": customer_id,
        "text": text,
        "status": "open",
        "offered": 0,
        "keys": [],
    }


def get_complaint(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "complaints", call.path["complaint_id"]))


def log_complaint(state: State, call: Call) -> Done:
    complaint_id = next_id(state, "cp")
    complaint = _complaint(complaint_id, call.text("customer_id"), call.text("text"))
    state["complaints"][complaint_id] = complaint | {"keys": [call.key]}
    return Done({"complaint_id": complaint_id, "customer_id": complaint["customer_id"]}, complaint_id)


def record_answer(state: State, call: Call) -> Done:
    """What we found, and what we offer: 0 cents or more."""
    complaint, finding = row(state, "complaints", call.path["complaint_id"]), call.text("finding")
    offered = call.body.get("offered")
    if finding not in FINDINGS or isinstance(offered, bool) or not isinstance(offered, int) or offered < 0:
        raise Refusal(422, "invalid", f"a finding of {', '.join(FINDINGS)}, and an offer of whole cents")
    if complaint["status"] != "open":
        raise Refusal(409, "answered", f"the complaint is {complaint['status']}")
    complaint.update(status="answered", offered=offered)
    answer_id = next_id(state, "an")
    answer = {"answer_id": answer_id, "complaint_id": complaint["complaint_id"], "finding": finding}
    state["answers"][answer_id] = answer | {"text": call.text("text"), "keys": [call.key]}
    return Done(answer, answer_id)


def pay_redress(state: State, call: Call) -> Done:
    complaint, amount = row(state, "complaints", call.path["complaint_id"]), call.cents("amount")
    if complaint["status"] != "answered" or amount > complaint["offered"]:
        raise Refusal(409, "not_offered", "this was not offered, or is paid already")
    complaint["status"] = "settled"
    redress_id = next_id(state, "rd")
    paid = {"redress_id": redress_id, "complaint_id": complaint["complaint_id"], "amount": amount}
    state["redress"][redress_id] = paid | {"keys": [call.key]}
    return Done(paid, redress_id)


def refer(state: State, call: Call) -> Done:
    """The customer does not agree: the papers go to the ombudsman."""
    complaint = row(state, "complaints", call.path["complaint_id"])
    if complaint["status"] == "settled":
        raise Refusal(409, "settled", "the complaint is settled")
    complaint["status"] = "referred"
    referral_id = next_id(state, "om")
    referred = {"referral_id": referral_id, "complaint_id": complaint["complaint_id"]}
    state["referrals"][referral_id] = referred | {"keys": [call.key]}
    return Done(referred, referral_id)


ROUTES = (
    reads("/complaints/{complaint_id}", "get_complaint", get_complaint),
    writes("/complaints", "log_complaint", log_complaint),
    writes("/complaints/{complaint_id}/answers", "record_answer", record_answer),
    writes("/complaints/{complaint_id}/redress", "pay_redress", pay_redress),
    writes("/complaints/{complaint_id}/referrals", "refer", refer),
    reads("/complaints", "find_complaint", by_key("complaints")),
    reads("/answers", "find_answer", by_key("answers")),
    reads("/redress", "find_redress", by_key("redress")),
    reads("/referrals", "find_referral", by_key("referrals")),
)
