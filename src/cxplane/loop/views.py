"""From entries and decisions to what those who ask are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxplane.domain.decision import Decision, Held, Reason, Refused, for_now
from cxplane.domain.decision_body import obligations_body, reason_body
from cxplane.domain.entries import decision_status, grounds_from, outcome_from
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.record import Entry, RequestRow
from cxplane.domain.values import JsonObject
from cxplane.domain.views import RequestView

NEXT = {
    Status.RUNNING: "It is being carried out. Ask for this request again to see the outcome.",
    Status.DONE: "Nothing: the system confirmed it.",
    Status.FAILED: "Nothing was done. Mend the cause named in `error`, then ask again.",
    Status.UNKNOWN: "It may have been done; cxplane is finding out. Do not ask the system yourself; look here again.",
    Status.HELD: "A person decides. Look at the approval, or wait; it expires safely.",
    Status.REFUSED: "It is not allowed. The reasons say which rule decided; change what they name, or hand over to a person.",
    Status.PREVIEWED: "Nothing was done: this was a dry run. Ask without it to act.",
    Status.EXPIRED: "Nobody decided in time, so it was not done. Ask again if it is still wanted.",
    Status.REJECTED: "A person said no. See the explanation for the reason.",
    Status.REPLACED: "An approver changed it. See the request in `replaced_by`.",
    Status.STUCK: "Nobody can tell whether it was done. A person looks into the system and settles it.",
}
LATER = (
    "Nothing was done: a system that policy needs a fact of does not answer. Ask again in a minute, as a new request."
)


def _next(status: Status, reasons: Sequence[Reason]) -> str:
    return LATER if status is Status.REFUSED and for_now(reasons) else NEXT[status]


def view_of_decision(
    decision: Decision,
    outcome: Outcome | None = None,
    *,
    approval: str | None = None,
    preview: JsonObject | None = None,
    error: str | None = None,
) -> RequestView:
    """For a request that was just judged."""
    request, grounds = decision.request, decision.grounds
    status = outcome.status if outcome else decision_status(decision)
    return RequestView(
        id=request.id,
        action=request.action,
        decision=decision.verdict.value,
        status=status.value,
        next=_next(status, grounds.reasons),
        caller=request.caller.name,
        customer=request.customer,
        at=request.at,
        reasons=tuple(reason_body(r) for r in grounds.reasons),
        obligations=obligations_body(grounds.obligations),
        determined_by=grounds.determined_by,
        release=grounds.release,
        output=outcome.output if outcome else None,
        error=outcome.error if outcome else error,
        approval=approval if isinstance(decision, Held) else None,
        preview=preview if not isinstance(decision, Refused) else None,
        decided_in_ms=round(grounds.took_ms, 3),
    )


def view_of_record(row: RequestRow, entries: Sequence[Entry]) -> RequestView:
    """For a request that is on record."""
    view = RequestView(
        id=row.id,
        action=row.action,
        decision=row.verdict,
        status=row.status,
        next=NEXT[Status(row.status)],
        caller=row.caller,
        customer=row.customer,
        at=row.at,
        release=row.release,
        approval=row.approval,
        error=row.error,
        replaced_by=row.replaced_by,
        undone_by=row.undone_by,
    )
    for entry in entries:
        if entry.kind == "decision":
            grounds = grounds_from(entry)
            view = replace(
                view,
                next=_next(Status(row.status), grounds.reasons),
                reasons=tuple(reason_body(r) for r in grounds.reasons),
                obligations=obligations_body(grounds.obligations),
                determined_by=grounds.determined_by,
                decided_in_ms=grounds.took_ms,
            )
        elif entry.kind == "outcome":
            view = replace(view, output=outcome_from(entry).output)
    return view
