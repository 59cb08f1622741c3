"""The journal, its projections, and the queue."""

from cxplane.adapters.postgres.migrations import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    run("0001_record", "0001_fold", "0001_append", "0001_queue")
