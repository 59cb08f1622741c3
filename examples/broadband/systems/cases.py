"""Cases and the notes on them."""

from __future__ import annotations

from datetime import date
from typing import Any

from .estate import households
from .service import Call, Done, Refusal, State, again, by_key, next_id, public, reads, reverse, row, writes

KINDS = ("billing", "fault", "contract", "complaint", "general")


def seed(today: date) -> State:
    cases = {}
    for home in households():
        kind = "complaint" if home.complaint else "fault" if home.line != "ok" else "billing" if home.late_fee else ""
        if kind:
            cases[f"ca-{home.n}"] = _case(f"ca-{home.n}", home.customer_id, kind, "Opened by telephone", today)
    for n in range(1, 6):  # what the conformance test withdraws, closes and reopens
        for case_id in (f"ca-{n}", f"ca-1{n}"):
            cases[case_id] = _case(case_id, "c-1900", "general", "A case for the conformance test", today)
    closings = {
        f"cl-{n}": {
            "closing_id": f"cl-{n}",
            "case_id": "ca-1900",
            "resolution": "old",
            "reopened_as": "",
            "keys": [],
        }
        for n in range(1, 6)
    }
    return {"cases": cases, "notes": {}, "closings": closings, "reopenings": {}, "withdrawals": {}}


def _case(case_id: str, customer_id: str, kind: str, subject: str, today: date) -> dict[str, Any]:
    return {
        "case_id": case_id,
        "customer_id": customer_id,
        "kind": kind,
        "subject": subject,
        "status": "open",
        "opened_on": today.isoformat(),
        "notes": 0,
        "withdrawn_as": "",
        "closed_as": "",
        "keys": [],
    }


def get_case(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "cases", call.path["case_id"]))


def open_case(state: State, call: Call) -> Done:
    kind = call.text("kind")
    if kind not in KINDS:
        raise Refusal(422, "invalid", f"kind must be one of {', '.join(KINDS)}")
    case_id = next_id(state, "ca")
    case = _case(case_id, call.text("customer_id"), kind, call.text("subject"), call.today)
    state["cases"][case_id] = {**case, "keys": [call.key]}
    return Done({"case_id": case_id, "kind": kind, "status": "open"}, case_id)


def withdraw_case(state: State, call: Call) -> Done:
    case = row(state, "cases", call.path["case_id"])
    if case["withdrawn_as"]:
        return again(state, "withdrawals", case["withdrawn_as"], call)
    case["status"] = "withdrawn"
    return reverse(state, "withdrawals", "wd", case, "withdrawn_as", {"case_id": case["case_id"]}, call)


def log_note(state: State, call: Call) -> Done:
    case = row(state, "cases", call.path["case_id"])
    note_id = next_id(state, "no")
    note = {"note_id": note_id, "case_id": case["case_id"]}
    state["notes"][note_id] = {**note, "text": call.text("text"), "keys": [call.key]}
    case["notes"] += 1
    return Done(note, note_id)


def close_case(state: State, call: Call) -> Done:
    case = row(state, "cases", call.path["case_id"])
    if case["status"] == "closed":
        return again(state, "closings", case["closed_as"], call)
    if case["status"] != "open":
        raise Refusal(409, "not_open", "only an open case can be closed")
    closing_id = next_id(state, "cl")
    closing = {"closing_id": closing_id, "case_id": case["case_id"], "resolution": call.text("resolution")}
    state["closings"][closing_id] = {**closing, "reopened_as": "", "keys": [call.key]}
    case.update(status="closed", closed_as=closing_id)
    return Done(closing, closing_id)


def reopen_case(state: State, call: Call) -> Done:
    closing = row(state, "closings", call.path["closing_id"])
    if closing["reopened_as"]:
        return again(state, "reopenings", closing["reopened_as"], call)
    row(state, "cases", closing["case_id"])["status"] = "open"
    return reverse(state, "reopenings", "ro", closing, "reopened_as", {"closing_id": closing["closing_id"]}, call)


ROUTES = (
    reads("/cases/{case_id}", "get_case", get_case),
    writes("/cases", "open_case", open_case),
    writes("/cases/{case_id}/withdraw", "withdraw_case", withdraw_case),
    writes("/cases/{case_id}/notes", "log_note", log_note),
    writes("/cases/{case_id}/close", "close_case", close_case),
    writes("/closings/{closing_id}/reopen", "reopen_case", reopen_case),
    reads("/cases", "find_case", by_key("cases")),
    reads("/notes", "find_note", by_key("notes")),
    reads("/closings", "find_closing", by_key("closings")),
    reads("/reopenings", "find_reopening", by_key("reopenings")),
    reads("/withdrawals", "find_withdrawal", by_key("withdrawals")),
)
