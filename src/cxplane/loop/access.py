"""Who may see and record what: the roles that `access` in plane.yaml names; nobody else."""

from __future__ import annotations

from cxplane.domain.errors import Forbidden, Malformed
from cxplane.domain.people import Caller
from cxplane.loop.live import Live


def within(caller: Caller, action: str) -> None:
    """Forbidden where the caller's credential is not for this action."""
    only = caller.limits.actions
    if only is not None and action not in only:
        raise Forbidden(
            f"this API key may not ask for {action}",
            next=f"It is for {', '.join(sorted(only))}; use another key of {caller.name}.",
        )


def may(live: Live, caller: Caller, permission: str) -> bool:
    return bool(caller.roles & live.release.repo.plane.access.get(permission, frozenset()))


def must(live: Live, caller: Caller, permission: str) -> None:
    """Forbidden unless one of the caller's roles has the permission."""
    if not may(live, caller, permission):
        raise Forbidden(
            f"{caller.name} may not use {permission!r}",
            next=f"A role of yours must stand under access.{permission} in plane.yaml; ask the owner of the plane.",
        )


ANYBODYS = "/cxplane/cli"  # a source that names nobody: what people type


def must_speak_for(live: Live, caller: Caller, source: str) -> None:
    """Malformed where the source of a signal is neither the caller's own nor one that plane.yaml lists for it.

    Its own: its name (`system:crm`), also as a path (`/crm`) where no caller of another kind has the same id, and what lies below these.
    No system speaks as a journey, whatever is listed.
    """
    if source.lower().startswith("journey:"):
        raise Malformed("a source that begins with journey: is for journeys", where="/source")
    repo = live.release.repo
    own = [caller.name]
    if (known := repo.caller(caller.id)) is not None and known.name == caller.name:
        own.append(f"/{caller.id}")
    for mine in (*own, ANYBODYS, *repo.plane.sources.get(caller.name, ())):
        if mine == "*" or source == mine or source.startswith(mine.rstrip("/") + "/"):
            return
    raise Malformed(
        f"{caller.name} does not speak for this source",
        where="/source",
        next=f"Send it with the source {own[-1]}, or let the owner of the plane list it under sources in plane.yaml.",
    )


def sees_record(live: Live, caller: Caller) -> bool:
    return may(live, caller, "record")
