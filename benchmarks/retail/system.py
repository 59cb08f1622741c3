"""The shop's system of record: orders, users and products, with the effects and the checks that the tool descriptions promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.airline.system import Airline
from benchmarks.tau2.data import load_tables
from benchmarks.tau2.world import Document, Refusal, System, World

LATER = (  # what an order only has once something happened to it
    "cancel_reason",
    "exchange_items",
    "exchange_new_items",
    "exchange_payment_method_id",
    "exchange_price_difference",
    "return_items",
    "return_payment_method_id",
)


def load(data: Path) -> World:
    tables = load_tables(data, "users", "orders", "products")
    for order in tables["orders"].values():
        for name in LATER:
            order.setdefault(name, None)
    for user in tables["users"].values():
        for method in user["payment_methods"].values():
            if "balance" in method:
                method["balance"] = float(method["balance"])
    return World(tables)


class Retail(System):
    # looking up --------------------------------------------------------------------------------------

    def user(self, user_id: str) -> Document:
        return self.world.get("users", user_id, "user")

    def order(self, order_id: str) -> Document:
        return self.world.get("orders", order_id, "order")

    def product(self, product_id: str) -> Document:
        return self.world.get("products", product_id, "product")

    def item(self, item_id: str) -> Document:
        for product in self.world.rows("products").values():
            if item_id in product["variants"]:
                item: Document = product["variants"][item_id]
                return item
        raise Refusal("item not found", missing=True)

    def by_email(self, email: str) -> str:
        return self._find(lambda user: user["email"].lower() == email.lower())

    def by_name(self, first_name: str, last_name: str, zip: str) -> str:
        name = (first_name.lower(), last_name.lower(), zip)
        return self._find(
            lambda u: (u["name"]["first_name"].lower(), u["name"]["last_name"].lower(), u["address"]["zip"]) == name
        )

    def _find(self, fits: Callable[[Document], bool]) -> str:
        for id, user in self.world.rows("users").items():
            if fits(user):
                return id
        raise Refusal("user not found", missing=True)

    def types(self) -> dict[str, str]:
        return dict(sorted((p["name"], p["product_id"]) for p in self.world.rows("products").values()))

    # changing ------------------------------------------------------------------------------------------

    def cancel(self, order_id: str, reason: str) -> Document:
        order = self.order(order_id)
        if order["status"] != "pending":
            raise Refusal("only a pending order is cancelled")
        if reason not in ("no longer needed", "ordered by mistake"):
            raise Refusal("that is no reason to cancel")
        order = self.world.own("orders", order_id, "order")
        for paid in list(order["payment_history"]):
            order["payment_history"].append(_payment("refund", paid["amount"], paid["payment_method_id"]))
            self._balance(order["user_id"], paid["payment_method_id"], paid["amount"])
        order["status"], order["cancel_reason"] = "cancelled", reason
        return order

    def change_address(
        self, order_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> Document:
        if "pending" not in self.order(order_id)["status"]:
            raise Refusal("only a pending order is changed")
        order = self.world.own("orders", order_id, "order")
        order["address"] = _address(address1, address2, city, state, country, zip)
        return order

    def change_user_address(
        self, user_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> Document:
        user = self.world.own("users", user_id, "user")
        user["address"] = _address(address1, address2, city, state, country, zip)
        return user

    def change_payment(self, order_id: str, payment_method_id: str) -> Document:
        order = self.order(order_id)
        if "pending" not in order["status"]:
            raise Refusal("only a pending order is changed")
        method = self._method(order["user_id"], payment_method_id)
        history = order["payment_history"]
        if len(history) != 1 or history[0]["transaction_type"] != "payment":
            raise Refusal("there should be exactly one payment")
        if history[0]["payment_method_id"] == payment_method_id:
            raise Refusal("it is paid that way already")
        amount = history[0]["amount"]
        if method["source"] == "gift_card" and method["balance"] < amount:
            raise Refusal("not enough balance on the gift card")
        order = self.world.own("orders", order_id, "order")
        before = history[0]["payment_method_id"]
        order["payment_history"] += [_payment("payment", amount, payment_method_id), _payment("refund", amount, before)]
        self._balance(order["user_id"], payment_method_id, -amount)
        self._balance(order["user_id"], before, amount)
        return order

    def change_items(
        self, order_id: str, item_ids: Sequence[str], new_item_ids: Sequence[str], payment_method_id: str
    ) -> Document:
        order = self.order(order_id)
        if order["status"] != "pending":
            raise Refusal("only a pending order is changed")
        variants, difference = self._swap(order, item_ids, new_item_ids, payment_method_id)
        order = self.world.own("orders", order_id, "order")
        kind = "payment" if difference > 0 else "refund"
        order["payment_history"].append(_payment(kind, abs(difference), payment_method_id))
        self._balance(order["user_id"], payment_method_id, -difference)
        for old, variant in zip(item_ids, variants, strict=True):
            item = next(i for i in order["items"] if i["item_id"] == old)
            item.update({k: variant[k] for k in ("item_id", "price", "options")})
        order["status"] = "pending (item modified)"
        return order

    def exchange(
        self, order_id: str, item_ids: Sequence[str], new_item_ids: Sequence[str], payment_method_id: str
    ) -> Document:
        order = self.order(order_id)
        if order["status"] != "delivered":
            raise Refusal("only a delivered order is exchanged")
        _, difference = self._swap(order, item_ids, new_item_ids, payment_method_id)
        order = self.world.own("orders", order_id, "order")
        order["status"] = "exchange requested"
        order["exchange_items"], order["exchange_new_items"] = sorted(item_ids), sorted(new_item_ids)
        order["exchange_payment_method_id"], order["exchange_price_difference"] = (
            payment_method_id,
            round(difference, 2),
        )
        return order

    def give_back(self, order_id: str, item_ids: Sequence[str], payment_method_id: str) -> Document:
        order = self.order(order_id)
        if order["status"] != "delivered":
            raise Refusal("only a delivered order is returned")
        method = self._method(order["user_id"], payment_method_id)
        paid_by = order["payment_history"][0]["payment_method_id"]
        if method["source"] != "gift_card" and payment_method_id != paid_by:
            raise Refusal("the refund goes to the original payment method or a gift card")
        self._has(order, item_ids)
        order = self.world.own("orders", order_id, "order")
        order["status"] = "return requested"
        order["return_items"], order["return_payment_method_id"] = sorted(item_ids), payment_method_id
        return order

    # parts -----------------------------------------------------------------------------------------------

    def _has(self, order: Document, item_ids: Sequence[str]) -> None:
        if Counter(item_ids) - Counter(item["item_id"] for item in order["items"]):
            raise Refusal("an item is not in the order", missing=True)

    def _swap(
        self, order: Document, item_ids: Sequence[str], new_item_ids: Sequence[str], payment_method_id: str
    ) -> tuple[list[Document], float]:
        """The new variants and what they cost more. Refusal if one is of another product or not to be had."""
        self._has(order, item_ids)
        if len(item_ids) != len(new_item_ids):
            raise Refusal("each item needs one new item")
        variants, difference = [], 0.0
        for old, new in zip(item_ids, new_item_ids, strict=True):
            item = next(i for i in order["items"] if i["item_id"] == old)
            variant = self.product(item["product_id"])["variants"].get(new)
            if variant is None or not variant["available"]:
                raise Refusal("a new item is not to be had")
            variants.append(variant)
            difference += variant["price"] - item["price"]
        method = self._method(order["user_id"], payment_method_id)
        if method["source"] == "gift_card" and method["balance"] < difference:
            raise Refusal("not enough balance on the gift card")
        return variants, difference

    def _method(self, user_id: str, payment_method_id: str) -> Document:
        methods = self.user(user_id)["payment_methods"]
        if payment_method_id not in methods:
            raise Refusal("payment method not found", missing=True)
        method: Document = methods[payment_method_id]
        return method

    def _balance(self, user_id: str, payment_method_id: str, change: float) -> None:
        if self._method(user_id, payment_method_id)["source"] == "gift_card":
            method = self.world.own("users", user_id, "user")["payment_methods"][payment_method_id]
            method["balance"] = round(method["balance"] + change, 2)

    operations: Mapping[str, Callable[..., Any]] = {
        "calculate": Airline.calculate,
        "cancel_pending_order": cancel,
        "exchange_delivered_order_items": exchange,
        "find_user_id_by_email": by_email,
        "find_user_id_by_name_zip": by_name,
        "get_item_details": item,
        "get_order_details": order,
        "get_product_details": product,
        "get_user_details": user,
        "list_all_product_types": types,
        "modify_pending_order_address": change_address,
        "modify_pending_order_items": change_items,
        "modify_pending_order_payment": change_payment,
        "modify_user_address": change_user_address,
        "return_delivered_order_items": give_back,
        "transfer_to_human_agents": Airline.transfer,
    }
    reads = frozenset(
        {
            "calculate",
            "find_user_id_by_email",
            "find_user_id_by_name_zip",
            "get_item_details",
            "get_order_details",
            "get_product_details",
            "get_user_details",
            "list_all_product_types",
            "transfer_to_human_agents",
        }
    )


def _payment(kind: str, amount: float, method: str) -> Document:
    return {"transaction_type": kind, "amount": amount, "payment_method_id": method}


def _address(address1: str, address2: str, city: str, state: str, country: str, zip: str) -> Document:
    return {
        "address1": address1,
        "address2": address2,
        "city": city,
        "country": country,
        "state": state,
        "zip": zip,
    }


def owner(system: System, arguments: Mapping[str, Any]) -> str | None:
    """Whom a call is about: the user named, or the one whose order it is; None if that is nobody."""
    try:
        if isinstance(arguments.get("user_id"), str):
            return str(system.world.get("users", arguments["user_id"], "user")["user_id"])
        return str(system.world.get("orders", arguments.get("order_id"), "order")["user_id"])
    except Refusal:
        return None
