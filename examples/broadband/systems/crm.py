"""Customers, their contact details and their contracts."""

from __future__ import annotations

from datetime import date
from typing import Any

from .estate import PLANS, households
from .service import Call, Done, Refusal, State, again, by_key, next_id, public, reads, reverse, row, writes

FIELDS = ("email", "phone", "address")
CHANNELS = ("email", "sms")


def seed(today: date) -> State:
    customers, contracts = {}, {}
    for home in households():
        customers[home.customer_id] = {
            "customer_id": home.customer_id,
            "name": home.name,
            "email": f"{home.name.split()[0].lower()}.{home.n}@example.org",
            "phone": f"+49 30 23125 {home.n % 1000:03d}",
            "address": home.address,
            "segment": home.segment,
            "vulnerable": home.vulnerable,
            "account_id": home.account_id,
        }
        contracts[home.customer_id] = {
            "customer_id": home.customer_id,
            "plan": home.plan,
            "monthly": PLANS[home.plan],
            "status": "active",
            "started_on": home.started_on(today).isoformat(),
            "term_ends_on": home.term_ends_on(today).isoformat(),
        }
    # What the conformance test takes back.
    proving = {"customer_id": "c-1900", "keys": []}
    phones = {"field": "phone", "before": "+49 30 23125 900", "after": "+49 30 23125 901", "restored_as": ""}
    plans = {"before": "office-1000", "after": "fibre-1000", "reverted_as": ""}
    changes = {f"ch-{n}": {"change_id": f"ch-{n}", **phones, **proving} for n in range(1, 6)}
    plan_changes = {f"pc-{n}": {"plan_change_id": f"pc-{n}", **plans, **proving} for n in range(1, 6)}
    cancelled = {"reason": "moved", "reinstated_as": ""}
    cancellations = {f"cx-{n}": {"cancellation_id": f"cx-{n}", **cancelled, **proving} for n in range(1, 6)}
    flagged = {"dispute_id": "old", "cleared_as": ""}
    flags = {f"fl-{n}": {"flag_id": f"fl-{n}", **flagged, **proving} for n in range(1, 6)}
    noted = {"text": "A note for the conformance test", "withdrawn_as": ""}
    notes = {f"cn-{n}": {"note_id": f"cn-{n}", **noted, **proving} for n in range(1, 6)}
    return {
        "customers": customers,
        "contracts": contracts,
        "changes": changes,
        "plan_changes": plan_changes,
        "restorals": {},
        "resets": {},
        "cancellations": cancellations,
        "reinstatements": {},
        "reversions": {},
        "flags": flags,
        "clearings": {},
        "contract_notes": notes,
        "withdrawals": {},
        "messages": {},
    }


def get_customer(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "customers", call.path["customer_id"]))


def get_contract(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "contracts", call.path["customer_id"]))


def update_contact(state: State, call: Call) -> Done:
    customer = row(state, "customers", call.path["customer_id"])
    name, value = call.text("field"), call.text("value")
    if name not in FIELDS:
        raise Refusal(422, "invalid", f"field must be one of {', '.join(FIELDS)}")
    change_id = next_id(state, "ch")
    change = {
        "change_id": change_id,
        "customer_id": customer["customer_id"],
        "field": name,
        "before": customer[name],
    }
    state["changes"][change_id] = {**change, "after": value, "restored_as": "", "keys": [call.key]}
    customer[name] = value
    return Done({"change_id": change_id, "field": name, "value": value}, change_id)


def restore_contact(state: State, call: Call) -> Done:
    change = row(state, "changes", call.path["change_id"])
    if change["restored_as"]:
        return again(state, "restorals", change["restored_as"], call)
    row(state, "customers", change["customer_id"])[change["field"]] = change["before"]
    return reverse(state, "restorals", "rs", change, "restored_as", {"change_id": change["change_id"]}, call)


def reset_password(state: State, call: Call) -> Done:
    customer = row(state, "customers", call.path["customer_id"])
    reset_id = next_id(state, "pw")
    reset = {"reset_id": reset_id, "customer_id": customer["customer_id"], "channel": call.text("channel")}
    state["resets"][reset_id] = {**reset, "keys": [call.key]}
    return Done(reset, reset_id)


def change_plan(state: State, call: Call) -> Done:
    contract, plan = row(state, "contracts", call.path["customer_id"]), call.text("plan")
    if plan not in PLANS:
        raise Refusal(422, "unknown_plan", f"plan must be one of {', '.join(PLANS)}")
    if contract["status"] != "active":
        raise Refusal(409, "not_active", "the contract is cancelled")
    change_id = next_id(state, "pc")
    change = {
        "plan_change_id": change_id,
        "customer_id": contract["customer_id"],
        "before": contract["plan"],
        "after": plan,
    }
    state["plan_changes"][change_id] = {**change, "reverted_as": "", "keys": [call.key]}
    contract.update(plan=plan, monthly=PLANS[plan])
    return Done({"plan_change_id": change_id, "plan": plan, "monthly": PLANS[plan]}, change_id)


def revert_plan(state: State, call: Call) -> Done:
    change = row(state, "plan_changes", call.path["plan_change_id"])
    if change["reverted_as"]:
        return again(state, "reversions", change["reverted_as"], call)
    contract = row(state, "contracts", change["customer_id"])
    contract.update(plan=change["before"], monthly=PLANS[change["before"]])
    return reverse(state, "reversions", "pr", change, "reverted_as", {"plan_change_id": change["plan_change_id"]}, call)


def cancel_service(state: State, call: Call) -> Done:
    contract = row(state, "contracts", call.path["customer_id"])
    if contract["status"] == "cancelled":
        return again(state, "cancellations", contract["cancelled_as"], call)
    cancellation_id = next_id(state, "cx")
    cancellation = {
        "cancellation_id": cancellation_id,
        "customer_id": contract["customer_id"],
        "reason": call.text("reason"),
    }
    state["cancellations"][cancellation_id] = {**cancellation, "reinstated_as": "", "keys": [call.key]}
    contract.update(status="cancelled", cancelled_as=cancellation_id)
    return Done({**cancellation, "status": "cancelled"}, cancellation_id)


def reinstate_service(state: State, call: Call) -> Done:
    cancellation = row(state, "cancellations", call.path["cancellation_id"])
    if cancellation["reinstated_as"]:
        return again(state, "reinstatements", cancellation["reinstated_as"], call)
    contract = row(state, "contracts", cancellation["customer_id"])
    contract["status"] = "active"
    contract.pop("cancelled_as", None)
    of = {"cancellation_id": cancellation["cancellation_id"]}
    return reverse(state, "reinstatements", "ri", cancellation, "reinstated_as", of, call)


def flag_dispute(state: State, call: Call) -> Done:
    """Mark on the customer that a line of a bill is disputed."""
    customer = row(state, "customers", call.path["customer_id"])
    flag_id = next_id(state, "fl")
    flag = {"flag_id": flag_id, "customer_id": customer["customer_id"], "dispute_id": call.text("dispute_id")}
    state["flags"][flag_id] = {**flag, "cleared_as": "", "keys": [call.key]}
    return Done(flag, flag_id)


def clear_dispute(state: State, call: Call) -> Done:
    flag = row(state, "flags", call.path["flag_id"])
    if flag["cleared_as"]:
        return again(state, "clearings", flag["cleared_as"], call)
    return reverse(state, "clearings", "fc", flag, "cleared_as", {"flag_id": flag["flag_id"]}, call)


def note_contract(state: State, call: Call) -> Done:
    contract = row(state, "contracts", call.path["customer_id"])
    note_id = next_id(state, "cn")
    note = {"note_id": note_id, "customer_id": contract["customer_id"]}
    state["contract_notes"][note_id] = {**note, "text": call.text("text"), "withdrawn_as": "", "keys": [call.key]}
    return Done(note, note_id)


def withdraw_contract_note(state: State, call: Call) -> Done:
    note = row(state, "contract_notes", call.path["note_id"])
    if note["withdrawn_as"]:
        return again(state, "withdrawals", note["withdrawn_as"], call)
    return reverse(state, "withdrawals", "nw", note, "withdrawn_as", {"note_id": note["note_id"]}, call)


def send_message(state: State, call: Call) -> Done:
    """Nothing leaves the building: the message is kept, for whoever wants to read what was sent."""
    customer, channel = row(state, "customers", call.path["customer_id"]), call.text("channel")
    if channel not in CHANNELS:
        raise Refusal(422, "invalid", f"channel must be one of {', '.join(CHANNELS)}")
    message_id = next_id(state, "me")
    message = {"message_id": message_id, "customer_id": customer["customer_id"], "channel": channel}
    to = customer["email" if channel == "email" else "phone"]
    state["messages"][message_id] = {**message, "to": to, "text": call.text("text"), "keys": [call.key]}
    return Done(message, message_id)


ROUTES = (
    reads("/customers/{customer_id}", "get_customer", get_customer),
    reads("/customers/{customer_id}/contract", "get_contract", get_contract),
    writes("/customers/{customer_id}/contact", "update_account", update_contact, method="PATCH"),
    writes("/changes/{change_id}/restore", "restore_account", restore_contact),
    writes("/customers/{customer_id}/password-reset", "reset_password", reset_password),
    writes("/customers/{customer_id}/plan", "change_plan", change_plan),
    writes("/plan-changes/{plan_change_id}/revert", "revert_plan", revert_plan),
    writes("/customers/{customer_id}/cancellation", "cancel_service", cancel_service),
    writes("/cancellations/{cancellation_id}/reinstate", "reinstate_service", reinstate_service),
    writes("/customers/{customer_id}/disputes", "flag_dispute", flag_dispute),
    writes("/disputes/{flag_id}/clear", "clear_dispute", clear_dispute),
    writes("/customers/{customer_id}/contract/notes", "note_contract", note_contract),
    writes("/contract-notes/{note_id}/withdraw", "withdraw_contract_note", withdraw_contract_note),
    writes("/customers/{customer_id}/messages", "send_message", send_message),
    reads("/changes", "find_change", by_key("changes")),
    reads("/restorals", "find_restoral", by_key("restorals")),
    reads("/password-resets", "find_reset", by_key("resets")),
    reads("/plan-changes", "find_plan_change", by_key("plan_changes")),
    reads("/reversions", "find_reversion", by_key("reversions")),
    reads("/cancellations", "find_cancellation", by_key("cancellations")),
    reads("/reinstatements", "find_reinstatement", by_key("reinstatements")),
    reads("/disputes", "find_flag", by_key("flags")),
    reads("/clearings", "find_clearing", by_key("clearings")),
    reads("/contract-notes", "find_contract_note", by_key("contract_notes")),
    reads("/contract-note-withdrawals", "find_note_withdrawal", by_key("withdrawals")),
    reads("/messages", "find_message", by_key("messages")),
)
