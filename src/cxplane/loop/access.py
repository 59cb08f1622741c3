"""Who may see and record what: the roles that `access` in plane.yaml names; nobody else."""

from __future__ import annotations

from cxplane.domain.errors import Forbidden
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


def sees_record(live: Live, caller: Caller) -> bool:
    return may(live, caller, "record")
