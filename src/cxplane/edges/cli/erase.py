"""Erase a customer, show that nothing is left, or keep somebody from being erased."""

from __future__ import annotations

from typing import Any

import click

from cxplane.edges.cli.api import Api, plane_options, segment
from cxplane.edges.cli.show import emit, json_option, when


@click.command(short_help="Erase a customer, or show that nothing is left.")
@click.argument("customer")
@click.option("--reason", default="", help="For the record; without personal data, it cannot be erased.")
@click.option("--verify", is_flag=True, help="Erase nothing: look at the whole record for what can still be read.")
@click.option("--yes", is_flag=True, help="Do not ask; there is no way back.")
@json_option
@plane_options
def erase(api: Api, customer: str, reason: str, verify: bool, yes: bool, as_json: bool) -> int | None:
    """Erase CUSTOMER: destroy the keys that seal their data. There is no way back.

    What is on record stays, and can be read by nobody; its proofs still stand. Refused while something is under way for them.

    \b
    Examples:
      cxplane erase c-1001 --reason "asked for on 5 March" --yes
      cxplane erase c-1001 --verify
    """
    path = f"/v1/customers/{segment(customer)}/erasure"
    if verify:
        return _verified(api.get(path), as_json)
    if not yes:
        click.confirm(f"Erase {customer} for ever?", abort=True, err=True)
    told = api.send("POST", path, body={"reason": reason})
    if as_json:
        emit(told)
        return None
    click.echo(f"{customer} is erased, at {when(told['at'])} by {told['by']}: entry {told['position']} says so")
    click.echo(f"  {told['entries']} entries cannot be read any more; keys destroyed:")
    for key in told["keys"]:
        click.echo(f"  {key['id']}  SHA-256 of the wrapped key {key['proof']}")
    return None


def _verified(told: dict[str, Any], as_json: bool) -> int:
    if as_json:
        emit(told)
        return 0 if told["erased"] else 1
    left = told["left"]
    click.echo("nothing can be read any more" if told["erased"] else "something can still be read")
    click.echo(f"  looked at {left['looked_at']} entries with personal data")
    click.echo(f"  {left['unreadable']} of this customer are sealed by keys that are gone")
    for name, words in (
        ("readable", "are sealed by a key that lives: they were written after the erasure"),
        ("unsealed", "were written before personal data was sealed"),
        ("rows", "rows of the state still hold something"),
    ):
        if left[name]:
            click.echo(f"  {left[name]} {words}")
    for key in left["keys"]:
        click.echo(f"  key {key['id']} {key['why']} at {when(key['at'])} by {key['by']}: {key['proof']}")
    return 0 if told["erased"] else 1


@click.command(short_help="Keep a customer from being erased.")
@click.argument("customer")
@click.option("--reason", default="", help="For the record; without personal data.")
@click.option("--release", is_flag=True, help="Lift the hold.")
@json_option
@plane_options
def hold(api: Api, customer: str, reason: str, release: bool, as_json: bool) -> None:
    """Keep CUSTOMER from being erased, by hand and by time, until the hold is lifted.

    \b
    Examples:
      cxplane hold c-1001 --reason "case 12 O 345/26"
      cxplane hold c-1001 --release
    """
    told = api.send("PUT", f"/v1/customers/{segment(customer)}/hold", body={"on": not release, "reason": reason})
    if as_json:
        emit(told)
    else:
        click.echo(f"{customer} is {'on hold' if told['on'] else 'no longer on hold'}")
