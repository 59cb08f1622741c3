"""A worker begins at once with runs that it starts; appends in fewer statements."""

from cxplane.adapters.postgres.migrations import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run("0008_at_hand")
    run("0008_append")
