"""Writes of one batch that touch nothing in common are added together."""

from cxplane.adapters.postgres.migrations import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run("0007_groups")
