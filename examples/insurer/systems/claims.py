"""Claims with their documents, assessments and payouts.

A customer sends documents through a portal: `POST /claims/{claim_id}/documents {"document": "plumber_report"}`. That is
nothing that the control plane does, so it is in no catalog; the portal then tells the plane that one came.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from examples.broadband.systems.service import (
    Call,
    Done,
    Refusal,
    State,
    again,
    by_key,
    next_id,
    public,
    reads,
    reverse,
    row,
    writes,
)

from .households import BENCH, PAPERS

UNCLEAR_ABOVE = 500_000  # cents; and every theft


def seed(today: date) -> State:
    state: State = {
        "claims": {},
        "assessments": {},
        "payouts": {},
        "recalls": {},
        "decisions": {},
        "reversals": {},
    }
    for group in range(1, 7):  # what the conformance test works on: a group for each write, cm-11 to cm-69
        for n in range(1, 10):
            claim_id = f"cm-{group}{n}"
            claim = _claim(claim_id, BENCH.policy_id, BENCH.customer_id, "glass", today.isoformat(), 20_000)
            if group == 2:
                claim |= {"status": "assessed", "worth": 20_000}
            state["claims"][claim_id] = claim
            if group == 4:
                claim["status"] = "declined"
                decision = {"decision_id": f"dc-{n}", "claim_id": claim_id, "reopened_as": "", "keys": []}
                state["decisions"][f"dc-{n}"] = decision
            if group == 5:
                claim |= {"status": "paid", "worth": 20_000}
                payout = {"payout_id": f"po-{n}", "claim_id": claim_id, "amount": 15_000}
                state["payouts"][f"po-{n}"] = payout | {"recalled_as": "", "keys": []}
    return state


def _claim(claim_id: str, policy_id: str, customer_id: str, kind: str, happened_on: str, amount: int) -> dict[str, Any]:
    return {
        "claim_id": claim_id,
        "policy_id": policy_id,
        "customer_id": customer_id,
        "kind": kind,
        "happened_on": happened_on,
        "amount": amount,
        "status": "open",
        "documents": [],
        "missing": list(PAPERS[kind]),
        "worth": 0,
        "withdrawn_as": "",
        "keys": [],
    }


def get_claim(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "claims", call.path["claim_id"]))


def open_claim(state: State, call: Call) -> Done:
    kind = call.text("kind")
    if kind not in PAPERS:
        raise Refusal(422, "invalid", f"kind must be one of {', '.join(PAPERS)}")
    claim_id = next_id(state, "cm")
    who = call.text("policy_id"), call.text("customer_id")
    claim = _claim(claim_id, *who, kind, call.text("happened_on"), call.cents("amount"))
    state["claims"][claim_id] = claim | {"keys": [call.key]}
    return Done(public(claim), claim_id)


def withdraw_claim(state: State, call: Call) -> Done:
    """Undo of opening it."""
    claim = row(state, "claims", call.path["claim_id"])
    if claim["withdrawn_as"]:
        return again(state, "reversals", claim["withdrawn_as"], call)
    if claim["status"] not in ("open", "assessed"):
        raise Refusal(409, "not_open", f"the claim is {claim['status']}")
    claim["status"] = "withdrawn"
    return reverse(state, "reversals", "rv", claim, "withdrawn_as", {"claim_id": claim["claim_id"]}, call)


def add_document(state: State, call: Call) -> Done:
    """The customer sends a document through the portal."""
    claim, document = row(state, "claims", call.path["claim_id"]), call.text("document")
    if document not in claim["documents"]:
        claim["documents"].append(document)
    claim["missing"] = [one for one in PAPERS[claim["kind"]] if one not in claim["documents"]]
    return Done({"claim_id": claim["claim_id"], "document": document}, next_id(state, "do"))


def assess_claim(state: State, call: Call) -> Done:
    """What the loss is worth, and whether that is beyond doubt. Needs all documents."""
    claim = _open(state, call.path["claim_id"])
    if claim["missing"]:
        raise Refusal(409, "documents_missing", f"not without {', '.join(claim['missing'])}")
    unclear = claim["kind"] == "theft" or claim["amount"] > UNCLEAR_ABOVE
    assessment_id = next_id(state, "as")
    found = {
        "assessment_id": assessment_id,
        "claim_id": claim["claim_id"],
        "worth": claim["amount"] * 4 // 5 if unclear else claim["amount"],
        "clear": not unclear,
        "remark": "the receipts do not cover all of it" if unclear else "receipts and documents agree",
    }
    claim.update(status="assessed", worth=found["worth"])
    state["assessments"][assessment_id] = found | {"keys": [call.key]}
    return Done(found, assessment_id)


def pay_out(state: State, call: Call) -> Done:
    """To the account that stands in the policy, never to another."""
    claim, amount = _open(state, call.path["claim_id"]), call.cents("amount")
    if amount > claim["worth"]:
        raise Refusal(409, "more_than_worth", "this is more than the claim was assessed at")
    payout_id = next_id(state, "po")
    paid = {"payout_id": payout_id, "claim_id": claim["claim_id"], "amount": amount}
    state["payouts"][payout_id] = paid | {"recalled_as": "", "keys": [call.key]}
    claim["status"] = "paid"
    return Done(paid, payout_id)


def recall_payout(state: State, call: Call) -> Done:
    """Undo of a payout: possible until the bank's evening run, and the example has no evening."""
    paid = row(state, "payouts", call.path["payout_id"])
    if paid["recalled_as"]:
        return again(state, "recalls", paid["recalled_as"], call)
    row(state, "claims", paid["claim_id"])["status"] = "assessed"
    return reverse(state, "recalls", "rc", paid, "recalled_as", {"payout_id": paid["payout_id"]}, call)


def decline_claim(state: State, call: Call) -> Done:
    claim = _open(state, call.path["claim_id"])
    decision_id = next_id(state, "dc")
    decided = {"decision_id": decision_id, "claim_id": claim["claim_id"]}
    state["decisions"][decision_id] = decided | {"why": call.text("why"), "reopened_as": "", "keys": [call.key]}
    claim["status"] = "declined"
    return Done(decided, decision_id)


def reopen_claim(state: State, call: Call) -> Done:
    """Undo of declining it."""
    decided = row(state, "decisions", call.path["decision_id"])
    if decided["reopened_as"]:
        return again(state, "reversals", decided["reopened_as"], call)
    row(state, "claims", decided["claim_id"])["status"] = "open"
    return reverse(state, "reversals", "rv", decided, "reopened_as", {"decision_id": decided["decision_id"]}, call)


def _open(state: State, claim_id: str) -> dict[str, Any]:
    claim = row(state, "claims", claim_id)
    if claim["status"] not in ("open", "assessed"):
        raise Refusal(409, "not_open", f"the claim is {claim['status']}")
    return claim


ROUTES = (
    reads("/claims/{claim_id}", "get_claim", get_claim),
    writes("/claims", "open_claim", open_claim),
    writes("/claims/{claim_id}/withdraw", "withdraw_claim", withdraw_claim),
    writes("/claims/{claim_id}/documents", "add_document", add_document),
    writes("/claims/{claim_id}/assessments", "assess_claim", assess_claim),
    writes("/claims/{claim_id}/payouts", "pay_out", pay_out),
    writes("/payouts/{payout_id}/recall", "recall_payout", recall_payout),
    writes("/claims/{claim_id}/decline", "decline_claim", decline_claim),
    writes("/decisions/{decision_id}/reopen", "reopen_claim", reopen_claim),
    reads("/claims", "find_claim", by_key("claims")),
    reads("/assessments", "find_assessment", by_key("assessments")),
    reads("/payouts", "find_payout", by_key("payouts")),
    reads("/recalls", "find_recall", by_key("recalls")),
    reads("/decisions", "find_decision", by_key("decisions")),
    reads("/reversals", "find_reversal", by_key("reversals")),
)
