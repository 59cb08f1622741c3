"""Row-level security: a session sees and writes the one tenant that it names."""

from cxplane.adapters.postgres.migrations import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_tenants")
