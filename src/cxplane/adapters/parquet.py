"""Exported lines as Parquet files, made by DuckDB (the extra `analytics`). Nothing is downloaded, everything happens here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cxplane.adapters.line_places import replace_file
from cxplane.domain.errors import ExportFailed
from cxplane.record.tables import LINE, TABLES, VERSION, Table

MARK = "schema.json"
SETTINGS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
LINE_BYTES = 64 * 1024 * 1024  # the longest line that is read

Tell = Callable[[int, int, str], None]


def lines_in(place: Path) -> list[Path]:
    """The files of an export: of its folder, or itself."""
    folder = place / "entries" if (place / "entries").is_dir() else place
    found = (
        sorted(p for p in folder.iterdir() if p.name.endswith((".jsonl", ".jsonl.gz"))) if folder.is_dir() else [place]
    )
    if not found or not found[0].exists():
        raise ExportFailed(str(place), "holds no exported lines", next="Make some with `cxplane export FOLDER`.")
    return found


def check_place(to: Path, *, replace: bool) -> None:
    """Raises ExportFailed where something is in the way."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if not replace:
        raise ExportFailed(str(to), "is not empty", next="Name another folder, or give --replace.")
    if not (to / MARK).exists():
        raise ExportFailed(str(to), f"holds no {MARK}: it was not made by this command", next="Name another folder.")


def check_duckdb() -> Any:
    """DuckDB, or ExportFailed with what to install."""
    try:
        import duckdb
    except ImportError:
        raise ExportFailed(
            "Parquet", "needs DuckDB, which is not installed", next="Run `pip install 'cxplane[analytics]'`."
        ) from None
    return duckdb


def write_tables(lines: Sequence[Path], to: Path, *, tell: Tell = lambda done, total, now: None) -> dict[str, int]:
    """All tables, each partitioned by month; how many rows each has. `to` is there whole, or as it was before."""
    duckdb = check_duckdb()
    partial, old = to.with_name(f".{to.name}.partial"), to.with_name(f".{to.name}.old")
    try:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        with duckdb.connect(config={**SETTINGS, "temp_directory": str(partial / ".tmp")}) as link:
            rows = _write(link, lines, partial, tell)
        shutil.rmtree(partial / ".tmp", ignore_errors=True)
        replace_file(partial / MARK, msgspec.json.format(msgspec.json.encode(schema(rows)), indent=1))
        if to.exists():
            to.rename(old)
        partial.rename(to)
        shutil.rmtree(old, ignore_errors=True)
        return rows
    except (duckdb.Error, OSError) as problem:
        shutil.rmtree(partial, ignore_errors=True)
        why = problem.strerror if isinstance(problem, OSError) else _kind(problem)
        raise ExportFailed(
            str(to), f"cannot be made: {why}", next="Check the lines and the room on the disk."
        ) from None


def _write(link: Any, lines: Sequence[Path], to: Path, tell: Tell) -> dict[str, int]:
    names = ", ".join(_quoted(str(path)) for path in lines)
    link.execute(
        "create view source as select json as e from read_json_objects("  # noqa: S608 -- paths are quoted
        f"[{names}], format = 'newline_delimited', maximum_object_size = {LINE_BYTES})"
    )
    link.execute(f"create view line as {LINE}")
    rows: dict[str, int] = {}
    for n, table in enumerate(TABLES):
        tell(n, len(TABLES), table.name)
        rows[table.name] = _write_one(link, table, to / table.name)
    return rows


def _write_one(link: Any, table: Table, to: Path) -> int:
    if not link.execute(f"select 1 from ({table.query}) limit 1").fetchone():  # noqa: S608 -- of our own tables
        to.mkdir()
        link.execute(f"copy ({table.query}) to {_quoted(str(to / 'empty.parquet'))} (format parquet)")
        return 0
    ((count,),) = link.execute(
        f"copy (select *, strftime(time, '%Y-%m') as month from ({table.query})) to {_quoted(str(to))}"  # noqa: S608
        " (format parquet, compression zstd, partition_by (month))"
    ).fetchall()
    return int(count)


def schema(rows: dict[str, int]) -> dict[str, Any]:
    """What is in the folder, for programs."""
    return {
        "version": VERSION,
        "tables": {
            t.name: {
                "text": t.text,
                "rows": rows[t.name],
                "columns": [{"name": c.name, "type": c.type, "text": c.text} for c in t.columns],
            }
            for t in TABLES
        },
    }


def _kind(problem: Exception) -> str:
    """What kind of mistake, never its text: that may quote a line."""
    return type(problem).__name__


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
