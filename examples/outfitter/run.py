"""The stories of the outfitter, played on real processes: a store, a plane, three services.

python examples/outfitter/run.py     exit code 0 if every check held; a minute, most of it for making ready
"""

from __future__ import annotations

import hashlib
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.outfitter.running import CONTROL, SYSTEMS, VERSION_2, Estate, Failed, control_copy

SHORTER = {"within: 14d": "within: 5s", "within: 7d": "within: 3s", "within: 2d": "within: 4s"}
CUSTOMERS = range(2001, 2013)
PATIENCE_S = 30


class Stories:
    """Each method is one story; `must` is a claim that it makes."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.broken: list[str] = []

    # saying and asking ------------------------------------------------------------------------------------

    def must(self, true: bool, what: str) -> None:
        print(f"   {'✓' if true else '✗'} {what}", flush=True)
        if not true:
            self.broken.append(what)

    def order(self, by: str, customer: int, reference: str, sku: str, pieces: int = 1) -> str:
        """The run of the order."""
        input = {"reference": reference, "sku": sku, "quantity": pieces, "method": "card"}
        body = {"journey": "order_and_payment", "input": input, "customer": f"c-{customer}"}
        run: str = self.estate.call(by, "POST", "/v1/runs", **body)["run"]["id"]
        print(f"   {by} asks for {pieces} × {sku} for c-{customer}", flush=True)
        return run

    def signal(self, by: str, type: str, key: str, **data: Any) -> dict[str, Any]:
        event = {"specversion": "1.0", "type": type, "source": by, "id": uuid.uuid4().hex, "subject": key}
        told: dict[str, Any] = self.estate.call(by, "POST", "/v1/signals", **event, data=data)
        print(f"   {by} tells: {type} {key}", flush=True)
        return told

    def run(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.estate.call("person:sven", "GET", f"/v1/runs/{id}")
        return found

    def until(self, what: str, true: Callable[[], Any]) -> Any:
        """What it gives, once it gives something."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := true():
                return found
            time.sleep(0.05)
        raise Failed(f"it did not come to this in {PATIENCE_S} s: {what}")

    def waits_at(self, run: str, step: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found = self.run(run)
            return found if any(t["step"] == step and t.get("waits_for") for t in found["tokens"]) else None

        found: dict[str, Any] = self.until(f"run {run} waits at {step}; it is {self.run(run)}", there)
        return found

    def ended(self, run: str) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            found = self.run(run)
            return found if found["run"]["status"] in ("done", "failed", "cancelled", "stuck") else None

        found: dict[str, Any] = self.until(f"run {run} ends; it is {self.run(run)}", over)
        for name, goal in found["goals"].items():
            print(f"   → {found['run']['status']}; {name}: {goal['achieved']} {goal.get('evidence', {})}", flush=True)
        return found

    def achieved(self, found: dict[str, Any], goal: str) -> bool:
        return found["run"]["status"] == "done" and found["goals"].get(goal, {}).get("achieved") is True

    def order_id(self, run: str) -> str:
        found: str = self.run(run)["state"]["steps"]["enter"]["order_id"]
        return found

    def approve(self, by: str, action: str, why: str) -> None:
        """The open approval of that action, once there is one."""

        def waiting() -> str | None:
            items = self.estate.call(by, "GET", "/v1/approvals?status=open")["items"]
            return next((a["id"] for a in items if a["action"] == action), None)

        id = self.until(f"{action} waits for {by}", waiting)
        self.estate.call(by, "POST", f"/v1/approvals/{id}/approve", comment=why)
        print(f"   {by} approves {action}: {why}", flush=True)

    def money(self, order_id: str) -> dict[str, Any]:
        path = f"/v1/orders/{order_id}/payment"
        if self.replaced:
            path = f"/v2/settlements/of/{order_id}"
        found = self.estate.row("payment_agent", path)
        return found.get("settlement", found)  # type: ignore[no-any-return]

    replaced = False

    # the stories ------------------------------------------------------------------------------------------

    def a_person_orders(self) -> None:
        run = self.order("person:olga", 2001, "web-1", "mug", 2)
        self.waits_at(run, "packed")
        order = self.order_id(run)
        self.must(self.estate.did("payment_agent", key=order) == ["authorise"], "authorised, and not collected yet")
        self.signal("system:carrier", "warehouse.packed", order)
        self.must(self.achieved(self.ended(run), "order_paid"), "paid and sent")
        self.must(self.money(order)["amount"] == 2580, "2 × 12.90 EUR were collected once")
        again = self.order("person:olga", 2001, "web-1b", "mug", 1)
        self.waits_at(again, "packed")
        self.estate.call("person:olga", "POST", f"/v1/runs/{again}/cancel", comment="ordered twice by mistake")
        found = self.ended(again)
        self.must(found["run"]["status"] == "cancelled", "a cancelled order leaves no trace")
        undone = sorted(d["step"] for d in found["did"] if d["undone"])
        self.must(undone == ["authorise", "enter"], "its authorisation was let go and the order withdrawn")

    def money_is_refused(self) -> None:
        before = self.estate.row("order_agent", "/items/tent-2p")["stock"]
        found = self.ended(self.order("person:olga", 2003, "web-2", "tent-2p"))
        self.must(found["goals"]["order_paid"]["achieved"] is False, "the card was declined, the order not paid")
        undone = [d["step"] for d in found["did"] if d["undone"]]
        self.must(undone == ["enter"], "the order was taken back")
        self.must(self.estate.row("order_agent", "/items/tent-2p")["stock"] == before, "its stock is free again")

    def the_payment_agent_is_replaced(self) -> None:
        kayak = self.order("agent:piper", 2002, "web-3", "kayak")
        self.approve("person:sven", "order_agent.enter_order", "I called the customer")
        lapsing = self.order("agent:piper", 2004, "web-4", "rope")
        for run in (kayak, lapsing):
            self.waits_at(run, "packed")
        before = _journeys(self.estate.home / "control")

        print("   … version 2 of the payment agent proves itself on a bench of its own", flush=True)
        bench = self.estate.start_system("payment_agent", program="payment_agent_v2", state="bench", url_of=False)
        urls = {**self.estate.urls, "payment_agent": bench}
        proving = control_copy(self.estate.home / "proving", urls, spans=SHORTER, version_2=True)
        self.estate.conform(proving, "payment_agent")
        self.estate.end("bench")
        self.estate.replace_payment_agent()
        new = control_copy(self.estate.home / "new", self.estate.urls, spans=SHORTER, version_2=True)
        self.estate.cxplane("release", str(new))
        self.replaced = True
        changed = sorted(str(file.relative_to(VERSION_2)) for file in VERSION_2.rglob("*.yaml"))
        print(f"   … released; other than before are {len(changed)} files: {changed[-1]} and the catalog of the agent")
        self.must(_journeys(new) == before, "no journey was edited")

        orders = [self.order_id(run) for run in (kayak, lapsing)]
        self.until("the plane follows the release", lambda: self._live_is_new())
        for order in orders:
            self.signal("system:carrier", "warehouse.packed", order)
        self.must(self.achieved(self.ended(kayak), "order_paid"), "authorised by version 1, collected by version 2")
        self.must(self.money(orders[0])["minor_units"] == 129000, "exactly once")
        found = self.ended(lapsing)
        undone = sorted(d["step"] for d in found["did"] if d["undone"])
        self.must(undone == ["authorise", "enter"], "version 2 lets go of what version 1 had authorised")
        effects = self.estate.effects("payment_agent") + self.estate.effects("order_agent")
        back = [e["operation"] for e in sorted(effects, key=lambda e: e["at"]) if orders[1] in _of(e, found)]
        self.must(back[-2:] == ["release", "withdraw_order"], "in reverse order: first the money, then the order")

        fresh = self.order("person:olga", 2001, "web-5", "boots")
        self.waits_at(fresh, "packed")
        self.signal("system:carrier", "warehouse.packed", self.order_id(fresh))
        self.must(self.achieved(self.ended(fresh), "order_paid"), "and a new order knows only version 2")

    def _live_is_new(self) -> bool:
        found = self.estate.call("person:sven", "GET", "/v1/actions/payment_agent.capture")
        return bool(found["version"] == 2)

    def parcels_are_lost(self) -> None:
        lost = {1002: 2002, 1003: 2005, 1004: 2006}
        runs = {}
        for n, customer in lost.items():
            data = {"order_id": f"or-{n}", "shipment_id": f"sh-{n}", "customer_id": f"c-{customer}"}
            runs[n] = self.signal("system:carrier", "warehouse.shipment_lost", f"sh-{n}", **data)["runs_started"][0]
        self.signal("system:webshop", "order.choice", "or-1002", choice="reship")
        self.signal("system:webshop", "order.choice", "or-1004", choice="refund")
        found = self.ended(runs[1002])
        self.must(self.achieved(found, "order_recovered"), "c-2002 wanted another parcel and gets it")
        self.approve("person:petra", "payment_agent.refund", "the carrier confirms the loss")
        self.must(
            self.achieved(self.ended(runs[1004]), "order_recovered"), "c-2006 wanted the money: 189 EUR, approved"
        )
        found = self.ended(runs[1003])
        self.must(
            found["goals"]["order_recovered"]["evidence"]["chosen_by"] == "nobody in time",
            "c-2005 said nothing: the money goes back by itself",
        )
        for n, back in ((1002, 0), (1003, 5900), (1004, 18900)):
            self.must(self.money(f"or-{n}")["paid_back"] == back, f"or-{n}: {back / 100:.2f} EUR went back")

    def goods_come_back(self) -> None:
        data = {"order_id": "or-1005", "return_id": "ret-1", "quantity": 1, "customer_id": "c-2007"}
        run = self.signal("system:webshop", "order.return_announced", "ret-1", **data)["runs_started"][0]
        data = {"order_id": "or-1006", "return_id": "ret-2", "quantity": 1, "customer_id": "c-2008"}
        forgotten = self.signal("system:webshop", "order.return_announced", "ret-2", **data)["runs_started"][0]
        self.signal("system:carrier", "warehouse.goods_received", "ret-1")
        task = self.until("a task for the returns desk", lambda: self.run(run)["tasks"])[0]
        print(f"   {task['team']} is asked: {task['text']}", flush=True)
        values = {"condition": "worn", "quantity": 1}
        self.estate.call("person:wim", "POST", f"/v1/tasks/{task['id']}/answer", answer={"values": values})
        print("   person:wim answers: worn, one piece", flush=True)
        self.must(self.achieved(self.ended(run), "return_settled"), "settled")
        self.must(self.money("or-1005")["paid_back"] == 7950, "half of 159.00 EUR went back")
        found = self.ended(forgotten)
        self.must(found["goals"]["return_settled"]["achieved"] is False, "nothing came: reminded, then closed")
        label = next(d for d in found["did"] if d["step"] == "label")
        self.must(label["undone"], "its label is void")

    def books_balance(self) -> None:
        entered = {e["id"]: e["body"] for e in self.estate.effects("order_agent") if e["operation"] == "enter_order"}
        for order in entered:
            row = self.estate.row("order_agent", f"/orders/{order}")
            parcels = self.estate.did("warehouse", key=f'"{order}"').count("ship_order")
            captures = [e for e in self.estate.effects("payment_agent") if e["operation"] == "capture"]
            paid = 0
            if row["status"] == "entered":
                settled = self.money(order)
                paid = settled.get("minor_units", settled.get("amount", 0))
            expected = (row["amount"], 1) if row["status"] == "entered" else (0, 0)
            self.must(
                (paid, parcels) == expected, f"{order} is {row['status']}: {paid / 100:.2f} EUR, {parcels} parcel"
            )
        kept = sum(self.estate.row("order_agent", f"/orders/{o}")["status"] == "entered" for o in entered)
        self.must(len(captures) == kept, f"{kept} orders stand, and {len(captures)} payments were collected")


def _of(effect: dict[str, Any], found: dict[str, Any]) -> str:
    """The order that an effect is about, by the ids that stand in it."""
    steps = found["state"]["steps"]
    order, held = steps["enter"]["order_id"], steps["authorise"]["authorisation_id"]
    return str(order) if any(id in f"{effect['path']} {effect['body']} {effect['id']}" for id in (order, held)) else ""


def _journeys(control: Path) -> str:
    texts = [file.read_bytes() for file in sorted(control.glob("journeys/*/*"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def prepare(estate: Estate) -> None:
    """Services up, catalog proven, release made, plane up, keys given out, customers known."""

    def step(words: str, work: Callable[[], Any]) -> None:
        began = time.monotonic()
        work()
        print(f"✓ {words} ({time.monotonic() - began:.1f} s)", flush=True)

    for name in SYSTEMS:
        step(f"{name}: a service of its own", lambda name=name: estate.start_system(name))
    control = control_copy(estate.home / "control", estate.urls, spans=SHORTER)
    step(
        "conformance: every write done once, found out, undone, refused when wrong",
        lambda: estate.conform(control, *SYSTEMS),
    )
    estate.reset()
    step("release: check, test, conformance", lambda: estate.cxplane("release", str(control)))
    step("plane and embedded Postgres", estate.start_plane)
    step("API keys", estate.make_keys)
    for n in CUSTOMERS:
        estate.call("system:webshop", "PUT", f"/v1/customers/c-{n}", attributes={})
        said = {"purpose": "service", "granted": True, "source": "order form"}
        estate.call("system:webshop", "POST", f"/v1/customers/c-{n}/consents", **said)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"The control repo is a copy of {CONTROL.relative_to(CONTROL.parents[2])}; shortened in it:")
    print("   " + ", ".join(f"{long} → {short.split()[-1]}" for long, short in SHORTER.items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="cxplane-outfitter-") as folder:
        Path(folder).chmod(0o755)
        estate = Estate(Path(folder))
        try:
            prepare(estate)
            stories = Stories(estate)
            for n, story in enumerate(
                (
                    stories.a_person_orders,
                    stories.money_is_refused,
                    stories.the_payment_agent_is_replaced,
                    stories.parcels_are_lost,
                    stories.goods_come_back,
                    stories.books_balance,
                ),
                1,
            ):
                print(f"\n{n}. {story.__name__.replace('_', ' ')}", flush=True)
                story()
            print(f"\n{'every check held' if not stories.broken else f'{len(stories.broken)} checks did not hold'}")
            return 1 if stories.broken else 0
        except KeyboardInterrupt:
            return 130
        except Failed as problem:
            print(f"✗ {problem}")
            return 1
        finally:
            estate.stop()


if __name__ == "__main__":
    sys.exit(main())
