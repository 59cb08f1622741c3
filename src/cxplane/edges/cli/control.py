"""Commands that look at the files of a control repo. Only `diff` with a release opens the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxplane.domain.errors import ControlError
from cxplane.edges.cli.local import find_release, run, store_options, with_store
from cxplane.edges.cli.show import emit, json_option

if TYPE_CHECKING:
    from cxplane.domain.errors import Mistake
    from cxplane.domain.release import ControlRepo
    from cxplane.wiring import Settings

folder = click.argument("folder", default=".", type=click.Path(path_type=Path))


@click.command(short_help="Write a control repo to start from.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Name of the plane and tenant; by default the folder's.")
@json_option
def init(folder: Path, name: str | None, as_json: bool) -> None:
    """Write a small control repo to FOLDER: complete, checked and tested, to be grown from.

    \b
    Examples:
      cxplane init control
      cxplane init control --name northwind
    """
    from cxplane.control.init import init as write

    written = [str(path) for path in write(folder, name=name)]
    if as_json:
        emit({"folder": str(folder), "files": written})
        return
    click.echo(f"{len(written)} files in {folder}:")
    for path in written:
        click.echo(f"  {path}")
    click.echo(f"Next: cxplane check {folder}, cxplane test {folder}, cxplane serve --control {folder}")


@click.command(short_help="Find every mistake in a control repo at once.")
@folder
@json_option
def check(folder: Path, as_json: bool) -> int:
    """Read the control repo in FOLDER and name every mistake: file, line, what is wrong, how to repair it.

    Where there is none it warns of journeys that can be seen to start themselves; that is no mistake.

    \b
    Examples:
      cxplane check control
      cxplane check control --json | jq '.mistakes[].file'
    """
    from cxplane.control.check import check as find
    from cxplane.control.load import load
    from cxplane.control.rings import warnings
    from cxplane.wiring import expressions, policy_engine

    mistakes = find(folder, policy_engine(), expressions())
    warned = [] if mistakes else warnings(load(folder))
    if as_json:
        told = {"mistakes": [_mistake(m) for m in mistakes], "warnings": [_mistake(m) for m in warned]}
        emit({"folder": str(folder), "ok": not mistakes} | told)
        return 1 if mistakes else 0
    for warning in warned:
        click.echo(f"warning: {warning}")
    if mistakes:
        for mistake in mistakes:
            click.echo(str(mistake))
        click.echo(f"{len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}")
    else:
        click.echo(f"{folder}: no mistakes")
    return 1 if mistakes else 0


def _mistake(mistake: Mistake) -> dict[str, Any]:
    return {"file": mistake.file, "line": mistake.line, "what": mistake.what, "hint": mistake.hint}


def _must_be_right(folder: Path) -> None:
    """ControlError with every mistake, where there is one."""
    from cxplane.control.check import check as find
    from cxplane.wiring import expressions, policy_engine

    if mistakes := find(folder, policy_engine(), expressions()):
        raise ControlError(mistakes)


@click.command(short_help="Run the policy tests.")
@folder
@click.option("--only", help="Tests whose name or file holds this text.")
@json_option
def test(folder: Path, only: str | None, as_json: bool) -> int:
    """Run the policy tests of the control repo in FOLDER: request and facts in, decision and reasons out.

    \b
    Examples:
      cxplane test control
      cxplane test control --only refund
    """
    from cxplane.control.release import build
    from cxplane.control.test import run_tests
    from cxplane.wiring import expressions, policy_engine

    _must_be_right(folder)
    report = run(run_tests(build(folder), policy_engine(), expressions(), only=only))
    emit(report.as_json()) if as_json else click.echo(report.words())
    return 0 if report.passed else 1


@click.command(short_help="Say what differs between two control repos.")
@click.argument("before")
@click.argument("after", default=".")
@json_option
@store_options
def diff(settings: Settings, before: str, after: str, as_json: bool) -> None:
    """Say what changes from BEFORE to AFTER, by meaning: each a folder, the hash of a release, or `live`.

    \b
    Examples:
      cxplane diff control-old control
      cxplane diff live control
      cxplane diff 9f2b1c04 live --json
    """
    from cxplane.control.diff import diff as compare
    from cxplane.wiring import policy_engine

    changes = compare(_version(settings, before), _version(settings, after), policy_engine())
    if as_json:
        emit({"before": before, "after": after, "changes": [c.as_json() for c in changes]})
        return
    for change in changes:
        click.echo(change.words())
    if not changes:
        click.echo("no difference")


def _version(settings: Settings, name: str) -> ControlRepo:
    """A control repo by folder, or by the hash of a release."""
    from cxplane.control.load import load

    if Path(name).is_dir():
        return load(Path(name))
    if name != "live" and not all(c in "0123456789abcdef" for c in name):
        raise click.UsageError(f"there is no folder {name!r}, and it is no hash of a release")

    async def kept(store: Any) -> ControlRepo:
        return load(await find_release(store, name))

    return run(with_store(settings, kept))


@click.command(short_help="Say what a change of a file, an action or anything else touches.")
@click.argument("target")
@click.option(
    "--control",
    envvar="CXPLANE_CONTROL",
    type=click.Path(path_type=Path, file_okay=False),
    help="The control repo; by default the file's own, or this folder.",
)
@json_option
def impact(target: str, control: Path | None, as_json: bool) -> None:
    """Say what a change of TARGET touches: a file, or the id of an action, policy, budget, role, caller …

    \b
    Examples:
      cxplane impact control/policies/credits.cedar
      cxplane impact billing.get_account --control control --json
    """
    from cxplane.control.impact import impact as touched
    from cxplane.control.load import load
    from cxplane.wiring import policy_engine

    file = Path(target)
    root = control or (_root_of(file) if file.is_file() else Path())
    if file.is_file() and file.resolve().is_relative_to(root.resolve()):
        target = file.resolve().relative_to(root.resolve()).as_posix()
    found = touched(load(root), target, policy_engine())
    emit(found.as_json()) if as_json else click.echo(found.words())


def _root_of(file: Path) -> Path:
    for above in file.resolve().parents:
        if (above / "plane.yaml").is_file():
            return above
    raise click.UsageError(f"{file} is in no control repo: no folder above it holds plane.yaml")
