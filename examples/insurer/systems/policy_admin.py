"""Policies, what they cover, and how much of the yearly limit is left."""

from __future__ import annotations

from datetime import date, timedelta
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

from .households import BENCH, COVERS, HOUSEHOLDS, PRODUCTS


def seed(today: date) -> State:
    state: State = {"policies": {}, "covers": {}, "reservations": {}, "releases": {}}
    for home in HOUSEHOLDS:
        state["policies"][home.policy_id] = {
            "policy_id": home.policy_id,
            "customer_id": home.customer_id,
            "product": home.product,
            "status": home.status,
            "payee": f"account ending in {home.n % 10000:04d}",  # the only account that a claim is paid to
            "starts": (today - timedelta(days=200)).isoformat(),
            "ends": (today + timedelta(days=165)).isoformat(),
        }
        for kind, (excess, limit) in COVERS.items():
            covered = kind in PRODUCTS[home.product]
            state["covers"][f"{home.policy_id}/{kind}"] = {
                "kind": kind,
                "covered": covered,
                "excess": excess,
                "limit": limit if covered else 0,
                "used": 0,
            }
    for n in range(1, 20):  # what the conformance test releases
        state["reservations"][f"rs-{n}"] = _reservation(f"rs-{n}", BENCH.policy_id, "water", f"cm-{n}", 100)
    return state


def _reservation(reservation_id: str, policy_id: str, kind: str, claim_id: str, amount: int) -> dict[str, Any]:
    return {
        "reservation_id": reservation_id,
        "policy_id": policy_id,
        "kind": kind,
        "claim_id": claim_id,
        "amount": amount,
        "released_as": "",
        "keys": [],
    }


def get_policy(state: State, call: Call) -> dict[str, Any]:
    return public(row(state, "policies", call.path["policy_id"]))


def get_cover(state: State, call: Call) -> dict[str, Any]:
    """What a policy covers of one kind of loss, and from when to when."""
    policy = row(state, "policies", call.path["policy_id"])
    cover = row(state, "covers", f"{policy['policy_id']}/{call.path['kind']}")
    from_policy = {name: policy[name] for name in ("policy_id", "customer_id", "status", "starts", "ends")}
    return {**from_policy, **cover}


def get_reservation(state: State, call: Call) -> dict[str, Any]:
    """What is set aside for a claim; 404 when nothing is."""
    for found in state["reservations"].values():
        if found["claim_id"] == call.path["claim_id"] and not found["released_as"]:
            return public(found)
    raise Refusal(404, "not_found", "nothing is set aside for this claim")


def reserve_cover(state: State, call: Call) -> Done:
    """Set an amount of the yearly limit aside for a claim."""
    policy_id, kind = call.path["policy_id"], call.text("kind")
    cover, amount = row(state, "covers", f"{policy_id}/{kind}"), call.cents("amount")
    if cover["used"] + amount > cover["limit"]:
        raise Refusal(409, "over_limit", "this is more than is left of the yearly limit")
    reservation_id = next_id(state, "rs")
    reserved = _reservation(reservation_id, policy_id, kind, call.text("claim_id"), amount)
    state["reservations"][reservation_id] = reserved | {"keys": [call.key]}
    cover["used"] += amount
    return Done(public(reserved), reservation_id)


def release_cover(state: State, call: Call) -> Done:
    """Undo of a reservation."""
    reserved = row(state, "reservations", call.path["reservation_id"])
    if reserved["released_as"]:
        return again(state, "releases", reserved["released_as"], call)
    cover = row(state, "covers", f"{reserved['policy_id']}/{reserved['kind']}")
    cover["used"] -= reserved["amount"]
    of = {"reservation_id": reserved["reservation_id"]}
    return reverse(state, "releases", "rl", reserved, "released_as", of, call)


ROUTES = (
    reads("/policies/{policy_id}", "get_policy", get_policy),
    reads("/policies/{policy_id}/covers/{kind}", "get_cover", get_cover),
    reads("/claims/{claim_id}/reservation", "get_reservation", get_reservation),
    writes("/policies/{policy_id}/reservations", "reserve_cover", reserve_cover),
    writes("/reservations/{reservation_id}/release", "release_cover", release_cover),
    reads("/reservations", "find_reservation", by_key("reservations")),
    reads("/releases", "find_release", by_key("releases")),
)
