"""A dry run: what would be sent, without sending it."""

from __future__ import annotations

from cxplane.act.plan import CallPlan
from cxplane.domain.errors import CxplaneError, FailureKind, SystemFailure
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import JsonObject
from cxplane.ports.systems import Connector


async def preview(plan: CallPlan, request: ActionRequest, systems: Connector) -> JsonObject:
    """Method, path and body (or the callable and its input), what would confirm it and what would undo it. No secrets.

    Raises SystemFailure if the call cannot be built from this input.
    """
    action = plan.action
    try:
        sent = await systems.preview(action, request.input)
    except SystemFailure:
        raise
    except CxplaneError as problem:
        raise SystemFailure(action.system, f"nothing, it was not called: {problem}", kind=FailureKind.REFUSED) from None
    shown: dict[str, object] = {"action": action.id, "would_send": dict(sent)}
    if action.confirm is not None:
        shown["confirmed_by"] = action.confirm.read
    if action.undo is not None:
        shown["undone_by"] = action.undo.call or f"nothing: {action.undo.none}"
    return shown
