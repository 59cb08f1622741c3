"""What came for a run, as events that `advance` understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cxplane.domain.decision import Reason, Refused, for_now
from cxplane.domain.entries import grounds_from, is_intent, outcome_from
from cxplane.domain.errors import FailureKind
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.record import Entry, RequestRow, TakenRun
from cxplane.domain.run import Answered, ChildEnded, Due, Event, Heard, Run, RunState, Settled, Started, Told, Unasked
from cxplane.journeys.waits import due
from cxplane.ports.store import Store


def run_of(taken: TakenRun, tenant: str, state: RunState) -> Run:
    """The run that was taken over, as `advance` wants it."""
    row = taken.row
    return Run(
        id=row.id,
        tenant=tenant,
        journey=row.journey,
        release=row.release,
        started_at=row.started_at,
        input=taken.input,
        customer=row.customer,
        conversation=row.conversation,
        state=state,
    )


def event_of(body: Mapping[str, Any], private: Mapping[str, Any]) -> Event | None:
    """Of mail that says everything itself; None for the others."""
    match body["kind"]:
        case "started":
            return Started()
        case "signal":
            data = private.get("data")
            return Heard(
                body["type"],
                body["key"],
                data if isinstance(data, Mapping) else {"value": data},
                source=body["source"],
                id=body["id"],
                at=body.get("at", ""),
            )
        case "task":
            return Answered(
                body["task"],
                private.get("answer", {}),
                by=body["by"],
                at=body.get("at", ""),
                comment=private.get("comment", ""),
            )
        case "run":
            return ChildEnded(body["run"], body["status"], private)
        case "told":
            return Told(
                body["what"],
                by=body["by"],
                step=body.get("step"),
                positions=body.get("positions", {}),
                compensate=body.get("compensate", True),
                comment=private.get("comment", ""),
            )
        case _:
            return None


def time_come(body: Mapping[str, Any], state: RunState) -> tuple[datetime, list[Event]]:
    """(the time that mail says has come, the waits of the run that it is for). One for a wait that has gone is nothing."""
    come = datetime.fromisoformat(body["due"])
    return come, [
        Due(token, what)
        for token, what, at in due(state)
        if body["name"] == f"{token}:{what}" and datetime.fromisoformat(at) <= come
    ]


async def stands(store: Store, tenant: str, request: str) -> list[Settled]:
    """How a request stands that the run asked for, and whichever took its place; nothing if it is not on record."""
    row = await store.request(tenant, request)
    if row is None:
        return []
    told = settled_row(row, await store.stream(tenant, request))
    found = [told]
    if told.replaced_by is not None:
        found += await stands(store, tenant, told.replaced_by)
    return found


def settled_row(row: RequestRow, entries: Sequence[Entry]) -> Settled:
    """From the record."""
    output, kind = None, None
    read = not any(map(is_intent, entries))
    reasons: tuple[Reason, ...] = ()
    for entry in entries:
        if entry.kind == "outcome":
            outcome = outcome_from(entry)
            output, kind = outcome.output, outcome.kind
        elif entry.kind == "decision":
            reasons = grounds_from(entry).reasons
    if row.status == Status.REFUSED:
        kind = _kind(reasons)
    return Settled(
        row.id,
        row.status,
        output=output,
        error=row.error,
        kind=kind,
        reasons=tuple(reason.text for reason in reasons),
        replaced_by=row.replaced_by,
        read=read,
    )


def settled_outcome(outcome: Outcome, *, read: bool = False) -> Settled:
    output, error = outcome.output, outcome.error
    return Settled(outcome.request, outcome.status, output=output, error=error, kind=outcome.kind, read=read)


def settled_by(refused: Refused) -> Settled:
    reasons = refused.grounds.reasons
    return Settled(
        refused.request.id, Status.REFUSED, kind=_kind(reasons), reasons=tuple(reason.text for reason in reasons)
    )


def _kind(reasons: Sequence[Reason]) -> str | None:
    """Of a refusal: `retry` where only a system that did not answer stood against it."""
    return FailureKind.RETRY.value if for_now(reasons) else None


def word(event: Event) -> str:
    """For the record: what brought the run on. No customer data."""
    match event:
        case Started():
            return "started"
        case Settled(status=status):
            return f"request {status}"
        case Unasked():
            return "asked again"
        case Due(what=what):
            return f"time {what}"
        case Heard(signal=signal):
            return f"signal {signal}"
        case Answered():
            return "task answered"
        case ChildEnded():
            return "journey ended"
        case Told(what=what):
            return f"told {what}"
