"""The airline's system of record: reservations, users and flights, with the effects that the tool descriptions promise.

Like the system that the recordings ran against, it checks what a booking engine checks (seats, balances, sums) and leaves the
written policy to its callers.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tau2.data import load_tables
from benchmarks.tau2.world import Document, Refusal, System, World

CREATED_AT = "2024-05-15T15:00:00"  # the data set's present
INSURANCE_EACH = 30
BAG_EACH = 50
FLIGHT_TYPES = ("one_way", "round_trip")
NEW_RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")
NEW_CERTIFICATES = (3221322, 3221323, 3221324)


def load(data: Path) -> World:
    tables = load_tables(data, "users", "reservations", "flights")
    for reservation in tables["reservations"].values():
        reservation.setdefault("status", None)
    return World(tables)


class Airline(System):
    # looking up --------------------------------------------------------------------------------------

    def user(self, user_id: str) -> Document:
        return self.world.get("users", user_id, "user")

    def reservation(self, reservation_id: str) -> Document:
        return self.world.get("reservations", reservation_id, "reservation")

    def flight_status(self, flight_number: str, date: str) -> str:
        return str(self._day(flight_number, date)["status"])

    def _day(self, flight_number: str, date: str) -> Document:
        days = self.world.get("flights", flight_number, "flight")["dates"]
        if date not in days:
            raise Refusal("the flight does not go on that date", missing=True)
        day: Document = days[date]
        return day

    def flight(self, flight_number: str) -> Document:
        flight = self.world.get("flights", flight_number, "flight")
        return {k: flight[k] for k in ("flight_number", "origin", "destination")}

    def trip_status(self, reservation_id: str) -> Document:
        """How its flights stand, and how those stand that it had before they were changed."""
        before = self.world.first("reservations", reservation_id) or {"flights": ()}
        days = [(leg["flight_number"], leg["date"]) for leg in self.reservation(reservation_id)["flights"]]
        past = [(leg["flight_number"], leg["date"]) for leg in before["flights"]]
        flights, former = (
            [{"flight_number": n, "date": d, "status": self.flight_status(n, d)} for n, d in them]
            for them in (days, [day for day in past if day not in days])
        )
        return {"reservation_id": reservation_id, "flights": flights, "former_flights": former}

    def airports(self) -> list[str]:
        flights = self.world.rows("flights").values()
        return sorted({f["origin"] for f in flights} | {f["destination"] for f in flights})

    def direct(self, origin: str, destination: str, date: str) -> list[Document]:
        return [
            self._offer(flight, date)
            for flight in self.world.rows("flights").values()
            if flight["origin"] == origin and flight["destination"] == destination and self._open(flight, date)
        ]

    def one_stop(self, origin: str, destination: str, date: str) -> list[list[Document]]:
        flights = self.world.rows("flights").values()
        found = []
        for first in flights:
            if first["origin"] != origin or not self._open(first, date):
                continue
            for second in flights:
                if second["origin"] != first["destination"] or second["destination"] != destination:
                    continue
                if second["scheduled_departure_time_est"] < first["scheduled_arrival_time_est"]:
                    continue
                if self._open(second, date):
                    found.append([self._offer(first, date), self._offer(second, date)])
        return found

    @staticmethod
    def _open(flight: Document, date: str) -> bool:
        return bool(flight["dates"].get(date, {}).get("status") == "available")

    @staticmethod
    def _offer(flight: Document, date: str) -> Document:
        day = flight["dates"][date]
        times = ("flight_number", "origin", "destination", "scheduled_departure_time_est", "scheduled_arrival_time_est")
        return {k: flight[k] for k in times} | {
            "date": date,
            "available_seats": day["available_seats"],
            "prices": day["prices"],
        }

    # changing ------------------------------------------------------------------------------------------

    def book(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: str,
        cabin: str,
        flights: Sequence[Mapping[str, Any]],
        passengers: Sequence[Mapping[str, Any]],
        payment_methods: Sequence[Mapping[str, Any]],
        total_baggages: int,
        nonfree_baggages: int,
        insurance: str,
    ) -> Document:
        user = self.user(user_id)
        id = next((i for i in NEW_RESERVATIONS if not self.world.has("reservations", i)), None)
        if id is None:
            raise Refusal("no reservation number is left")
        if flight_type not in FLIGHT_TYPES or insurance not in ("yes", "no"):
            raise Refusal("no such type of trip, or neither yes nor no to insurance")
        travellers = [_passenger(p) for p in passengers]
        heads = len(travellers)
        legs = [self._leg(f["flight_number"], f["date"], cabin, heads) for f in flights]
        total = heads * sum(leg["price"] for leg in legs) + BAG_EACH * nonfree_baggages
        if insurance == "yes":
            total += INSURANCE_EACH * heads
        for payment in payment_methods:
            method = self._method(user, payment["payment_id"])
            if method["source"] in ("gift_card", "certificate") and method["amount"] < payment["amount"]:
                raise Refusal("not enough balance on a payment method")
        named = [p["payment_id"] for p in payment_methods]
        if any(user["payment_methods"][id]["source"] == "certificate" and named.count(id) > 1 for id in named):
            raise Refusal("a certificate pays once")
        if sum(p["amount"] for p in payment_methods) != total:
            raise Refusal("the payments do not add up to the price")
        user = self.world.own("users", user_id, "user")
        for payment in payment_methods:
            method = user["payment_methods"][payment["payment_id"]]
            if method["source"] == "gift_card":
                method["amount"] -= payment["amount"]
            elif method["source"] == "certificate":
                del user["payment_methods"][payment["payment_id"]]
        for leg in legs:
            flight = self.world.own("flights", leg["flight_number"], "flight")
            flight["dates"][leg["date"]]["available_seats"][cabin] -= heads
        reservation = {
            "reservation_id": id,
            "user_id": user_id,
            "origin": origin,
            "destination": destination,
            "flight_type": flight_type,
            "cabin": cabin,
            "flights": legs,
            "passengers": travellers,
            "payment_history": [{"payment_id": p["payment_id"], "amount": p["amount"]} for p in payment_methods],
            "created_at": CREATED_AT,
            "total_baggages": total_baggages,
            "nonfree_baggages": nonfree_baggages,
            "insurance": insurance,
            "status": None,
        }
        self.world.add("reservations", id, reservation)
        user["reservations"].append(id)
        return reservation

    def cancel(self, reservation_id: str) -> Document:
        reservation = self.world.own("reservations", reservation_id, "reservation")
        paid = reservation["payment_history"]
        paid.extend([{"payment_id": p["payment_id"], "amount": -p["amount"]} for p in paid])
        reservation["status"] = "cancelled"
        return reservation

    def change_flights(
        self, reservation_id: str, cabin: str, flights: Sequence[Mapping[str, Any]], payment_id: str
    ) -> Document:
        before = self.reservation(reservation_id)
        heads = len(before["passengers"])
        kept = {(leg["flight_number"], leg["date"]): leg for leg in before["flights"]}
        legs = []
        for wanted in flights:
            same = kept.get((wanted["flight_number"], wanted["date"])) if cabin == before["cabin"] else None
            legs.append(dict(same) if same else self._leg(wanted["flight_number"], wanted["date"], cabin, heads))
        owed = heads * (sum(leg["price"] for leg in legs) - sum(leg["price"] for leg in before["flights"]))
        payment = self._pay(before["user_id"], payment_id, owed)
        reservation = self.world.own("reservations", reservation_id, "reservation")
        if payment:
            reservation["payment_history"].append(payment)
        reservation["flights"], reservation["cabin"] = legs, cabin
        return reservation

    def change_bags(self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str) -> Document:
        before = self.reservation(reservation_id)
        owed = BAG_EACH * max(0, nonfree_baggages - before["nonfree_baggages"])
        payment = self._pay(before["user_id"], payment_id, owed)
        reservation = self.world.own("reservations", reservation_id, "reservation")
        if payment:
            reservation["payment_history"].append(payment)
        reservation["total_baggages"], reservation["nonfree_baggages"] = total_baggages, nonfree_baggages
        return reservation

    def change_passengers(self, reservation_id: str, passengers: Sequence[Mapping[str, Any]]) -> Document:
        if len(passengers) != len(self.reservation(reservation_id)["passengers"]):
            raise Refusal("the number of passengers does not match")
        reservation = self.world.own("reservations", reservation_id, "reservation")
        reservation["passengers"] = [_passenger(p) for p in passengers]
        return reservation

    def certificate(self, user_id: str, amount: int) -> Document:
        worth = float(amount)
        methods = self.user(user_id)["payment_methods"]
        id = next((f"certificate_{n}" for n in NEW_CERTIFICATES if f"certificate_{n}" not in methods), None)
        if id is None:
            raise Refusal("this user has all the certificates that can be sent")
        user = self.world.own("users", user_id, "user")
        user["payment_methods"][id] = {"source": "certificate", "id": id, "amount": worth}
        return {"certificate_id": id, "user_id": user_id, "amount": amount}

    # nothing to change -----------------------------------------------------------------------------------

    def calculate(self, expression: str) -> str:
        return f"{_arithmetic(ast.parse(expression, mode='eval').body):.2f}"

    def transfer(self, summary: str) -> str:
        return "transferred"

    # parts -----------------------------------------------------------------------------------------------

    def _leg(self, flight_number: str, date: str, cabin: str, heads: int) -> Document:
        """A seat for each passenger at today's price. Refusal if the flight cannot be booked."""
        flight = self.world.get("flights", flight_number, "flight")
        day = self._day(flight_number, date)
        if day["status"] != "available":
            raise Refusal("the flight cannot be booked on that date")
        if day["available_seats"][cabin] < heads:
            raise Refusal("not enough seats on a flight")
        return {
            "flight_number": flight_number,
            "origin": flight["origin"],
            "destination": flight["destination"],
            "date": date,
            "price": day["prices"][cabin],
        }

    @staticmethod
    def _method(user: Document, payment_id: str) -> Document:
        if payment_id not in user["payment_methods"]:
            raise Refusal("the payment method is not in the user's profile", missing=True)
        method: Document = user["payment_methods"][payment_id]
        return method

    def _pay(self, user_id: str, payment_id: str, owed: int) -> Document | None:
        method = self._method(self.user(user_id), payment_id)
        if method["source"] == "certificate":
            raise Refusal("a certificate cannot pay for a change")
        if method["source"] == "gift_card":
            if method["amount"] < owed:
                raise Refusal("not enough balance on the gift card")
            self.world.own("users", user_id, "user")["payment_methods"][payment_id]["amount"] -= owed
        return {"payment_id": payment_id, "amount": owed} if owed else None

    operations: Mapping[str, Callable[..., Any]] = {
        "book_reservation": book,
        "calculate": calculate,
        "cancel_reservation": cancel,
        "get_flight": flight,
        "get_flight_status": flight_status,
        "get_reservation_details": reservation,
        "get_trip_status": trip_status,
        "get_user_details": user,
        "list_all_airports": airports,
        "search_direct_flight": direct,
        "search_onestop_flight": one_stop,
        "send_certificate": certificate,
        "transfer_to_human_agents": transfer,
        "update_reservation_baggages": change_bags,
        "update_reservation_flights": change_flights,
        "update_reservation_passengers": change_passengers,
    }
    reads = frozenset(
        {
            "calculate",
            "get_flight",
            "get_flight_status",
            "get_reservation_details",
            "get_trip_status",
            "get_user_details",
            "list_all_airports",
            "search_direct_flight",
            "search_onestop_flight",
            "transfer_to_human_agents",
        }
    )


def _passenger(said: Mapping[str, Any]) -> Document:
    return {k: said[k] for k in ("first_name", "last_name", "dob")}


_SUMS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _arithmetic(node: ast.AST) -> float:
    """Numbers and the four operations, nothing else."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SUMS:
            return _SUMS[type(op)](_arithmetic(left), _arithmetic(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_arithmetic(operand)
    raise ValueError("not plain arithmetic")


def owner(system: System, arguments: Mapping[str, Any]) -> str | None:
    """Whom a call is about: the user named, or the one the reservation belongs to; None if that is nobody."""
    try:
        if isinstance(arguments.get("user_id"), str):
            return str(system.world.get("users", arguments["user_id"], "user")["user_id"])
        return str(system.world.get("reservations", arguments.get("reservation_id"), "reservation")["user_id"])
    except Refusal:
        return None
