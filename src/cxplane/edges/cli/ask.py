"""Ask the plane for actions, and look at what became of them."""

from __future__ import annotations

import json
import secrets
from typing import Any

import click

from cxplane.edges.cli.api import Api, plane_options, segment
from cxplane.edges.cli.show import emit, given_object, json_option, named_values, pairs, table, when

NOT_YET = {"running", "held", "unknown", "stuck"}
NO = {"refused", "failed", "rejected", "expired"}

limit_option = click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most."
)


@click.command(short_help="The catalog: every action and who governs it.")
@click.argument("action", required=False)
@json_option
@plane_options
def actions(api: Api, action: str | None, as_json: bool) -> None:
    """List the catalog, or show one ACTION with its contract, policies and budgets.

    \b
    Examples:
      cxplane actions
      cxplane actions billing.issue_credit
      cxplane actions --json | jq '.items[].id'
    """
    if action is not None:
        told = api.get(f"/v1/actions/{segment(action)}")
        if as_json:
            emit(told)
            return
        pairs(told, skip=("policies", "input", "output", "conformance"))
        click.echo("\npolicies")
        table(
            ("policy", "effect", "where", "reason"),
            [(p["id"], p["effect"], f"{p['file']}:{p['line']}", p["reason"]) for p in told["policies"]],
            nothing="  none: nobody may do it",
        )
        click.echo("\ninput\n" + json.dumps(told["input"], indent=2, ensure_ascii=False))
        return
    told = api.get("/v1/actions")
    if as_json:
        emit(told)
        return
    table(
        ("action", "effect", "risk", "owner", "approvers", "undo", "what it does"),
        [
            (a["id"], a["effect"], a["risk"], a["owner"], ", ".join(a["approvers"]), a["undo"], a["summary"])
            for a in told["items"]
        ],
        nothing="The catalog is empty.",
    )


@click.command(short_help="Ask for an action.")
@click.argument("action")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--input", "text", help="The whole input as JSON; @FILE reads a file, - standard input.")
@click.option("--customer", help="Id of the customer it is about.")
@click.option("--conversation", help="The conversation whose recorded facts count.")
@click.option("--channel", help="Where the customer is met: chat, phone, email …")
@click.option("--purpose", help="Consent purpose, where it is not the catalog's.")
@click.option("--reason", help="Why, for those who approve and review.")
@click.option("--confidence", type=click.FloatRange(0, 1), help="How sure you are.")
@click.option("--recorded", multiple=True, metavar="NAME=VALUE", help="Evidence from the talk; may be given again.")
@click.option("--dry-run", is_flag=True, help="Judge it and show what would be sent; do nothing.")
@click.option("--wait", type=click.FloatRange(0, 60), help="Seconds to wait for the outcome or a person's decision.")
@click.option(
    "--idempotency-key", help="With the same key, asking again gives the same answer. One is made by default."
)
@json_option
@plane_options
def act(
    api: Api,
    action: str,
    values: tuple[str, ...],
    text: str | None,
    recorded: tuple[str, ...],
    dry_run: bool,
    idempotency_key: str | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Ask for ACTION with the input given as NAME=VALUE (JSON where it is JSON, else text).

    Ends with 0 when it was done, 1 when it was refused or failed, 4 when it is not settled yet.

    \b
    Examples:
      cxplane act billing.get_account account_id=a-1001 --customer c-1001
      cxplane act billing.issue_credit account_id=a-1001 dispute_id=d-7 amount=1500 \\
          --customer c-1001 --reason "two days without service" --recorded customer_confirmed=true
      cxplane act billing.issue_credit --input @credit.json --customer c-1001 --dry-run
      echo '{"account_id": "a-1001"}' | cxplane act billing.get_account --input - --customer c-1001 --json
    """
    body: dict[str, Any] = {"action": action, "input": given_object(text, values)}
    body.update({name: value for name, value in given.items() if value is not None})
    if recorded:
        body["recorded"] = named_values(recorded, "--recorded")
    if dry_run:
        body["dry_run"] = True
    told = api.post("/v1/requests", body, idempotency_key=idempotency_key or f"cli-{secrets.token_hex(12)}")
    return show_request(told, as_json)


def show_request(told: dict[str, Any], as_json: bool) -> int:
    """Print where a request stands; the exit code that goes with it."""
    if as_json:
        emit(told)
    else:
        pairs(told, skip=("reasons", "obligations", "determined_by", "repeated"))
        for reason in told["reasons"]:
            where = (
                f" [{reason['policy']} {reason.get('file', '')}:{reason.get('line', '')}]"
                if reason.get("policy")
                else ""
            )
            click.echo(f"  {reason['effect']}: {reason['text']}{where}")
        if told["repeated"]:
            click.echo("  This answer was given before; nothing was done again.")
    if told["status"] == "previewed":
        return 1 if told["decision"] == "refuse" else 0
    return 4 if told["status"] in NOT_YET else 1 if told["status"] in NO else 0


@click.group(short_help="See, undo and settle requests.")
def requests() -> None:
    """Requests: what was asked for and where it stands.

    \b
    Examples:
      cxplane requests list --status stuck
      cxplane requests show req_0f3c…
      cxplane requests undo req_0f3c… --reason "wrong dispute"
    """


@requests.command("list")
@click.option("--status", help="Only where it stands so: held, done, refused, stuck …")
@click.option("--action", help="Only this action.")
@click.option("--customer", help="Only about this customer.")
@click.option("--caller", help="Only asked by this caller, like agent:fin.")
@limit_option
@json_option
@plane_options
def list_requests(api: Api, limit: int, as_json: bool, **filters: Any) -> None:
    """List requests, newest first.

    \b
    Example:
      cxplane requests list --status held --action billing.issue_credit
    """
    _rows(list(api.items("/v1/requests", most=limit, **filters)), as_json)


@requests.command("show")
@click.argument("id")
@json_option
@plane_options
def show_one(api: Api, id: str, as_json: bool) -> int:
    """Show where one request stands.

    \b
    Example:
      cxplane requests show req_0f3c…
    """
    return show_request(api.get(f"/v1/requests/{segment(id)}"), as_json)


@requests.command("undo")
@click.argument("id")
@click.option("--reason", default="", help="Why.")
@json_option
@plane_options
def undo(api: Api, id: str, reason: str, as_json: bool) -> int:
    """Take a done request back: its catalog entry's undo, judged like any request.

    \b
    Example:
      cxplane requests undo req_0f3c… --reason "credited to the wrong dispute"
    """
    return show_request(api.post(f"/v1/requests/{segment(id)}/undo", {"reason": reason}), as_json)


@requests.command("settle")
@click.argument("id")
@click.option("--done/--not-done", required=True, help="What the business system shows.")
@click.option("--comment", default="", help="How you found out.")
@json_option
@plane_options
def settle(api: Api, id: str, done: bool, comment: str, as_json: bool) -> int:
    """Say how a stuck request ended, after looking into the system.

    \b
    Example:
      cxplane requests settle req_0f3c… --done --comment "credit 4711 is on the account"
    """
    body = {"done": done, "comment": comment}
    return show_request(api.post(f"/v1/requests/{segment(id)}/settle", body), as_json)


@click.command(short_help="What was decided.")
@click.option("--verdict", type=click.Choice(["allow", "hold", "refuse"]), help="Only these.")
@click.option("--action", help="Only this action.")
@click.option("--customer", help="Only about this customer.")
@click.option("--caller", help="Only asked by this caller, like agent:fin.")
@limit_option
@json_option
@plane_options
def decisions(api: Api, limit: int, as_json: bool, **filters: Any) -> None:
    """List decisions, newest first.

    \b
    Examples:
      cxplane decisions --verdict refuse --limit 20
      cxplane decisions --caller agent:fin --json
    """
    _rows(list(api.items("/v1/decisions", most=limit, **filters)), as_json)


def _rows(items: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        emit({"items": items})
        return
    table(
        ("at", "action", "caller", "customer", "decision", "status", "request"),
        [(when(r["at"]), r["action"], r["caller"], r["customer"], r["verdict"], r["status"], r["id"]) for r in items],
        nothing="None.",
    )


@click.command(short_help="Read the record.")
@click.option("--after", default=0, show_default=True, type=click.IntRange(0), help="Only entries past this position.")
@click.option("--kind", help="Only this kind: request, decision, intent, outcome …")
@click.option("--stream", help="Only about this request, customer, conversation or release.")
@click.option(
    "--mask", type=click.Choice(["known", "all"]), help="Mask what looks like personal data, or leave all of it out."
)
@limit_option
@json_option
@plane_options
def entries(api: Api, after: int, limit: int, as_json: bool, **filters: Any) -> None:
    """Read entries of the record in order; --json prints one entry on a line.

    To export continuously, go on after the last position you have.

    \b
    Examples:
      cxplane entries --kind decision --limit 10
      cxplane entries --after 1200 --limit 10000 --json >> record.jsonl
    """
    for entry in api.items("/v1/entries", most=limit, cursor="after", after=after, **filters):
        if as_json:
            click.echo(json.dumps(entry, ensure_ascii=False))
        else:
            click.echo(
                f"{entry['position']:>8}  {when(entry['at'])}  {entry['kind']:<18} {entry['actor']:<20} {entry['stream']}"
            )
