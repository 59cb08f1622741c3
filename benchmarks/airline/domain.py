"""The airline, for the replay."""

from pathlib import Path

from benchmarks.airline.system import Airline, load, owner
from benchmarks.tau2.domain import Domain

DOMAIN = Domain(
    name="airline",
    control=Path(__file__).parent / "control",
    system=lambda data: Airline(load(data)),
    owner=owner,
    users="users",
    finds=frozenset(),
    whole=frozenset({"amount", "nonfree_baggages", "total_baggages"}),
    now="2024-05-15T20:00:00+00:00",  # 15:00 EST
)
