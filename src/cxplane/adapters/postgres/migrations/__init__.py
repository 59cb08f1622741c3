"""Steps of the schema. A published step never changes; a change is a new step."""

from __future__ import annotations

from pathlib import Path

from alembic import op

SQL = Path(__file__).with_name("sql")


def run(*names: str) -> None:
    """Put SQL files, each with as many statements as it likes, into the script that brings the store forward."""
    for name in names:
        op.get_context().impl.static_output((SQL / f"{name}.sql").read_text(encoding="utf-8"))
