"""Runs of journeys: state, mailboxes, timers, signals, tasks."""

from cxplane.adapters.postgres.migrations import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run("0002_runs", "0002_fold", "0002_append")
