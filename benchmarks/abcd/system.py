"""The desk's tool, as a stand-in: it takes every action of the work flows and remembers who had what done, in which order."""

from __future__ import annotations

from datetime import date

from examples.broadband.systems.service import (
    Call,
    Done,
    Refusal,
    Service,
    State,
    by_key,
    next_id,
    reads,
    writes,
)


def seed(today: date) -> State:
    return {"done": {}}


def take(state: State, call: Call) -> Done:
    """Any action, for a contact. What it was given beside is kept."""
    done_id = next_id(state, "dn")
    if not call.path["action"].replace("-", "").replace("_", "").isalnum():
        raise Refusal(404, "no_action", "no such action")
    done = {"done_id": done_id, "action": call.path["action"], "contact": call.text("contact")}
    given = {name: value for name, value in call.body.items() if name not in ("contact", "step") and value != ""}
    state["done"][done_id] = {**done, "given": given, "keys": [call.key]}
    return Done(done, done_id)


ROUTES = (writes("/actions/{action}", "take", take), reads("/done", "find_done", by_key("done")))


def service() -> Service:
    """An ASGI app, with its state in memory."""
    return Service("abcd", ROUTES, seed)


def order_of(service: Service, contact: str) -> list[str]:
    """The actions that arrived for a contact, in the order in which they did."""
    effects = [e for e in service.state["_effects"] if e["body"]["contact"] == contact]
    return [str(e["path"]).rsplit("/", 1)[1] for e in sorted(effects, key=lambda e: int(e["n"]))]
