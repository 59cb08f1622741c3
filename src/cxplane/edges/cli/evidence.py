"""The evidence file of one case."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxplane.domain.errors import Conflict
from cxplane.edges.cli.local import for_me_alone, operator, run, store_options, with_store
from cxplane.edges.cli.show import emit, json_option

if TYPE_CHECKING:
    from cxplane.domain.values import JsonObject
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings


@click.command(short_help="One case as a file that a third party can verify.")
@click.argument("id", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Where to write it; by default it is printed."
)
@click.option(
    "--private",
    "shown",
    is_flag=True,
    help="Disclose inputs, facts and comments, each with what it is checked by; it goes on record.",
)
@click.option(
    "--verifier", is_flag=True, help="Print the script that verifies such files; it needs Python and nothing else."
)
@json_option
@store_options
def evidence(settings: Settings, id: str | None, out: Path | None, shown: bool, verifier: bool, as_json: bool) -> None:
    """Write everything on record about a request or run, with the proof that it was signed, as one JSON document.

    A third party verifies it on a machine without cxplane: `python verify_evidence.py case.json --key KEY`.

    \b
    Examples:
      cxplane evidence req_0c6f… --out case.json
      cxplane evidence --verifier > verify_evidence.py
    """
    if verifier:
        click.echo((Path(__file__).parents[1] / "verify_evidence.py").read_text(encoding="utf-8"), nl=False)
        return
    if not id:
        raise click.UsageError("give the ID of a request or run")
    if out is not None and out.exists():
        raise Conflict(f"{out} is there already", next="Choose another name: evidence is not overwritten.")
    document = run(with_store(settings, lambda store: _evidence(store, settings, id, shown)))
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    with for_me_alone(shown):
        out.write_text(text, encoding="utf-8", newline="")
    told = {"file": str(out), "entries": len(document["entries"]), "signed": document["signature"] is not None}
    if as_json:
        emit(told)
    else:
        click.echo(f"wrote {told['entries']} entries with their proofs to {out}")
        if not told["signed"]:
            click.echo("  the document as a whole is not signed: there is no CXPLANE_SEAL_KEY here", err=True)


async def _evidence(store: Store, settings: Settings, id: str, shown: bool) -> JsonObject:
    from cxplane.domain.opened_entries import data_opened
    from cxplane.domain.record import Write
    from cxplane.loop.evidence import evidence as made
    from cxplane.wiring import seal_signers

    tenant = store.tenant
    signers = seal_signers(settings, tenant, make=False)
    now = datetime.now(UTC)
    if shown:
        await made(store, tenant, id, at=now)  # what cannot be given is not said to have been
        await store.append(Write(tenant, (data_opened("evidence", at=now, actor=operator(), case=id),)))
    return await made(store, tenant, id, at=now, signers=signers, shown=shown)
