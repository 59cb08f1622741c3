"""API keys: a key is shown once, and only its hash is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from cxplane.edges.cli.api import save_key
from cxplane.edges.cli.local import live_repo, operator, run, store_options, with_store
from cxplane.edges.cli.show import emit, json_option, table, when

if TYPE_CHECKING:
    from cxplane.domain.record import KeyRow
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings


@click.group(short_help="Create, list and revoke API keys.")
def keys() -> None:
    """API keys of callers: agents, persons, journeys and services of the control repo.

    A key proves a name; what that name may do is in the live release.

    \b
    Examples:
      cxplane keys create agent:fin --expires 90d
      cxplane keys create person:maria --save      for this command line
      cxplane keys list
      cxplane keys revoke 4f1d09a2b7c3
    """


@keys.command("create")
@click.argument("caller")
@click.option("--expires", help="How long it works: 12h, 90d …; by default until it is revoked.")
@click.option("--save", is_flag=True, help="Keep it in the data folder, for the commands of this command line.")
@json_option
@store_options
def create(settings: Settings, caller: str, expires: str | None, save: bool, as_json: bool) -> None:
    """Create a key for CALLER, like agent:fin, and show it once.

    \b
    Examples:
      cxplane keys create agent:fin --expires 90d
      cxplane keys create person:maria --save
    """
    from cxplane.domain.values import span

    try:
        lasts = span(expires) if expires else None
    except ValueError as problem:
        raise click.UsageError(f"--expires: {problem}") from None
    told = run(with_store(settings, lambda store: _create(store, caller, lasts)))
    if save:
        told["saved"] = str(save_key(settings.data, told["key"]))
    if as_json:
        emit(told)
        return
    click.echo(told["key"])
    click.echo(
        f"for {told['caller']}, id {told['id']}" + (f", until {when(told['expires_at'])}" if expires else ""), err=True
    )
    if save:
        click.echo(f"saved in {told['saved']}; cxplane uses it from now on", err=True)
    else:
        click.echo("It is shown this once. Send it as `Authorization: Bearer …`.", err=True)


async def _create(store: Store, caller: str, lasts: timedelta | None) -> dict[str, Any]:
    from cxplane.domain.key_entries import key_created
    from cxplane.domain.keys import new_api_key
    from cxplane.domain.record import Write

    tenant, name = await _known(store, caller)
    now = datetime.now(UTC)
    key = new_api_key()
    until = now + lasts if lasts else None
    entry = key_created(key.id, caller=name, hash=key.hash, expires_at=until, at=now, actor=operator())
    await store.append(Write(tenant, (entry,)))
    return {"id": key.id, "caller": name, "key": key.text, "expires_at": until.isoformat() if until else None}


async def _known(store: Store, caller: str) -> tuple[str, str]:
    """The tenant, and the caller's full name in its live release. NotFound if nobody is called so."""
    from difflib import get_close_matches

    from cxplane.domain.errors import NotFound

    tenant, repo = await live_repo(store)
    found = repo.caller(caller)
    if found is None:
        near = get_close_matches(caller, repo.callers, n=1)
        known = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(repo.callers)[:12])}."
        raise NotFound(f"nobody is called {caller!r} in the live release", next=known)
    return tenant, found.name


@keys.command("list")
@json_option
@store_options
def list_keys(settings: Settings, as_json: bool) -> None:
    """List the keys, never their secrets.

    \b
    Example:
      cxplane keys list --json
    """
    rows = run(with_store(settings, _list))
    if as_json:
        emit({"items": [{**_row(r), "state": _state(r)} for r in rows]})
        return
    table(
        ("id", "caller", "state", "created", "by", "expires"),
        [
            (
                r.id,
                r.caller,
                _state(r),
                when(r.created_at.isoformat()),
                r.created_by,
                when(r.expires_at.isoformat()) if r.expires_at else "",
            )
            for r in rows
        ],
        nothing="There are no keys. `cxplane keys create CALLER` makes one.",
    )


async def _list(store: Store) -> list[KeyRow]:
    return list(await store.keys(store.tenant))


def _row(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "caller": row.caller,
        "created_at": row.created_at.isoformat(),
        "created_by": row.created_by,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "good"


@keys.command("revoke")
@click.argument("id")
@json_option
@store_options
def revoke(settings: Settings, id: str, as_json: bool) -> None:
    """Revoke the key of that ID; a running plane refuses it within two seconds.

    \b
    Example:
      cxplane keys revoke 4f1d09a2b7c3
    """
    changed = run(with_store(settings, lambda store: _revoke(store, id)))
    if as_json:
        emit({"id": id, "revoked": True, "changed": changed})
    else:
        click.echo(f"key {id} is revoked" if changed else f"key {id} was revoked before")


async def _revoke(store: Store, id: str) -> bool:
    from cxplane.domain.errors import NotFound
    from cxplane.domain.key_entries import key_revoked
    from cxplane.domain.record import Write

    tenant = store.tenant
    row = next((r for r in await store.keys(tenant) if r.id == id), None)
    if row is None:
        raise NotFound(f"there is no key {id!r}", next="`cxplane keys list` shows the ids.")
    if row.revoked_at is not None:
        return False
    await store.append(Write(tenant, (key_revoked(id, at=datetime.now(UTC), actor=operator()),)))
    return True
