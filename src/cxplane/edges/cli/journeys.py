"""Journeys as they are defined, and their runs on the way from one release to another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cxplane.edges.cli.api import Api, plane_options, segment
from cxplane.edges.cli.run_words import WIDTH
from cxplane.edges.cli.runs import out_option
from cxplane.edges.cli.show import emit, json_option, keep, pairs, table, working

LONGEST_S = 3600  # for one request that tells many runs


@click.group(short_help="See journeys, draw them, take them elsewhere.")
def journeys() -> None:
    """Journeys: work across steps, people and time, as the live release defines it.

    \b
    Examples:
      cxplane journeys list
      cxplane journeys show refund
      cxplane journeys picture refund > refund.svg
      cxplane journeys export refund > refund.json      as CNCF Serverless Workflow
    """


@journeys.command("list")
@json_option
@plane_options
def list_journeys(api: Api, as_json: bool) -> None:
    """List the journeys of the live release, with how many runs stand how.

    \b
    Example:
      cxplane journeys list --json | jq '.items[] | {journey, runs}'
    """
    told = api.get("/v1/journeys")
    if as_json:
        emit(told)
        return
    table(
        ("journey", "owner", "starts with", "runs", "what it is for"),
        [
            (j["journey"], j["owner"], ", ".join(j["starts_with"]), _counts(j["runs"]), j["summary"])
            for j in told["items"]
        ],
        nothing="The live release has no journeys.",
        whole=("journey",),
        width=WIDTH,
    )


def _counts(runs: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in sorted(runs.items()) if n)


@journeys.command("show")
@click.argument("name")
@json_option
@plane_options
def show(api: Api, name: str, as_json: bool) -> None:
    """Show journey NAME: what it takes, its steps, its charter, its runs.

    \b
    Example:
      cxplane journeys show refund
    """
    told = api.get(f"/v1/journeys/{segment(name)}")
    if as_json:
        emit(told)
        return
    charter = told["charter"]
    pairs(
        {
            "journey": f"{told['journey']} (version {told['version']}, release {told['release'][:12]})",
            "summary": told["summary"],
            "owner": told["owner"],
            "starts with": ", ".join(told["starts_with"]) or "a call",
            "one run for each": ", ".join(told["key"]),
            "mode": told["mode"],
            "if it fails": told["on_failure"].replace("_", " "),
            "file": told["file"],
            "runs": _counts(told["runs"]),
            "under way on": ", ".join(f"{hash[:12]}: {n}" for hash, n in told["under_way_on"].items()),
        }
    )
    click.echo("\nsteps")
    for depth, step in _steps(told["steps"]):
        what = " ".join(w for w in (step["task"], step.get("action", "")) if w)
        about = f"  {step['summary']}" if step.get("summary") else ""
        click.echo(f"{'  ' * (depth + 1)}{step['step']}: {what}{about}".rstrip())
    click.echo("\ncharter")
    pairs(
        {
            "may ask for": ", ".join(charter["actions"]),
            "data": ", ".join(charter["data"]),
            "roles": ", ".join(charter["roles"]),
            "approvals": "; ".join(f"{action}: {words}" for action, words in charter["approvals"].items()),
            "exceptions": charter["exceptions"],
            "success": _aims(charter["success"]),
            "must not worsen": _aims(charter["counter"]),
        }
    )
    click.echo("\ninput\n" + json.dumps(told["input"], indent=2, ensure_ascii=False))


def _aims(aims: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(f"{aim['measure']} {aim['target']}" for aim in aims)


def _steps(steps: Sequence[Mapping[str, Any]], depth: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for step in steps:
        yield depth, step
        for name, body in step.get("steps", {}).items():
            if len(step["steps"]) > 1:
                yield depth + 1, {"step": name, "task": ""}
            yield from _steps(body, depth + (2 if len(step["steps"]) > 1 else 1))


@journeys.command("picture")
@click.argument("name")
@out_option
@json_option
@plane_options
def picture(api: Api, name: str, out: Path | None, as_json: bool) -> None:
    """Draw journey NAME as SVG.

    \b
    Example:
      cxplane journeys picture refund --out refund.svg
    """
    keep(api.text(f"/v1/journeys/{segment(name)}/picture", "image/svg+xml"), out, {"journey": name}, as_json)


@journeys.command("export")
@click.argument("name")
@out_option
@json_option
@plane_options
def export(api: Api, name: str, out: Path | None, as_json: bool) -> None:
    """Write journey NAME in the words of CNCF Serverless Workflow 1.0, as JSON.

    \b
    Example:
      cxplane journeys export refund > refund.json
    """
    told = api.get(f"/v1/journeys/{segment(name)}/serverless-workflow")
    if out is None:
        emit(told)
    else:
        keep(json.dumps(told, indent=2, ensure_ascii=False) + "\n", out, {"journey": name}, as_json)


@click.command(short_help="Take runs of a journey to another release.")
@click.argument("journey")
@click.option("--from", "from_", required=True, help="The release they are on: how its hash begins.")
@click.option("--to", default="live", show_default=True, help="The release they go to: how its hash begins.")
@click.option(
    "--map", "maps", multiple=True, metavar="OLD=NEW", help="A step that has another name there; may be given again."
)
@click.option("--apply", "apply_", is_flag=True, help="Do it. Without it, only say what would happen.")
@json_option
@plane_options
def migrate(api: Api, journey: str, from_: str, to: str, maps: tuple[str, ...], apply_: bool, as_json: bool) -> int:
    """Take the runs of JOURNEY that are under way from one release to another, each at the step where it stands.

    Nothing is asked: without --apply it says what would happen to each run and does nothing, with --apply it is done.
    Ends with 1 when there are runs that cannot go; they stay on their release.
    Which releases have runs under way: `cxplane journeys show JOURNEY`.

    \b
    Examples:
      cxplane migrate refund --from 9f2b1c04                          what would happen
      cxplane migrate refund --from 9f2b1c04 --map refund=pay_back    a step has another name
      cxplane migrate refund --from 9f2b1c04 --map refund=pay_back --apply
    """
    body = {"from": from_, "to": to, "positions": _positions(maps), "apply": apply_}
    with working(f"{'moving' if apply_ else 'looking at'} the runs of {journey}"):
        told = api.post(f"/v1/journeys/{segment(journey)}/migrate", body, timeout_s=LONGEST_S)
    if as_json:
        emit(told)
        return 1 if told["impossible"] else 0
    click.echo(f"{told['journey']}: {told['from'][:12]} to {told['to'][:12]}, {told['runs']} under way")
    rows = [(m["run"], "goes", ", ".join(m["at"]), f"to {', '.join(m['to'])}") for m in told["mapped"]]
    rows += [(m["run"], "stays", ", ".join(m["at"]), m["why"]) for m in told["impossible"]]
    if rows:
        table(("run", "it", "at", ""), rows, nothing="", whole=("run", "it"), width=WIDTH)
    click.echo(
        f"{told['same']} go as they stand, {len(told['mapped'])} to a mapped step, {len(told['impossible'])} cannot go"
    )
    for step, n in told["standing"].items():
        click.echo(f"  {n} {'stands' if n == 1 else 'stand'} at {step}, and {'goes' if n == 1 else 'go'} on there")
    if apply_:
        click.echo(f"{told['moved']} were told to go; each does before its next step")
    elif told["same"] or told["mapped"]:
        click.echo("Nothing was done. With --apply, it is.")
    if told["impossible"]:
        click.echo("Map the steps of those that cannot go with --map OLD=NEW, or let them end where they are.")
    return 1 if told["impossible"] else 0


def _positions(maps: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in maps:
        old, equals, new = pair.partition("=")
        if not (equals and old and new):
            raise click.UsageError(f"--map is written OLD=NEW, not {pair!r}")
        if old in found:
            raise click.UsageError(f"--map {old!r} is given twice")
        found[old] = new
    return found
