"""The invented customers that all four systems are seeded with. No real person, address or number. Amounts are cents."""

from __future__ import annotations

from dataclasses import dataclass

COVERS = {  # kind of loss -> (excess, limit a year)
    "water": (15_000, 1_000_000),
    "theft": (15_000, 300_000),
    "storm": (15_000, 500_000),
    "glass": (5_000, 50_000),
}
PRODUCTS = {"complete": ("water", "theft", "storm", "glass"), "basic": ("water", "storm")}
PAPERS = {"water": ["plumber_report"], "theft": ["police_report"], "storm": ["photo"], "glass": []}
"""Which documents a claim needs."""


@dataclass(frozen=True, slots=True)
class Household:
    """One customer; `n` makes the ids (c-3001, hp-3001)."""

    n: int
    product: str = "complete"
    status: str = "in_force"  # in_force | lapsed

    @property
    def customer_id(self) -> str:
        return f"c-{self.n}"

    @property
    def policy_id(self) -> str:
        return f"hp-{self.n}"


HOUSEHOLDS = (
    *(Household(n) for n in (3001, 3002, 3003, 3004, 3007, 3008, 3009, 3010, 3011, 3012)),
    Household(3005, status="lapsed"),
    Household(3006, product="basic"),
    Household(3900),  # belongs to conformance testing
)
BENCH = HOUSEHOLDS[-1]
