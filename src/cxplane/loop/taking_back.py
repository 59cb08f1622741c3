"""A done request, and the request that takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cxplane.act.undo import undo_request
from cxplane.domain.entries import grounds_from, key_from, outcome_from, request_from
from cxplane.domain.errors import Conflict
from cxplane.domain.outcome import Status
from cxplane.domain.people import Caller
from cxplane.domain.record import Entry
from cxplane.domain.request import ActionRequest
from cxplane.loop.live import Live


def taking_back(
    live: Live,
    entries: Sequence[Entry],
    caller: Caller,
    *,
    id: str,
    at: datetime,
    reason: str = "",
    run: str | None = None,
) -> ActionRequest:
    """The request for the action that the catalog entry names as undo. `entries`: of the request to take back.

    Conflict if it was not done, or its entry names no undo.
    """
    original = request_from(next(e for e in entries if e.kind == "request"))
    done = [o for o in (outcome_from(e) for e in entries if e.kind == "outcome") if o.status is Status.DONE]
    if not done:
        raise Conflict(f"request {original.id} was not done, so there is nothing to undo", next="Look at its status.")
    action = live.rulebook.action(original.action)
    if action is None:
        raise Conflict(f"the live release has no {original.action} any more", next="Undo it in the system by hand.")
    decided = [e for e in entries if e.kind == "decision"][-1]
    undo_input = undo_request(
        live.plans.plan(action),
        original,
        done[-1].output or {},
        key=key_from(entries),
        facts=grounds_from(decided).facts,
    )
    assert action.undo is not None and action.undo.call is not None
    return ActionRequest(
        id=id,
        tenant=original.tenant,
        action=action.undo.call,
        input=undo_input,
        caller=caller,
        at=at,
        customer=original.customer,
        conversation=original.conversation,
        channel=original.channel,
        purpose=original.purpose,
        reason=reason,
        undoes=original.id,
        cause=original.id if run is None else run,
        run=run,
    )
