"""The schema of the store: where it is, moving it forward, and a store that came back to an earlier moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cxplane.edges.cli.local import operator, run, store_options
from cxplane.edges.cli.show import emit, json_option

if TYPE_CHECKING:
    from cxplane.wiring import Settings


@click.group(short_help="See and upgrade the schema of the store.")
def store() -> None:
    """The schema of the store moves forward with the versions of cxplane, and never back.

    \b
    Examples:
      cxplane store status
      cxplane backup before.backup && cxplane store upgrade
    """


@store.command()
@json_option
@store_options
def status(settings: Settings, as_json: bool) -> int:
    """Say where the schema of the store is, and whether this version of cxplane works with it. Changes nothing.

    Ends with 1 where this version is too old for the store.

    \b
    Example:
      cxplane store status --json
    """
    from cxplane.wiring import schema_of

    state, _ = run(schema_of(settings))
    if as_json:
        emit(_told(state))
    else:
        click.echo(f"store    schema {state.version or 'none yet'}")
        click.echo(f"cxplane  knows schema {state.head}")
        click.echo(f"         {_words(state)}")
    return 0 if state.usable else 1


@store.command()
@json_option
@store_options
def upgrade(settings: Settings, as_json: bool) -> None:
    """Bring the store to the newest schema that this version of cxplane knows, while planes of the version before work on it.

    Planes and workers do so themselves when they start; with several, do it once before the first of them. It is all or
    nothing, waits half a second at most for a table in use, and then tries again. There is no way back but a backup.

    \b
    Example:
      cxplane backup before.backup && cxplane store upgrade
    """
    from cxplane.wiring import schema_of

    before, after = run(schema_of(settings, upgrade=True))
    moved = before.version != after.version
    if as_json:
        emit({"from": before.version, "to": after.version, "moved": moved})
    elif moved:
        click.echo(f"the store is at schema {after.version}; before: {before.version or 'none'}")
    else:
        click.echo(f"the store is at schema {after.version} already")


@store.command("recovered")
@json_option
@store_options
def recovered_(settings: Settings, as_json: bool) -> None:
    """Make a store ready that came back to an earlier moment by other means than `cxplane restore`.

    That is: point-in-time recovery, a snapshot of a disk, a copy that took over and had not got the last commits. Run it
    once, before the first plane starts. Who held a run or a job in the time that was lost holds it no more, numbers that
    were given then are not given again, and the record says that the store came back (`store.restored`).

    \b
    Example:
      cxplane store recovered --dsn postgresql://postgres@db/cxplane
    """
    from cxplane.wiring import recovered

    position = run(recovered(settings, by=operator()))
    if as_json:
        emit({"ready": True, "position": position})
    else:
        click.echo(f"the store goes on after entry {position}; what came later is lost")
        click.echo("next     revoke, withdraw and erase again what was in the time that is lost; then `cxplane serve`")


def _words(state: Any) -> str:
    if not state.usable:
        return "this version is too old for the store: run a newer one"
    if state.behind:
        return "`cxplane store upgrade` moves it forward"
    return "they fit" if state.version == state.head else "it works; replace it by the newer version soon"


def _told(state: Any) -> dict[str, Any]:
    return {
        "schema": state.version,
        "compatible_from": state.compatible_from,
        "knows": state.head,
        "usable": state.usable,
        "behind": state.behind,
    }
