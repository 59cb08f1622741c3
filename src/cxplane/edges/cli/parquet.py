"""`cxplane export-parquet`: the record as tables, for whoever asks questions of many cases at once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxplane.edges.cli.export import Moment
from cxplane.edges.cli.local import store_options, with_store
from cxplane.edges.cli.show import emit, json_option, table, working

if TYPE_CHECKING:
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings


@click.command("export-parquet", short_help="Write the record as tables in Parquet files.")
@click.argument("to", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--lines",
    type=click.Path(path_type=Path, exists=True),
    help="Made of these exported lines (a folder or file of `cxplane export`), without the store.",
)
@click.option("--since", type=Moment(), help="Only entries from this time on.")
@click.option("--until", type=Moment(), help="Only entries before this time.")
@click.option("--replace", is_flag=True, help="Put it in the place of what this command wrote there before.")
@json_option
@store_options
def export_parquet(
    settings: Settings,
    to: Path,
    lines: Path | None,
    since: datetime | None,
    until: datetime | None,
    replace: bool,
    as_json: bool,
) -> int:
    """Write entries, requests, decisions, outcomes, approvals and runs as tables to the folder TO, a file a month.

    Any tool that reads Parquet can ask them. What the columns mean: docs/reference/export-schema.md, and `schema.json` in TO.
    Personal data stays sealed. Needs DuckDB: `pip install 'cxplane[analytics]'`.

    \b
    Examples:
      cxplane export-parquet tables/
      cxplane export-parquet tables/ --lines record/ --replace
      duckdb -c "select verdict, count(*) from 'tables/decisions/**/*.parquet' group by 1"
    """
    from cxplane.wiring import check_parquet, write_parquet

    if lines is not None and (since or until):
        raise click.UsageError("--since and --until choose from the store; export the lines with them instead")
    check_parquet(to, replace=replace)
    with working("parquet") as tell:
        if lines is not None:
            rows = write_parquet(lines, to, tell=tell)
        else:
            rows = asyncio.run(with_store(settings, lambda store: _from_store(store, settings, to, since, until)))
    if as_json:
        emit({"to": str(to), "rows": rows})
    else:
        table(("table", "rows"), list(rows.items()), nothing="")
    return 0


async def _from_store(
    store: Store, settings: Settings, to: Path, since: datetime | None, until: datetime | None
) -> Mapping[str, int]:
    from cxplane.domain.record import Wanted
    from cxplane.loop.exporting import export
    from cxplane.wiring import export_sink, write_parquet

    to.parent.mkdir(parents=True, exist_ok=True)
    lines = to.with_name(f".{to.name}.lines")
    shutil.rmtree(lines, ignore_errors=True)  # of a run that was killed
    try:
        place = lines / "entries.jsonl.gz"
        about = {"tenant": store.tenant}
        sink = export_sink(place, about, is_file=True, after=0, resume=False, compressed=True, rotate=(False, 0))
        await export(store, about["tenant"], sink, wanted=Wanted((), since, until))
        sink.close()
        if not place.exists():
            place.touch()
        return await asyncio.to_thread(write_parquet, place, to, tell=lambda done, total, now: None)
    finally:
        shutil.rmtree(lines, ignore_errors=True)
