"""Backup and restore of the store."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxplane.edges.cli.local import operator, run, store_options
from cxplane.edges.cli.show import emit, json_option, working
from cxplane.edges.cli.store import AFTER_A_RESTORE

if TYPE_CHECKING:
    from cxplane.wiring import Settings


@click.command(short_help="Write everything in the store to one file.")
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE|DIR")
@json_option
@store_options
def backup(settings: Settings, target: Path, as_json: bool) -> None:
    """Write everything in the store to FILE, or to a new file in DIR, named by the time. Planes and workers go on working.

    The file holds one moment: records, runs with what they wait for, approvals, tasks, releases, hashes of API keys. Only
    you can read it (mode 0600). Your keys are NOT in it: what wraps the keys of customers, what signs the record (DATA/keys with
    an embedded store), secrets of systems. Keep them apart: who has both can read personal data; without them nobody can.

    On a Postgres of your own, prefer its tools: they also go back to a point in time.

    \b
    Examples:
      cxplane backup /backups
      cxplane backup before-the-upgrade.backup --data /var/lib/cxplane
      0 3 * * *  cxplane backup /backups --json >> /var/log/cxplane-backup.log     (crontab)
    """
    from cxplane.wiring import back_up

    file = target / f"cxplane-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.backup" if target.is_dir() else target
    with working("backup") as tell:
        manifest = run(back_up(settings, file, tell))
    told = _told(manifest)
    if as_json:
        emit({"file": str(file), "bytes": file.stat().st_size, **told})
        return
    click.echo(f"backup   {file} ({_size(file)})")
    _say(told)
    click.echo("         keys are not in it: keep them apart")


@click.command(short_help="Make the store again from a backup.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Only look whether the file is whole; restore nothing.")
@json_option
@store_options
def restore(settings: Settings, file: Path, check: bool, as_json: bool) -> None:
    """Make the store again from FILE, into an empty data folder or an empty database. Everything is counted and compared.

    Stop every plane and worker of the old store first. A backup of an older version is brought forward. Then start the
    planes: runs go on from where they were at the time of the backup. What they do again goes to the systems under the
    same key, so it is done once.

    What happened after the backup is not in the store any more. `cxplane store redo` does again what must not be undone:
    it erases customers, revokes keys and withdraws consents from an export (docs/how-to/back-up-and-restore.md).

    \b
    Examples:
      cxplane restore /backups/cxplane-2026-01-05T030000Z.backup --data /var/lib/cxplane-new
      cxplane restore store.backup --dsn postgresql://cxplane@db/empty
      cxplane restore store.backup --check
    """
    from cxplane.wiring import check_backup
    from cxplane.wiring import restore as load

    with working("restore") as tell:
        manifest = check_backup(file, tell) if check else run(load(settings, file, tell, by=operator()))
    told = _told(manifest)
    place = "the database" if settings.dsn else str(settings.data)
    if as_json:
        emit({"file": str(file), "restored": not check, **({} if check else {"place": place}), **told})
        return
    click.echo(f"{'whole    ' if check else 'restored '}{file}{'' if check else f' into {place}'}")
    _say(told)
    if not check:
        click.echo("         every row is as the backup says it")
        click.echo(AFTER_A_RESTORE)


def _told(manifest: Any) -> dict[str, Any]:
    return {
        "taken_at": manifest.made_at.isoformat(),
        "cxplane": manifest.cxplane,
        "schema": manifest.schema,
        "position": manifest.position,
        "tenants": list(manifest.tenants),
        "rows": {name: table.rows for name, table in manifest.tables.items()},
        "sha256": manifest.dump.sha256,
    }


def _say(told: dict[str, Any]) -> None:
    rows = told["rows"]
    click.echo(
        f"of       {re.sub(r'[.].*', 'Z', told['taken_at'])}, schema {told['schema']}, up to entry {told['position']}"
    )
    click.echo(f"holds    {rows.get('entry', 0)} entries, {rows.get('request', 0)} requests, {rows.get('run', 0)} runs")


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"
