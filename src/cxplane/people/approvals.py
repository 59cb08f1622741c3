"""Who may decide what waits, until when, and what an edit means. Pure; the gate judges again all the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import ApprovalRow
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import JsonObject


def why_not(approval: ApprovalRow, person: Caller, now: datetime) -> str | None:
    """Why this caller may not decide this approval, in one sentence; None if they may."""
    if approval.status != "open":
        return f"it is {approval.status} already"
    if expired(approval, now):
        return f"it expired at {approval.expires_at.isoformat(timespec='minutes')}; ask again if it is still wanted"
    if person.kind is not CallerKind.PERSON:
        return "only a person may decide it"
    if approval.four_eyes and person.name == approval.proposed_by:
        return "policy asks for four eyes: who proposed it may not decide it"
    for roles in approval.approver_sets:
        if not person.roles & frozenset(roles):
            return f"it waits for somebody with the role {' or '.join(sorted(roles))}"
    return None


def expired(approval: ApprovalRow, now: datetime) -> bool:
    return now >= approval.expires_at


def may_see(approval: ApprovalRow, person: Caller) -> bool:
    """Who proposed it, and the persons whose role it waits for. An agent of that role decides nothing and sees nothing."""
    if person.name == approval.proposed_by:
        return True
    return person.kind is CallerKind.PERSON and any(person.roles & frozenset(roles) for roles in approval.approver_sets)


@dataclass(frozen=True, slots=True)
class Edit:
    """A new request in place of the one that waits, and who answers for it as approver (None: it is judged afresh)."""

    request: ActionRequest
    approver: Caller | None


def edited(
    original: ActionRequest, approval: ApprovalRow, person: Caller, input: JsonObject, *, id: str, at: datetime
) -> Edit:
    """The request that an edit makes: the same action and customer, another input, linked to the old one.

    Who proposed it stays the proposer and the editor approves. Where policy asks for four eyes the editor becomes the
    proposer, so that a second person sees what was written. ValueError if the input is the same.
    """
    if input == original.input:
        raise ValueError("the input is the same as before; approve it instead")
    request = original.changed(
        id=id,
        input=input,
        at=at,
        confidence=None,  # it was about the old input
        replaces=original.id,
        cause=approval.id,
    )
    if not approval.four_eyes:
        return Edit(request, person)
    return Edit(request.changed(caller=person), None)


def waits_for(approval_sets: Iterable[Iterable[str]]) -> str:
    """`supervisor and (fraud or risk)`: whom an approval waits for, in words."""
    sets = [sorted(roles) for roles in approval_sets]
    return " and ".join(f"({' or '.join(s)})" if len(s) > 1 and len(sets) > 1 else " or ".join(s) for s in sets)
