"""Runs of journeys: start them, see where they are, free and steer them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cxplane.edges.cli.api import Api, plane_options, segment
from cxplane.edges.cli.ask import limit_option
from cxplane.edges.cli.run_words import ENDED, WIDTH, line_of, shortly, waits_for
from cxplane.edges.cli.show import day_or_minute, emit, given_object, json_option, keep, minute, pairs, table, when

STATUSES = ["ready", "waiting", "stuck", "suspended", "cancelling", "done", "failed", "cancelled"]

comment_option = click.option("--comment", default="", help="Why, for the record.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file, not to standard output."
)
step_option = click.option("--step", help="Only this step, where the run is stuck at several.")


@click.group(short_help="Start, see, free and steer runs of journeys.")
def runs() -> None:
    """Runs: single instances of journeys, from start to end.

    \b
    Examples:
      cxplane runs start refund order_id=o-7 amount=2500 --customer c-1001
      cxplane runs list --stuck
      cxplane runs show run_0194…          where it is, what is done, what is open, what frees it
      cxplane runs watch run_0194…
      cxplane runs retry run_0194… --comment "the account is open again"
    """


@runs.command("start")
@click.argument("journey")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--input", "text", help="The whole input as JSON; @FILE reads a file, - standard input.")
@click.option("--customer", help="Id of the customer it is about.")
@click.option("--conversation", help="The conversation whose recorded facts count.")
@click.option("--idempotency-key", help="With the same key, starting again is the same run. One is made by default.")
@json_option
@plane_options
def start(
    api: Api,
    journey: str,
    values: tuple[str, ...],
    text: str | None,
    idempotency_key: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Start a run of JOURNEY with the input given as NAME=VALUE (JSON where it is JSON, else text).

    Ends with 0 when it is started; how it goes on: `cxplane runs watch`.

    \b
    Examples:
      cxplane runs start refund order_id=o-7 amount=2500 --customer c-1001
      cxplane runs start billing_dispute --input @dispute.json --customer c-1001 --json | jq -r .run.id
    """
    body: dict[str, Any] = {"journey": journey, "input": given_object(text, values)}
    body.update({name: value for name, value in given.items() if value is not None})
    told = api.post("/v1/runs", body, idempotency_key=idempotency_key or f"cli-{secrets.token_hex(12)}")
    if as_json:
        emit(told)
        return
    id = told["run"]["id"]
    click.echo(f"{'started before' if told['repeated'] else 'started'}  {id}")
    click.echo(f"  cxplane runs watch {id}     see it go on")
    click.echo(f"  cxplane runs show {id}      see where it is")


@runs.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only where it stands so.")
@click.option("--journey", help="Only of this journey.")
@click.option("--customer", help="Only about this customer.")
@click.option("--stuck", is_flag=True, help="Only those that a person must free.")
@limit_option
@json_option
@plane_options
def list_runs(api: Api, stuck: bool, limit: int, as_json: bool, **filters: Any) -> None:
    """List runs, newest first.

    \b
    Examples:
      cxplane runs list --journey refund --status waiting
      cxplane runs list --stuck --json | jq -r '.items[].id'
    """
    items = list(api.items("/v1/runs", most=limit, stuck="true" if stuck else None, **filters))
    if as_json:
        emit({"items": items})
        return
    table(
        ("run", "journey", "status", "at", "waits for", "since"),
        [
            (
                r["id"],
                r["journey"],
                r["status"],
                ", ".join(r["at"]),
                shortly(r["waits"]),
                day_or_minute(r["updated_at"]),
            )
            for r in items
        ],
        nothing="None.",
        whole=("run", "status", "since"),
        cut=("journey", "at", "waits for"),
        width=WIDTH,
    )


@runs.command("show")
@click.argument("id")
@json_option
@plane_options
def show(api: Api, id: str, as_json: bool) -> int:
    """Show where run ID is, what is done, what is open, and what frees it.

    Ends with 0 when the run is done, 1 when it failed or was cancelled, 4 while it is under way.

    \b
    Example:
      cxplane runs show run_0194…
    """
    return show_run(api.get(f"/v1/runs/{segment(id)}"), as_json)


def show_run(told: Mapping[str, Any], as_json: bool) -> int:
    """Print a run; the exit code that goes with it."""
    run = told["run"]
    if as_json:
        emit(told)
        return ENDED.get(run["status"], 4)
    error = told["error"] or {}
    pairs(
        {
            "run": run["id"],
            "journey": f"{run['journey']} (release {run['release'][:12]})",
            "status": run["status"],
            "customer": run["customer"],
            "conversation": run["conversation"],
            "key": run["key"],
            "part of": run["parent"],
            "started": f"{when(run['started_at'])} by {run['started_by']}",
            "error": f"{error.get('name')} at {error.get('step')}: {error.get('text')}" if error else None,
            "next": told["next"],
        }
    )
    if told["input"]:
        _section("input")
        pairs(told["input"])
    if told["tokens"]:
        _section("where it is")
        rows = [
            (t["step"] or "(end)", waits_for(t), minute(t.get("since")), minute(t.get("due"))) for t in told["tokens"]
        ]
        table(("step", "waits for", "since", "due"), rows, nothing="", width=WIDTH)
    if told["did"]:
        _section("done")
        did = [(d["step"], d["action"], d["request"], "taken back" if d["undone"] else "") for d in told["did"]]
        table(("step", "action", "request", ""), did, nothing="", whole=("request",), width=WIDTH)
    if told["goals"]:
        _section("goals")
        for name, goal in told["goals"].items():
            click.echo(f"  {name}: {'achieved' if goal.get('achieved') else 'not achieved'}")
    if told["tasks"]:
        _section("open for people")
        open_ = [(t["id"], t["what"], t["person"] or t["team"], minute(t["due"]), t["text"]) for t in told["tasks"]]
        table(("task", "what", "who", "due", "text"), open_, nothing="", whole=("task",), width=WIDTH)
    if told["left"]:
        _section("to come")
        click.echo(click.wrap_text(", ".join(told["left"]), WIDTH, "  ", "  "))
    if told["frees"]:
        _section("what frees it")
        for free in told["frees"]:
            click.echo(f"  {free['how']}\n      {free['why']}")
    return ENDED.get(run["status"], 4)


def _section(name: str) -> None:
    click.echo(f"\n{name}")


@runs.command("timeline")
@click.argument("id")
@json_option
@plane_options
def timeline(api: Api, id: str, as_json: bool) -> None:
    """Tell what happened in run ID, in order.

    \b
    Examples:
      cxplane runs timeline run_0194…
      cxplane runs timeline run_0194… --json | jq -r '.items[].what'
    """
    told = api.get(f"/v1/runs/{segment(id)}/timeline")
    if as_json:
        emit(told)
        return
    for item in told["items"]:
        click.echo(line_of(item))
    if not told["items"]:
        click.echo("Nothing happened yet.")


@runs.command("picture")
@click.argument("id")
@out_option
@json_option
@plane_options
def picture(api: Api, id: str, out: Path | None, as_json: bool) -> None:
    """Draw run ID as SVG: its journey, with the way it went.

    \b
    Examples:
      cxplane runs picture run_0194… > run.svg
      cxplane runs picture run_0194… --out run.svg
    """
    keep(api.text(f"/v1/runs/{segment(id)}/picture", "image/svg+xml"), out, {"run": id}, as_json)


@runs.command("watch")
@click.argument("id")
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds between looks.")
@click.option("--to-the-end", is_flag=True, help="Do not stop where it waits.")
@json_option
@plane_options
def watch(api: Api, id: str, every: float, to_the_end: bool, as_json: bool) -> int:
    """Watch run ID until it ends, or waits for something outside: a person, a signal, a time.

    Ends with 0 when the run is done, 1 when it failed or was cancelled, 4 while it is under way. With --json, one line
    for each thing that happens, and the run at last.

    \b
    Examples:
      cxplane runs watch run_0194…
      cxplane runs watch run_0194… --to-the-end --every 5
    """
    from cxplane.edges.cli.watch import watch as look

    return look(api, segment(id), every=every, to_the_end=to_the_end, as_json=as_json)


# steering -----------------------------------------------------------------------------------------------


def _told(api: Api, id: str, what: str, body: Mapping[str, Any], as_json: bool) -> None:
    sent = {name: value for name, value in body.items() if value is not None}
    told = api.post(f"/v1/runs/{segment(id)}/{what}", sent)
    if as_json:
        emit(told)
        return
    run = told["run"]
    new = f"; it goes on as {run['id']}" if run["id"] != id else ""
    click.echo(f"{id} is told to {what}{new}")
    click.echo(f"  cxplane runs watch {run['id']}     see what comes of it")


@runs.command("suspend")
@click.argument("id")
@comment_option
@json_option
@plane_options
def suspend(api: Api, id: str, comment: str, as_json: bool) -> None:
    """Let run ID rest: what is under way comes to its end, nothing new is begun.

    \b
    Example:
      cxplane runs suspend run_0194… --comment "the customer asked us to wait"
    """
    _told(api, id, "suspend", {"comment": comment}, as_json)


@runs.command("resume")
@click.argument("id")
@comment_option
@json_option
@plane_options
def resume(api: Api, id: str, comment: str, as_json: bool) -> None:
    """Let run ID go on where it was, with all that came meanwhile.

    \b
    Example:
      cxplane runs resume run_0194…
    """
    _told(api, id, "resume", {"comment": comment}, as_json)


@runs.command("cancel")
@click.argument("id")
@click.option(
    "--compensate/--leave", default=True, show_default=True, help="Take back what was done, or leave it as it is."
)
@comment_option
@json_option
@plane_options
def cancel(api: Api, id: str, compensate: bool, comment: str, as_json: bool) -> None:
    """End run ID before its end; what was done is taken back, last first.

    \b
    Examples:
      cxplane runs cancel run_0194… --comment "opened by mistake"
      cxplane runs cancel run_0194… --leave
    """
    _told(api, id, "cancel", {"compensate": compensate, "comment": comment}, as_json)


@runs.command("retry")
@click.argument("id")
@step_option
@comment_option
@json_option
@plane_options
def retry(api: Api, id: str, step: str | None, comment: str, as_json: bool) -> None:
    """Try again where run ID is stuck; what was done before is not done again.

    \b
    Example:
      cxplane runs retry run_0194… --comment "the account is open again"
    """
    _told(api, id, "retry", {"step": step, "comment": comment}, as_json)


@runs.command("skip")
@click.argument("id")
@step_option
@comment_option
@json_option
@plane_options
def skip(api: Api, id: str, step: str | None, comment: str, as_json: bool) -> None:
    """Go on after the step where run ID is stuck; what the step should have done is yours to do.

    \b
    Example:
      cxplane runs skip run_0194… --comment "credited by hand"
    """
    _told(api, id, "skip", {"step": step, "comment": comment}, as_json)


@runs.command("move")
@click.argument("id")
@click.argument("step")
@comment_option
@json_option
@plane_options
def move(api: Api, id: str, step: str, comment: str, as_json: bool) -> None:
    """Let run ID go on at STEP. Checkpoints count as much as before.

    \b
    Example:
      cxplane runs move run_0194… tell_customer --comment "all else was settled by hand"
    """
    _told(api, id, "move", {"step": step, "comment": comment}, as_json)


@runs.command("switch")
@click.argument("id")
@click.argument("journey")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--input", "text", help="Another input, as JSON; @FILE reads a file, - standard input.")
@comment_option
@json_option
@plane_options
def switch(
    api: Api, id: str, journey: str, values: tuple[str, ...], text: str | None, comment: str, as_json: bool
) -> None:
    """Go on with JOURNEY instead: a new run starts with the input of run ID (or the one given), which is cancelled as it is.

    \b
    Example:
      cxplane runs switch run_0194… complaint --comment "the customer wants to complain"
    """
    fresh = given_object(text, values) if values or text is not None else None
    _told(api, id, "switch", {"journey": journey, "input": fresh, "comment": comment}, as_json)
