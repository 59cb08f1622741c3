"""API keys: a key is shown once, and only its hash is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from cxplane.domain.errors import Conflict, NotFound
from cxplane.domain.keys import SCOPES
from cxplane.edges.cli.api import save_key
from cxplane.edges.cli.local import live_repo, operator, run, store_options, with_store
from cxplane.edges.cli.show import emit, json_option, table, when

if TYPE_CHECKING:
    from cxplane.domain.record import KeyRow
    from cxplane.domain.release import ControlRepo
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings


@click.group(short_help="Create, list, rotate and revoke API keys.")
def keys() -> None:
    """API keys of callers: agents, persons, journeys and services of the control repo.

    A key proves a name; what that name may do is in the live release.

    \b
    Examples:
      cxplane keys create agent:fin --expires 90d
      cxplane keys create person:maria --save      for this command line
      cxplane keys create agent:fin --scope ask --scope read --action billing.issue_credit
      cxplane keys list
      cxplane keys rotate 4f1d09a2b7c3 --overlap 24h
      cxplane keys revoke 4f1d09a2b7c3
    """


@keys.command("create")
@click.argument("caller")
@click.option("--expires", help="How long it works: 12h, 90d …; by default until it is revoked.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(tuple(SCOPES)),
    help="What it is for; more than one may be given. By default all that the caller may.",
)
@click.option(
    "--action",
    "actions",
    multiple=True,
    help="An action that it may ask for, like billing.issue_credit; by default all that the caller may.",
)
@click.option("--save", is_flag=True, help="Keep it in the data folder, for the commands of this command line.")
@json_option
@store_options
def create(
    settings: Settings,
    caller: str,
    expires: str | None,
    scopes: tuple[str, ...],
    actions: tuple[str, ...],
    save: bool,
    as_json: bool,
) -> None:
    """Create a key for CALLER, like agent:fin, and show it once.

    A key may be limited to a part of what its caller may do; it never adds to it.

    \b
    Examples:
      cxplane keys create agent:fin --expires 90d
      cxplane keys create agent:fin --scope ask --action billing.issue_credit
      cxplane keys create person:maria --save
    """
    lasts = _span("--expires", expires)
    told = run(with_store(settings, lambda store: _create(store, caller, lasts, scopes, actions)))
    _show(settings, told, save, as_json)


def _span(option: str, text: str | None) -> timedelta | None:
    from cxplane.domain.values import span

    try:
        return span(text) if text else None
    except ValueError as problem:
        raise click.UsageError(f"{option}: {problem}") from None


def _show(settings: Settings, told: dict[str, Any], save: bool, as_json: bool) -> None:
    """The one time that a key is shown."""
    if save:
        told["saved"] = str(save_key(settings.data, told["key"]))
    if as_json:
        emit(told)
        return
    click.echo(told["key"])
    click.echo(
        f"for {told['caller']}, id {told['id']}"
        + (f", until {when(told['expires_at'])}" if told["expires_at"] else "")
        + "".join(f", {name}: {', '.join(told[name])}" for name in ("scope", "actions") if told[name] is not None),
        err=True,
    )
    if told.get("replaces"):
        click.echo(f"key {told['replaces']} works until {when(told['replaced_ends'])}", err=True)
    if save:
        click.echo(f"saved in {told['saved']}; cxplane uses it from now on", err=True)
    else:
        click.echo("It is shown this once. Send it as `Authorization: Bearer …`.", err=True)


async def _create(
    store: Store, caller: str, lasts: timedelta | None, scopes: tuple[str, ...], actions: tuple[str, ...]
) -> dict[str, Any]:
    repo = (await live_repo(store))[1]
    name = _known(repo, caller)
    for action in actions:
        if action not in repo.actions:
            raise NotFound(f"the live release has no action {action!r}", next="`cxplane actions` lists them.")
    now = datetime.now(UTC)
    return await _made(store, name, now, now + lasts if lasts else None, scopes or None, actions or None)


async def _made(
    store: Store,
    caller: str,
    now: datetime,
    until: datetime | None,
    scope: Iterable[str] | None,
    actions: Iterable[str] | None,
    replaces: tuple[str, datetime] | None = None,
) -> dict[str, Any]:
    from cxplane.domain.key_entries import key_created
    from cxplane.domain.keys import new_api_key
    from cxplane.domain.record import Write

    key = new_api_key()
    entry = key_created(
        key.id,
        caller=caller,
        hash=key.hash,
        expires_at=until,
        at=now,
        actor=operator(),
        scope=scope,
        actions=actions,
        replaces=replaces,
    )
    await store.append(Write(store.tenant, (entry,)))
    told = {
        "id": key.id,
        "caller": caller,
        "key": key.text,
        "expires_at": until.isoformat() if until else None,
        "scope": sorted(scope) if scope is not None else None,
        "actions": sorted(actions) if actions is not None else None,
    }
    if replaces:
        told |= {"replaces": replaces[0], "replaced_ends": replaces[1].isoformat()}
    return told


def _known(repo: ControlRepo, caller: str) -> str:
    """The caller's full name in the live release. NotFound if nobody is called so."""
    from difflib import get_close_matches

    found = repo.caller(caller)
    if found is None:
        near = get_close_matches(caller, repo.callers, n=1)
        known = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(repo.callers)[:12])}."
        raise NotFound(f"nobody is called {caller!r} in the live release", next=known)
    return found.name


@keys.command("list")
@json_option
@store_options
def list_keys(settings: Settings, as_json: bool) -> None:
    """List the keys, never their secrets.

    \b
    Example:
      cxplane keys list --json
    """
    rows, used = run(with_store(settings, _list))
    last = {id: day.isoformat() for id, day in used.items()}
    if as_json:
        emit({"items": [{**_row(r), "state": _state(r), "last_used": last.get(r.id)} for r in rows]})
        return
    table(
        ("id", "caller", "state", "created", "by", "expires", "last used", "only for"),
        [
            (
                r.id,
                r.caller,
                _state(r),
                when(r.created_at.isoformat()),
                r.created_by,
                when(r.expires_at.isoformat()) if r.expires_at else "",
                last.get(r.id, ""),
                ", ".join(sorted((r.scope or frozenset()) | (r.actions or frozenset()))),
            )
            for r in rows
        ],
        nothing="There are no keys. `cxplane keys create CALLER` makes one.",
    )


async def _list(store: Store) -> tuple[list[KeyRow], Mapping[str, date]]:
    return list(await store.keys(store.tenant)), await store.key_uses(store.tenant)


def _row(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "caller": row.caller,
        "created_at": row.created_at.isoformat(),
        "created_by": row.created_by,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
        "scope": sorted(row.scope) if row.scope is not None else None,
        "actions": sorted(row.actions) if row.actions is not None else None,
        "replaces": row.replaces,
    }


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "good"


@keys.command("rotate")
@click.argument("id")
@click.option("--overlap", default="24h", show_default=True, help="How long the old key still works: 0s, 24h, 7d …")
@click.option("--expires", help="How long the new one works; by default as long as the old one was made for.")
@click.option("--save", is_flag=True, help="Keep the new one in the data folder, for this command line.")
@json_option
@store_options
def rotate(settings: Settings, id: str, overlap: str, expires: str | None, save: bool, as_json: bool) -> None:
    """Make a new key in the place of the key of that ID, for the same caller and with the same limits.

    The new one is shown once; the old one ends after the overlap.

    \b
    Examples:
      cxplane keys rotate 4f1d09a2b7c3
      cxplane keys rotate 4f1d09a2b7c3 --overlap 1h --expires 90d
    """
    stays, lasts = _span("--overlap", overlap) or timedelta(0), _span("--expires", expires)
    _show(settings, run(with_store(settings, lambda store: _rotate(store, id, stays, lasts))), save, as_json)


async def _rotate(store: Store, id: str, stays: timedelta, lasts: timedelta | None) -> dict[str, Any]:
    row = await _row_of(store, id)
    if (state := _state(row)) != "good":
        raise Conflict(f"key {id} is {state}", next=f"Make a new one: `cxplane keys create {row.caller}`.")
    now = datetime.now(UTC)
    if lasts is None and row.expires_at is not None:
        lasts = row.expires_at - row.created_at
    ends = min(now + stays, row.expires_at or now + stays)
    return await _made(store, row.caller, now, now + lasts if lasts else None, row.scope, row.actions, (id, ends))


async def _row_of(store: Store, id: str) -> KeyRow:
    row = next((r for r in await store.keys(store.tenant) if r.id == id), None)
    if row is None:
        raise NotFound(f"there is no key {id!r}", next="`cxplane keys list` shows the ids.")
    return row


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
    from cxplane.domain.key_entries import key_revoked
    from cxplane.domain.record import Write

    row = await _row_of(store, id)
    if row.revoked_at is not None:
        return False
    await store.append(Write(store.tenant, (key_revoked(id, at=datetime.now(UTC), actor=operator()),)))
    return True
