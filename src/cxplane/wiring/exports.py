"""Where what is exported goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the heavy modules are imported where they are needed: `cxplane --help` stays quick
    from cxplane.ports.export import LineSink
    from cxplane.ports.store import Store


EXPORT_FILE_BYTES = 1024**3  # of lines, in one file of an export


def export_sink(
    to: Path,
    about: Mapping[str, Any],
    *,
    is_file: bool,
    after: int,
    resume: bool,
    compressed: bool,
    rotate: tuple[bool, int],
) -> LineSink:
    """Where exported lines go: a file, or a folder that gets another file by day and beyond so many bytes."""
    from cxplane.adapters.line_files import LineFiles
    from cxplane.adapters.line_places import FilePlace, FolderPlace

    by_day, most = rotate
    place = FilePlace(to) if is_file else FolderPlace(to, compressed, by_day, most)
    return LineFiles(place, about=about, after=after, resume=resume)


async def export_releases(store: Store, tenant: str, folder: Path) -> None:
    """The control repos of all releases as files, those that are not there yet."""
    from cxplane.adapters.control_files import there, write_releases

    releases = await store.releases(tenant)
    kept = there(folder)
    files = {r.hash: await store.release_files(tenant, r.hash) for r in releases if r.hash not in kept}
    write_releases(folder, releases, {hash: texts for hash, texts in files.items() if texts is not None})


def exported_lines(place: Path) -> Iterator[bytes]:
    """The lines of an export (`cxplane export` or `audit export`; a folder or a file), in order, without their ends."""
    import gzip

    from cxplane.adapters.parquet import lines_in

    for path in lines_in(place):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")


def write_parquet(lines: Path, to: Path, *, tell: Callable[[int, int, str], None]) -> Mapping[str, int]:
    """The lines of an export as Parquet files; how many rows each table has."""
    from cxplane.adapters.parquet import lines_in, write_tables

    return write_tables(lines_in(lines), to, tell=tell)


def check_parquet(to: Path, *, replace: bool) -> None:
    """Raises ExportFailed where DuckDB is missing or something is in the way."""
    from cxplane.adapters.parquet import check_duckdb, check_place

    check_duckdb()
    check_place(to, replace=replace)
