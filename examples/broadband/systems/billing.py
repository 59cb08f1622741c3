"""Accounts, invoices, payments, fees, credits and refunds. Amounts are whole cents."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from .estate import PLANS, Household, households
from .service import Call, Done, Refusal, State, again, by_key, next_id, public, reads, reverse, row, writes


def seed(today: date) -> State:
    state: State = {
        name: {} for name in ("accounts", "invoices", "payments", "fees", "credits", "refunds", "reversals", "waivers")
    }
    for home in households():
        _seed_account(state, home, today)
    _seed_proving_rows(state, today)
    return state


def _seed_account(state: State, home: Household, today: date) -> None:
    state["accounts"][home.account_id] = {
        "account_id": home.account_id,
        "customer_id": home.customer_id,
        "status": "active",
        "fraud_hold": home.fraud_hold,
    }
    monthly = PLANS[home.plan]
    for months_ago in (2, 1, 0):
        invoice_id = f"in-{home.n}-{3 - months_ago}"
        issued = today - timedelta(days=30 * months_ago + 4)
        paid = months_ago > 0
        late = 500 if home.late_fee and months_ago == 0 else 0
        state["invoices"][invoice_id] = {
            "invoice_id": invoice_id,
            "account_id": home.account_id,
            "issued_on": issued.isoformat(),
            "due_on": (issued + timedelta(days=14)).isoformat(),
            "amount": monthly + late,
            "open": 0 if paid else monthly + late,
        }
        if paid:
            payment_id = f"pm-{home.n}-{3 - months_ago}"
            state["payments"][payment_id] = _payment(payment_id, home.account_id, invoice_id, monthly, issued)
    if home.late_fee:
        state["fees"][f"fe-{home.n}"] = {
            "fee_id": f"fe-{home.n}",
            "account_id": home.account_id,
            "invoice_id": f"in-{home.n}-3",
            "kind": "late_payment",
            "amount": 500,
            "status": "charged",
            "waived_on": "",
        }


def _payment(payment_id: str, account_id: str, invoice_id: str, amount: int, paid_on: date) -> dict[str, Any]:
    return {
        "payment_id": payment_id,
        "account_id": account_id,
        "invoice_id": invoice_id,
        "amount": amount,
        "refunded": 0,
        "paid_on": paid_on.isoformat(),
        "voided_as": "",
        "keys": [],
    }


def _seed_proving_rows(state: State, today: date) -> None:
    """What the conformance test pays, waives and takes back."""
    old = today - timedelta(days=300)
    for n in range(1, 6):
        state["credits"][f"cr-{n}"] = {
            "credit_id": f"cr-{n}",
            "account_id": "a-1900",
            "dispute_id": f"d-{n}",
            "amount": 100,
            "issued_on": old.isoformat(),
            "reversed_as": "",
            "keys": [],
        }
        for payment_id in (f"pm-{n}", f"pm-1{n}"):  # to be voided, to be refunded
            state["payments"][payment_id] = _payment(payment_id, "a-1900", "in-1900-1", 100, old)
        state["invoices"][f"in-1900-1{n}"] = {
            "invoice_id": f"in-1900-1{n}",
            "account_id": "a-1900",
            "issued_on": old.isoformat(),
            "due_on": old.isoformat(),
            "amount": 100,
            "open": 100,
        }
        state["fees"][f"fe-1{n}"] = {
            "fee_id": f"fe-1{n}",
            "account_id": "a-1900",
            "invoice_id": "in-1900-1",
            "kind": "reminder",
            "amount": 250,
            "status": "charged",
            "waived_on": "",
        }
        state["fees"][f"fe-{n}"] = {
            "fee_id": f"fe-{n}",
            "account_id": "a-1900",
            "invoice_id": "in-1900-1",
            "kind": "reminder",
            "amount": 250,
            "status": "waived",
            "waived_on": old.isoformat(),
            "waived_as": f"wv-{n}",
        }
        state["waivers"][f"wv-{n}"] = {
            "waiver_id": f"wv-{n}",
            "account_id": "a-1900",
            "fee_id": f"fe-{n}",
            "amount": 250,
            "reinstated_as": "",
            "keys": [],
        }


def get_account(state: State, call: Call) -> dict[str, Any]:
    """The account with its open amount, its credits and its fees."""
    account_id = call.path["account_id"]
    account = public(row(state, "accounts", account_id))

    def of(table: str) -> list[dict[str, Any]]:
        return [public(found) for found in state[table].values() if found["account_id"] == account_id]

    credits = [found for found in of("credits") if not found["reversed_as"]]
    balance = sum(found["open"] for found in of("invoices")) - sum(found["amount"] for found in credits)
    return {**account, "balance": balance, "credits": credits, "fees": of("fees")}


def check_bill(state: State, call: Call) -> dict[str, Any]:
    """The latest bill beside the one before."""
    row(state, "accounts", call.path["account_id"])
    invoices = [found for found in state["invoices"].values() if found["account_id"] == call.path["account_id"]]
    latest, before = sorted(invoices, key=lambda found: found["issued_on"], reverse=True)[:2]
    return {
        **public(latest),
        "previous_amount": before["amount"],
        "difference": latest["amount"] - before["amount"],
    }


def get_invoice(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "invoices", call.path["invoice_id"]))


def get_payment(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "payments", call.path["payment_id"]))


def get_fee(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "fees", call.path["fee_id"]))


def issue_credit(state: State, call: Call) -> Done:
    account = row(state, "accounts", call.path["account_id"])
    credit_id = next_id(state, "cr")
    credit = {
        "credit_id": credit_id,
        "account_id": account["account_id"],
        "dispute_id": call.text("dispute_id"),
        "amount": call.cents("amount"),
        "issued_on": call.today.isoformat(),
    }
    state["credits"][credit_id] = {**credit, "reversed_as": "", "keys": [call.key]}
    return Done(credit, credit_id)


def reverse_credit(state: State, call: Call) -> Done:
    credit = row(state, "credits", call.path["credit_id"])
    if credit["reversed_as"]:
        return again(state, "reversals", credit["reversed_as"], call)
    return reverse(state, "reversals", "rv", credit, "reversed_as", {"credit_id": credit["credit_id"]}, call)


def process_refund(state: State, call: Call) -> Done:
    payment = row(state, "payments", call.path["payment_id"])
    amount = call.cents("amount")
    if payment["voided_as"]:
        raise Refusal(409, "voided", "this payment was taken back")
    if payment["refunded"] + amount > payment["amount"]:
        raise Refusal(409, "more_than_paid", "the refunds would exceed the payment")
    refund_id = next_id(state, "rf")
    refund = {
        "refund_id": refund_id,
        "account_id": payment["account_id"],
        "payment_id": payment["payment_id"],
    }
    state["refunds"][refund_id] = {**refund, "amount": amount, "keys": [call.key]}
    payment["refunded"] += amount
    return Done({**refund, "amount": amount}, refund_id)


def take_payment(state: State, call: Call) -> Done:
    invoice = row(state, "invoices", call.path["invoice_id"])
    amount = call.cents("amount")
    if amount > invoice["open"]:
        raise Refusal(409, "more_than_open", "the amount exceeds what is open on this invoice")
    payment_id = next_id(state, "pm")
    payment = _payment(payment_id, invoice["account_id"], invoice["invoice_id"], amount, call.today)
    state["payments"][payment_id] = {**payment, "keys": [call.key]}
    invoice["open"] -= amount
    return Done({name: payment[name] for name in ("payment_id", "account_id", "invoice_id", "amount")}, payment_id)


def void_payment(state: State, call: Call) -> Done:
    payment = row(state, "payments", call.path["payment_id"])
    if payment["voided_as"]:
        return again(state, "reversals", payment["voided_as"], call)
    if payment["refunded"]:
        raise Refusal(409, "refunded", "a refunded payment cannot be taken back")
    row(state, "invoices", payment["invoice_id"])["open"] += payment["amount"]
    return reverse(state, "reversals", "rv", payment, "voided_as", {"payment_id": payment["payment_id"]}, call)


def waive_fee(state: State, call: Call) -> Done:
    fee = row(state, "fees", call.path["fee_id"])
    if fee["status"] == "waived":
        return again(state, "waivers", fee["waived_as"], call)
    waiver_id = next_id(state, "wv")
    waiver = {
        "waiver_id": waiver_id,
        "account_id": fee["account_id"],
        "fee_id": fee["fee_id"],
        "amount": fee["amount"],
    }
    state["waivers"][waiver_id] = {**waiver, "reinstated_as": "", "keys": [call.key]}
    fee.update(status="waived", waived_on=call.today.isoformat(), waived_as=waiver_id)
    invoice = row(state, "invoices", fee["invoice_id"])
    invoice["open"] = max(0, invoice["open"] - fee["amount"])
    return Done(waiver, waiver_id)


def reinstate_fee(state: State, call: Call) -> Done:
    waiver = row(state, "waivers", call.path["waiver_id"])
    if waiver["reinstated_as"]:
        return again(state, "reversals", waiver["reinstated_as"], call)
    fee = row(state, "fees", waiver["fee_id"])
    fee.update(status="charged", waived_on="")
    row(state, "invoices", fee["invoice_id"])["open"] += fee["amount"]
    return reverse(state, "reversals", "rv", waiver, "reinstated_as", {"waiver_id": waiver["waiver_id"]}, call)


ROUTES = (
    reads("/accounts/{account_id}", "get_account", get_account),
    reads("/accounts/{account_id}/bill", "check_bill", check_bill),
    reads("/invoices/{invoice_id}", "get_invoice", get_invoice),
    reads("/payments/{payment_id}", "get_payment", get_payment),
    reads("/fees/{fee_id}", "get_fee", get_fee),
    writes("/accounts/{account_id}/credits", "issue_credit", issue_credit),
    writes("/credits/{credit_id}/reverse", "reverse_credit", reverse_credit),
    writes("/payments/{payment_id}/refunds", "process_refund", process_refund),
    writes("/invoices/{invoice_id}/payments", "take_payment", take_payment),
    writes("/payments/{payment_id}/void", "void_payment", void_payment),
    writes("/fees/{fee_id}/waiver", "waive_fee", waive_fee),
    writes("/waivers/{waiver_id}/reinstate", "reinstate_fee", reinstate_fee),
    reads("/credits", "find_credit", by_key("credits")),
    reads("/refunds", "find_refund", by_key("refunds")),
    reads("/payments", "find_payment", by_key("payments")),
    reads("/waivers", "find_waiver", by_key("waivers")),
    reads("/reversals", "find_reversal", by_key("reversals")),
)
