"""The invented range and the invented customers that the services are seeded with."""

from __future__ import annotations

from dataclasses import dataclass

ITEMS = {  # sku: (name, price in cents, pieces in stock)
    "tent-2p": ("Two-person tent", 24900, 40),
    "stove": ("Camping stove", 5900, 60),
    "mug": ("Enamel mug", 1290, 400),
    "boots": ("Hiking boots", 15900, 80),
    "rope": ("Climbing rope 60 m", 18900, 25),
    "kayak": ("Folding kayak", 129000, 4),
    "compass": ("Brass compass", 4500, 0),
}


@dataclass(frozen=True, slots=True)
class Buyer:
    """One customer. `card`: ok | declined (at once) | lapses (authorised, but cannot be captured)."""

    n: int
    name: str
    card: str = "ok"

    @property
    def customer_id(self) -> str:
        return f"c-{self.n}"


BUYERS = (
    Buyer(2001, "Ravna Elster"),
    Buyer(2002, "Jorin Habicht"),
    Buyer(2003, "Milo Grat", card="declined"),
    Buyer(2004, "Tilda Moor", card="lapses"),
    *(Buyer(n, f"Walker {n}") for n in range(2005, 2041)),
    Buyer(2900, "Conformance Test"),
)
