"""The line of an entry, and what is kept of the sealed tree."""

from cxplane.adapters.postgres.migrations import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_seal")
