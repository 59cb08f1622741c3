"""The invented customers that all four systems are seeded with. No real person, address or number.

The first ten are cast for the demonstration and the tests (a fraud hold, a fresh contract, a broken line);
thirty more are drawn with a fixed seed; `c-1900` to `c-1903` belong to conformance testing. Dates count back from the
day of seeding. E-mail addresses use example.org, telephone numbers a range kept free for fiction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

PLANS = {"dsl-50": 2990, "fibre-100": 3990, "fibre-250": 4990, "fibre-1000": 6990, "office-1000": 64900}
"""Monthly price in cents."""

GIVEN = (
    "Ilse",
    "Bram",
    "Odile",
    "Tarek",
    "Suvi",
    "Nando",
    "Greta",
    "Yara",
    "Anselm",
    "Petra",
    "Levi",
    "Maud",
    "Ciro",
    "Runa",
)
FAMILY = (
    "Marrow",
    "Quill",
    "Fennick",
    "Abelard",
    "Tollgate",
    "Winterby",
    "Sorrel",
    "Kestner",
    "Oxbow",
    "Larkmoor",
    "Thistle",
)
STREETS = ("Lindenhof", "Am Alten Deich", "Kranichweg", "Mühlstieg", "Hafenzeile", "Birkenring", "Sternwarte")
TOWNS = ("Altenwerder", "Grünfurt", "Nordhafen", "Tannau")


@dataclass(frozen=True, slots=True)
class Household:
    """One customer as all four systems know them; `n` makes the ids (c-1001, a-1001, in-1001-3, ...)."""

    n: int
    name: str
    address: str
    segment: str
    plan: str
    started_days_ago: int
    term_months: int = 24
    vulnerable: bool = False
    fraud_hold: bool = False
    late_fee: bool = False
    line: str = "ok"
    """What a line test finds: ok | degraded | no_sync | router_fault."""
    complaint: bool = False

    @property
    def customer_id(self) -> str:
        return f"c-{self.n}"

    @property
    def account_id(self) -> str:
        return f"a-{self.n}"

    def started_on(self, today: date) -> date:
        return today - timedelta(days=self.started_days_ago)

    def term_ends_on(self, today: date) -> date:
        return self.started_on(today) + timedelta(days=self.term_months * 365 // 12)


def households() -> list[Household]:
    """Everyone, the same on every call."""
    dice = random.Random(20_26)

    def address() -> str:
        return f"{dice.choice(STREETS)} {dice.randint(1, 120)}, {dice.choice(TOWNS)}"

    cast = [
        Household(1001, "Ilse Marrow", address(), "gold", "fibre-250", 400, late_fee=True),
        Household(1002, "Bram Quill", address(), "standard", "fibre-100", 210, fraud_hold=True),
        Household(1003, "Odile Fennick", address(), "standard", "fibre-1000", 5),
        Household(1004, "Tarek Abelard", address(), "standard", "fibre-250", 120, late_fee=True),
        Household(1005, "Suvi Tollgate", address(), "silver", "dsl-50", 900),
        Household(1006, "Nando Winterby", address(), "standard", "fibre-100", 800, vulnerable=True),
        Household(1007, "Greta Sorrel", address(), "gold", "fibre-250", 500, line="router_fault"),
        Household(1008, "Yara Kestner", address(), "standard", "dsl-50", 300, line="no_sync"),
        Household(1009, "Anselm Oxbow", address(), "silver", "fibre-100", 640, complaint=True),
        Household(1010, "Larkmoor & Thistle GbR", address(), "business", "office-1000", 700),
    ]
    drawn = [
        Household(
            n,
            f"{dice.choice(GIVEN)} {dice.choice(FAMILY)}",
            address(),
            dice.choice(("standard", "standard", "silver", "gold")),
            dice.choice(("dsl-50", "fibre-100", "fibre-250", "fibre-1000")),
            dice.randint(30, 1500),
            late_fee=dice.random() < 0.3,
            line=dice.choice(("ok", "ok", "ok", "degraded", "no_sync", "router_fault")),
            complaint=dice.random() < 0.1,
        )
        for n in range(1011, 1041)
    ]
    proving = Household(
        1900, "Conformance Test", address(), "test", "office-1000", 900, late_fee=True, line="router_fault"
    )
    leaving = [
        Household(n, f"Conformance Test {n}", address(), "test", "dsl-50", 900, line="no_sync")
        for n in range(1901, 1904)
    ]
    return [*cast, *drawn, proving, *leaving]
