"""Leaner entries: the intent is told by the decision; an approval is decided only while it is open."""

from cxplane.adapters.postgres.migrations import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run("0006_lean")
