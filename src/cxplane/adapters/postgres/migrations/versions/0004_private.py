"""Personal data: keys of customers, erasure, retention."""

from cxplane.adapters.postgres.migrations import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run("0004_keys", "0004_append", "0004_erase")
