"""What people do: decide approvals; record what is known of customers and what was learnt in a talk."""

from __future__ import annotations

from typing import Any

import click

from cxplane.edges.cli.api import Api, plane_options, segment
from cxplane.edges.cli.ask import limit_option, show_request
from cxplane.edges.cli.show import emit, json_option, json_value, named_values, pairs, table, when


@click.group(short_help="See and decide what waits for a person.")
def approvals() -> None:
    """Approvals: held requests and the people who decide them.

    \b
    Examples:
      cxplane approvals list
      cxplane approvals show apr_0194…
      cxplane approvals approve apr_0194… --comment "agreed on the phone"
      cxplane approvals edit apr_0194… amount=750 --comment "half of it is fair"
      cxplane approvals reject apr_0194… --comment "the outage was announced"
    """


@approvals.command("list")
@click.option(
    "--status",
    type=click.Choice(["open", "approved", "rejected", "edited", "expired", "all"]),
    default="open",
    show_default=True,
    help="Where it stands.",
)
@limit_option
@json_option
@plane_options
def list_approvals(api: Api, status: str, limit: int, as_json: bool) -> None:
    """List what waits for a person.

    \b
    Example:
      cxplane approvals list --status all --json
    """
    items = list(api.items("/v1/approvals", most=limit, status=None if status == "all" else status))
    if as_json:
        emit({"items": items})
        return
    table(
        ("approval", "action", "customer", "proposed by", "who may", "status", "expires"),
        [
            (
                a["id"],
                a["action"],
                a["customer"],
                a["proposed_by"],
                " and ".join("/".join(roles) for roles in a["approver_sets"]),
                a["status"],
                when(a["expires_at"]),
            )
            for a in items
        ],
        nothing="Nothing waits.",
    )


@approvals.command("show")
@click.argument("id")
@json_option
@plane_options
def show_approval(api: Api, id: str, as_json: bool) -> None:
    """Show one approval with all that is needed to decide.

    \b
    Example:
      cxplane approvals show apr_0194…
    """
    told = api.get(f"/v1/approvals/{segment(id)}")
    if as_json:
        emit(told)
        return
    row, request = told["approval"], told["request"]
    pairs(
        {
            "approval": row["id"],
            "status": row["status"],
            "action": row["action"],
            "effect": told["effect"],
            "customer": row["customer"],
            "proposed by": row["proposed_by"],
            "reason": told["reason"],
            "expires": when(row["expires_at"]),
            "otherwise": told["if_nothing_is_done"],
            "you": "may decide it" if told["may_decide"] else f"may not decide it: {told['why_not']}",
        }
    )
    click.echo("\ninput")
    pairs(told["input"])
    click.echo("\nwhy it waits")
    for reason in request["reasons"]:
        click.echo(f"  {reason['text']}")
    click.echo("\nevidence")
    table(
        ("fact", "value", "source", "as of"),
        [(name, f["value"], f["source"], when(f["as_of"])) for name, f in told["evidence"].items()],
        nothing="  none",
    )


@approvals.command("approve")
@click.argument("id")
@click.option("--comment", default="", help="Why.")
@json_option
@plane_options
def approve(api: Api, id: str, comment: str, as_json: bool) -> int:
    """Release it as it is; it is judged again with you as the approver.

    \b
    Example:
      cxplane approvals approve apr_0194… --comment "agreed on the phone"
    """
    return show_request(api.post(f"/v1/approvals/{segment(id)}/approve", {"comment": comment}), as_json)


@approvals.command("edit")
@click.argument("id")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--input", "text", help="The whole input as JSON, instead of single values.")
@click.option("--comment", default="", help="Why.")
@json_option
@plane_options
def edit(api: Api, id: str, values: tuple[str, ...], text: str | None, comment: str, as_json: bool) -> int:
    """Change the input and release it: a new request that is linked to the old one.

    \b
    Example:
      cxplane approvals edit apr_0194… amount=750 --comment "half of it is fair"
    """
    if not values and text is None:
        raise click.UsageError("say what to change: NAME=VALUE or --input JSON")
    before: Any = json_value(text, "--input") if text is not None else api.get(f"/v1/approvals/{segment(id)}")["input"]
    if not isinstance(before, dict):
        raise click.UsageError("--input must be a JSON object")
    body = {"comment": comment, "input": {**before, **named_values(values, "an input value")}}
    return show_request(api.post(f"/v1/approvals/{segment(id)}/approve", body), as_json)


@approvals.command("reject")
@click.argument("id")
@click.option("--comment", required=True, help="Why: the record keeps it.")
@json_option
@plane_options
def reject(api: Api, id: str, comment: str, as_json: bool) -> None:
    """Say no, and why.

    \b
    Example:
      cxplane approvals reject apr_0194… --comment "the outage was announced"
    """
    show_request(api.post(f"/v1/approvals/{segment(id)}/reject", {"comment": comment}), as_json)


# customers ------------------------------------------------------------------------------------------------


@click.group(short_help="Customers, their assurance and consents.")
def customers() -> None:
    """Customers: whom it is about, how sure we are of them, what they allow.

    \b
    Examples:
      cxplane customers put c-1001 segment=gold --identity account=a-1001
      cxplane customers assure c-1001 --level 2 --method otp --lifetime 30m
      cxplane customers consent c-1001 --purpose service --grant --source "said in chat"
    """


@customers.command("list")
@limit_option
@json_option
@plane_options
def list_customers(api: Api, limit: int, as_json: bool) -> None:
    """List customers.

    \b
    Example:
      cxplane customers list --limit 10
    """
    items = list(api.items("/v1/customers", most=limit))
    if as_json:
        emit({"items": items})
        return
    table(
        ("customer", "attributes", "identities", "consents"),
        [
            (
                c["id"],
                ", ".join(f"{k}={v}" for k, v in c["attributes"].items()),
                ", ".join(i["kind"] for i in c["identities"]),
                len(c["consents"]),
            )
            for c in items
        ],
        nothing="None.",
    )


@customers.command("show")
@click.argument("id")
@json_option
@plane_options
def show_customer(api: Api, id: str, as_json: bool) -> None:
    """Show one customer.

    \b
    Example:
      cxplane customers show c-1001
    """
    _customer(api.get(f"/v1/customers/{segment(id)}"), as_json)


@customers.command("put")
@click.argument("id")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--identity", multiple=True, metavar="KIND=VALUE", help="How the customer is known; may be given again.")
@json_option
@plane_options
def put_customer(api: Api, id: str, values: tuple[str, ...], identity: tuple[str, ...], as_json: bool) -> None:
    """Create or change a customer; NAME=null removes an attribute.

    \b
    Example:
      cxplane customers put c-1001 segment=gold vulnerable=false --identity account=a-1001
    """
    known = [{"kind": one.partition("=")[0], "value": one.partition("=")[2]} for one in identity]
    body = {"attributes": named_values(values, "an attribute"), "identities": known}
    _customer(api.send("PUT", f"/v1/customers/{segment(id)}", body=body), as_json)


@customers.command("assure")
@click.argument("id")
@click.option("--level", required=True, type=click.IntRange(0, 9), help="On your scale.")
@click.option("--method", required=True, help="How they proved it: otp, passport …")
@click.option("--lifetime", default="30m", show_default=True, help="How long it counts.")
@json_option
@plane_options
def assure(api: Api, id: str, level: int, method: str, lifetime: str, as_json: bool) -> None:
    """Record that the customer proved who they are.

    \b
    Example:
      cxplane customers assure c-1001 --level 2 --method otp --lifetime 30m
    """
    body = {"level": level, "method": method, "lifetime": lifetime}
    _customer(api.post(f"/v1/customers/{segment(id)}/assurance", body), as_json)


@customers.command("consent")
@click.argument("id")
@click.option("--purpose", required=True, help="What for.")
@click.option("--grant/--withdraw", "granted", required=True, help="Allowed, or no longer.")
@click.option("--source", required=True, help="Where this was said.")
@click.option("--channel", help="Only on this channel.")
@click.option("--class", "classes", multiple=True, help="Only for this data class; may be given again.")
@json_option
@plane_options
def consent(api: Api, id: str, as_json: bool, classes: tuple[str, ...], **said: Any) -> None:
    """Record what the customer allows, or no longer allows.

    \b
    Example:
      cxplane customers consent c-1001 --purpose marketing --withdraw --source "letter of 3 May"
    """
    body = {**{k: v for k, v in said.items() if v is not None}, "data": list(classes)}
    _customer(api.post(f"/v1/customers/{segment(id)}/consents", body), as_json)


def _customer(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit(told)
    else:
        pairs(told)


# conversations --------------------------------------------------------------------------------------------


@click.group(short_help="Record what was learnt in a talk.")
def conversations() -> None:
    """Conversations and the facts recorded in them.

    \b
    Examples:
      cxplane conversations open --customer c-1001 --channel phone
      cxplane conversations fact con_0194… customer_confirmed=true
    """


@conversations.command("open")
@click.option("--customer", help="Whom it is with.")
@click.option("--channel", default="api", show_default=True, help="chat, phone, email …")
@click.option("--id", "id", help="Your own id for it.")
@json_option
@plane_options
def open_conversation(api: Api, as_json: bool, **given: Any) -> None:
    """Open a conversation and print its id.

    \b
    Example:
      cxplane conversations open --customer c-1001 --channel chat
    """
    told = api.post("/v1/conversations", {k: v for k, v in given.items() if v is not None})
    emit(told) if as_json else click.echo(told["id"])


@conversations.command("fact")
@click.argument("id")
@click.argument("fact", metavar="NAME=VALUE")
@json_option
@plane_options
def record_fact(api: Api, id: str, fact: str, as_json: bool) -> None:
    """Record a fact that was learnt in the talk.

    \b
    Example:
      cxplane conversations fact con_0194… cancel_reason=weather
    """
    ((name, value),) = named_values((fact,), "a fact").items()
    told = api.post(f"/v1/conversations/{segment(id)}/facts", {"name": name, "value": value})
    emit(told) if as_json else click.echo(f"recorded {told['name']}")
