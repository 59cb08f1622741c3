"""What runs ask of people, and what tells runs that something happened."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import click

from cxplane.edges.cli.api import Api, plane_options, plane_options_as, segment
from cxplane.edges.cli.ask import limit_option
from cxplane.edges.cli.run_words import WIDTH
from cxplane.edges.cli.show import (
    emit,
    given_json,
    json_option,
    minute,
    named_values,
    pairs,
    table,
    when,
)

EVENT = "application/cloudevents+json"


@click.group(short_help="See and answer what runs ask of people.")
def tasks() -> None:
    """Tasks: what runs ask of people.

    \b
    Examples:
      cxplane tasks list
      cxplane tasks show tsk_0194…
      cxplane tasks answer tsk_0194… --approve --comment "agreed on the phone"
    """


@tasks.command("list")
@click.option("--team", help="Only for this team.")
@click.option(
    "--status",
    type=click.Choice(["open", "answered", "defaulted", "closed", "all"]),
    default="open",
    show_default=True,
    help="Where it stands.",
)
@limit_option
@json_option
@plane_options
def list_tasks(api: Api, limit: int, as_json: bool, **filters: Any) -> None:
    """List tasks: your team's, or all with the permission `record`.

    \b
    Examples:
      cxplane tasks list
      cxplane tasks list --team billing-care --status all --json
    """
    items = list(api.items("/v1/tasks", most=limit, **filters))
    if as_json:
        emit({"items": items})
        return
    table(
        ("task", "what", "who", "due" if filters["status"] == "open" else "status", "text"),
        [
            (
                t["id"],
                t["what"],
                t["person"] or t["team"],
                minute(t["due"]) if filters["status"] == "open" else t["status"],
                t["text"] or t["step"],
            )
            for t in items
        ],
        nothing="Nothing waits." if filters["status"] == "open" else "None.",
        whole=("task", "due", "status"),
        width=WIDTH,
    )


@tasks.command("show")
@click.argument("id")
@json_option
@plane_options
def show(api: Api, id: str, as_json: bool) -> None:
    """Show task ID with all that is needed to answer, and how to.

    \b
    Example:
      cxplane tasks show tsk_0194…
    """
    _show(api.get(f"/v1/tasks/{segment(id)}"), as_json)


def _show(told: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        emit(told)
        return
    pairs(
        {
            "task": told["id"],
            "what": told["what"].replace("_", " "),
            "text": told["text"],
            "status": told["status"],
            "for": told["person"] or told["team"],
            "action": told["action"],
            "customer": told["customer"],
            "run": f"{told['run']} ({told['journey']}, step {told['step']})",
            "opened": when(told["opened_at"]),
            "due": when(told["due"]),
            "choices": ", ".join(told["choices"]),
            "answered by": told["answered_by"],
            "answer": told["answer"],
            "comment": told["comment"],
        }
    )
    if told["show"]:
        click.echo("\nto be seen")
        pairs(told["show"])
    if told["form"]:
        click.echo("\nform\n" + json.dumps(told["form"], indent=2, ensure_ascii=False))
    if told["status"] == "open":
        click.echo("\nanswer with")
        for how in _answers(told):
            click.echo(f"  cxplane tasks answer {told['id']} {how}")


def _answers(told: Mapping[str, Any]) -> list[str]:
    match told["what"]:
        case "choose":
            return [f"--choose {choice}" for choice in told["choices"]]
        case "fill":
            names = told["form"].get("required") or list(told["form"].get("properties", {})) or ["name"]
            return [" ".join(f"--fill {name}=…" for name in names)]
        case "hand_over":
            return ["--done"]
        case "stuck":
            return ["--do retry", "--do skip", "--do cancel", "--do fail"]
        case _:
            return ["--approve", "--reject"]


@tasks.command("answer")
@click.argument("id")
@click.option("--approve/--reject", "approved", default=None, help="Yes, or no.")
@click.option("--choose", "choice", help="One of the choices.")
@click.option("--fill", multiple=True, metavar="NAME=VALUE", help="A value of the form; may be given again.")
@click.option("--done", is_flag=True, help="You are finished with what was handed over.")
@click.option("--do", "do", type=click.Choice(["retry", "skip", "cancel", "fail"]), help="How a stuck run goes on.")
@click.option("--input", "text", help="With --approve: the input to do it with, edited, as JSON; @FILE reads a file.")
@click.option("--answer", help="The whole answer as JSON, instead; @FILE reads a file, - standard input.")
@click.option("--comment", default="", help="Why, for the record.")
@json_option
@plane_options
def answer(
    api: Api,
    id: str,
    approved: bool | None,
    choice: str | None,
    fill: tuple[str, ...],
    done: bool,
    do: str | None,
    text: str | None,
    answer: str | None,
    comment: str,
    as_json: bool,
) -> None:
    """Answer task ID; `cxplane tasks show ID` says how it can be answered.

    \b
    Examples:
      cxplane tasks answer tsk_0194… --approve --comment "agreed on the phone"
      cxplane tasks answer tsk_0194… --choose goodwill
      cxplane tasks answer tsk_0194… --fill reading=4711 --fill read_on=2026-01-05
      cxplane tasks answer tsk_0194… --done
    """
    said: list[Any] = []
    if approved is not None:
        edited = {"input": given_json(text, "--input")} if text is not None else {}
        said.append({"approved": approved, **edited})
    elif text is not None:
        raise click.UsageError("--input goes with --approve")
    if choice is not None:
        said.append({"choice": choice})
    if fill:
        said.append({"values": named_values(fill, "--fill")})
    if done:
        said.append({"done": True})
    if do is not None:
        said.append({"do": do})
    if answer is not None:
        said.append(given_json(answer, "--answer"))
    if len(said) != 1:
        raise click.UsageError(
            "say one of --approve, --reject, --choose, --fill, --done, --do and --answer; "
            f"`cxplane tasks show {id}` says which"
        )
    if not isinstance(said[0], dict):
        raise click.UsageError("--answer must be a JSON object")
    _show(api.post(f"/v1/tasks/{segment(id)}/answer", {"answer": said[0], "comment": comment}), as_json)


# signals ------------------------------------------------------------------------------------------------


@click.command(short_help="Say that something happened.")
@click.argument("type")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--key", default="", help="Whom or what it concerns: runs listen by type and key.")
@click.option("--data", "text", help="The data as JSON; @FILE reads a file, - standard input.")
@click.option("--source", default="/cxplane/cli", show_default=True, help="Who says so: a URI reference.")
@click.option("--id", "id", help="Yours for it: sent again with the same, it is taken once. One is made by default.")
@click.option("--customer", help="The customer of runs that it starts, where the journey does not say.")
@json_option
@plane_options_as("--api-key", "--data-folder")
def signal(
    api: Api,
    type: str,
    values: tuple[str, ...],
    key: str,
    text: str | None,
    source: str,
    id: str | None,
    customer: str | None,
    as_json: bool,
) -> None:
    """Say that something of TYPE happened: a CloudEvents event, with the data given as NAME=VALUE or --data.

    It starts the journeys that begin with it, and reaches the runs that listen for it, now or later.

    \b
    Examples:
      cxplane signal shop.refund_wanted order_id=o-7 amount=2500 customer_id=c-1001
      cxplane signal documents.received --key d-7 --data '{"pages": 3}'
    """
    if key.startswith("cxp_"):
        raise click.UsageError("--key is the signal's here, and would be kept; an API key is given with --api-key")
    data: Any = given_json(text, "--data")
    if values:
        if not isinstance(data, dict):
            raise click.UsageError("NAME=VALUE goes with --data that is a JSON object")
        data = {**data, **named_values(values, "a value")}
    event = {"specversion": "1.0", "id": id or f"cli-{secrets.token_hex(12)}", "source": source, "type": type}
    event |= {name: value for name, value in (("subject", key), ("customer", customer)) if value}
    told = api.post("/v1/signals", {**event, "data": data}, media=EVENT)
    if as_json:
        emit(told)
        return
    if told["repeated"]:
        click.echo(f"{told['id']} was taken before; nothing was done again")
        return
    click.echo(f"{told['id']} is on record")
    for run in told["runs_started"]:
        click.echo(f"  started {run}")
    if told["runs_reached"]:
        click.echo(f"  reached {told['runs_reached']} run{'s' if told['runs_reached'] != 1 else ''}")
    if not (told["runs_started"] or told["runs_reached"]):
        click.echo("  nothing listens for it now; a run that comes to listen for it hears it")
