"""Outgoing messages: what Aldermoor writes to its customers."""

from __future__ import annotations

from datetime import date

from examples.broadband.systems.service import Call, Done, State, by_key, next_id, reads, writes


def seed(today: date) -> State:
    return {"letters": {}}


def send_letter(state: State, call: Call) -> Done:
    letter_id = next_id(state, "le")
    letter = {"letter_id": letter_id, "customer_id": call.text("customer_id")}
    body = {"reference": call.text("reference"), "text": call.text("text"), "keys": [call.key]}
    state["letters"][letter_id] = letter | body
    return Done(letter, letter_id)


ROUTES = (
    writes("/letters", "send_letter", send_letter),
    reads("/letters", "find_letter", by_key("letters")),
)
