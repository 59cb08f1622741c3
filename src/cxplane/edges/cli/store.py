"""The schema of the store: where it is, moving it forward, and a store that came back to an earlier moment."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxplane.edges.cli.local import operator, run, store_options, with_store
from cxplane.edges.cli.show import emit, json_option

if TYPE_CHECKING:
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings

AFTER_A_RESTORE = """next     1. put your keys back where they were
         2. cxplane store redo EXPORT          erases, revokes and withdraws again what was since then
         3. cxplane audit keys rotate --new-tree     the record cannot be sealed on in the old name
         4. cxplane serve                      and `cxplane doctor` says what is missing"""


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
        click.echo(AFTER_A_RESTORE)


@store.command("redo")
@click.argument("export", required=False, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--by-hand", is_flag=True, help="Do nothing; put on record that it was done, or that there is nothing to do."
)
@click.option("--yes", is_flag=True, help="Do not ask; an erasure has no way back.")
@json_option
@store_options
def redo_(settings: Settings, export: Path | None, by_hand: bool, yes: bool, as_json: bool) -> int:
    """Do again what took something away in the time that a restore lost: erasures, revoked keys, withdrawn consents, holds.

    EXPORT is what `cxplane export` or `cxplane audit export` wrote of the store that was lost; the newer, the better. Run it
    before the first plane starts. What was said anew since then counts more than what was lost. Until it is done,
    `cxplane doctor` fails. Ends with 1 where a customer has work under way: end it, then run this again.

    \b
    Examples:
      cxplane store redo record/
      cxplane store redo --by-hand
    """
    if (export is None) != by_hand:
        raise click.UsageError("name an export of the store that was lost, or give --by-hand")
    told = run(with_store(settings, lambda store: _redo(store, export, yes or as_json)))
    if as_json:
        emit(told)
        return 1 if told["left"] else 0
    for line in told["done"]:
        click.echo(line)
    for line in told["left"]:
        click.echo(f"LEFT      {line}")
    if told["left"]:
        click.echo("next      end what is under way, or lift the hold; then run this again")
    elif told["upto"]:
        click.echo(
            f"all is done that the export knows, up to entry {told['upto']} of {told['until']}; what came later, nobody knows"
        )
    else:
        click.echo(
            "nothing is left to be done"
            if told["was_set_back"]
            else "the store was not set back since this was last done"
        )
    return 1 if told["left"] else 0


async def _redo(store: Store, export: Path | None, yes: bool) -> dict[str, Any]:
    from cxplane.domain.errors import ExportFailed
    from cxplane.loop import redoing
    from cxplane.record.lost import lost_in
    from cxplane.wiring import exported_lines

    restored = await redoing.set_back(store)
    told: dict[str, Any] = {"was_set_back": bool(restored), "done": [], "left": [], "upto": None, "until": None}
    if not restored:
        return told
    lost, now = None, datetime.now(UTC)
    if export is not None:
        try:
            lost = lost_in(exported_lines(export), redoing.spans(restored))
        except (ValueError, KeyError, TypeError) as problem:
            raise ExportFailed(
                str(export), f"cannot be read: {problem}", next="Name an export of `cxplane export`."
            ) from None
        await redoing.must_be_of_this_store(store, str(export), lost)
        if lost.erased and not yes:
            click.confirm(f"Erase {', '.join(lost.erased)} for ever, as before?", abort=True, err=True)
        redone = await redoing.redo(store, lost, restored, by=operator(), now=now)
        told |= {"done": redone.done, "left": redone.left, "upto": lost.last, "until": lost.at}
    if not told["left"]:
        await redoing.looked_after(store, restored, lost, by=operator(), now=now)
    return told


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
