"""The shop, for the replay."""

from pathlib import Path

from benchmarks.retail.system import Retail, load, owner
from benchmarks.tau2.domain import Domain

DOMAIN = Domain(
    name="retail",
    control=Path(__file__).parent / "control",
    system=lambda data: Retail(load(data)),
    owner=owner,
    users="users",
    finds=frozenset({"find_user_id_by_email", "find_user_id_by_name_zip"}),
    whole=frozenset(),
    now="2024-05-15T20:00:00+00:00",
)
