"""A held decision and the person who decides it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cxplane.domain.decision import Allowed, Held, Refused, for_now
from cxplane.domain.entries import approval_decided, grounds_from, request_from
from cxplane.domain.errors import Conflict, Forbidden, NotFound
from cxplane.domain.people import Caller
from cxplane.domain.record import Appended, ApprovalRow, Entry, Write, subject_of
from cxplane.domain.request import ActionRequest
from cxplane.domain.run import RunStatus
from cxplane.domain.values import JsonObject, new_id
from cxplane.domain.views import ApprovalView, RequestView
from cxplane.loop.access import sees_record
from cxplane.loop.gate import Gate
from cxplane.loop.live import Live
from cxplane.loop.views import view_of_record
from cxplane.people.approvals import edited, may_see, waits_for, why_not

ENDING = frozenset({RunStatus.CANCELLING, RunStatus.CANCELLED, RunStatus.FAILED})


class Approvals:
    """List, show, approve, edit, reject, expire. What is approved is judged again before it is done."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._store, self._clock, self._tenant = gate.store, gate.clock, gate.tenant

    async def list(
        self, caller: Caller, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[ApprovalRow], str | None]:
        """Those the caller could decide or proposed; all of them for who may see the record."""
        rows, more = await self._store.approvals(self._tenant, status=status, cursor=cursor, limit=limit)
        if sees_record(self._gate.releases.need(), caller):
            return rows, more
        return [row for row in rows if may_see(row, caller)], more

    async def show(self, caller: Caller, id: str) -> ApprovalView:
        row, live, request, entries = await self._open(id)
        if not (may_see(row, caller) or sees_record(live, caller)):
            raise Forbidden(
                "this approval is for others", next=f"Ask somebody with the role {waits_for(row.approver_sets)}."
            )
        held = await self._store.request(self._tenant, row.request)
        assert held is not None
        decision = next(e for e in reversed(entries) if e.kind == "decision")
        action = live.rulebook.action(row.action)
        reason = why_not(row, caller, self._clock.business_now())
        undo = "nothing takes it back"
        if action is not None and action.undo is not None:
            undo = f"undone by {action.undo.call}" if action.undo.call else f"cannot be undone: {action.undo.none}"
        return ApprovalView(
            approval=row,
            request=view_of_record(held, entries),
            input=request.input,
            reason=request.reason,
            evidence={
                f.name: {"value": f.value, "source": f.source, "as_of": f.as_of.isoformat()}
                for f in grounds_from(decision).facts
            },
            effect=f"{action.summary if action else row.action} ({undo})",
            if_nothing_is_done=f"It expires at {row.expires_at.isoformat(timespec='minutes')} and is then not done.",
            may_decide=reason is None,
            why_not=reason or "",
        )

    async def approve(self, caller: Caller, id: str, *, comment: str, input: JsonObject | None) -> RequestView:
        """Release it, after judging it again with the approver added; with `input`, an edited request in its place."""
        row, live, request, entries = await self._open(id)
        self._must(row, caller)
        await self._still_wanted(request)
        now = self._clock.now()
        asked, is_edited = request, False
        approver: Caller | None = caller
        if input is not None and input != request.input:
            edit = edited(request, row, caller, input, id=new_id("req"), at=now)
            asked, approver, is_edited = edit.request, edit.approver, True
        decision = await self._gate.judged(live, asked, approver=approver)
        match decision:
            case Refused() if is_edited:
                return await self._gate.settle(live, decision)  # on record; the approval stays open
            case Held() if is_edited and approver is None:
                pass  # four eyes: the editor proposes now, somebody else decides
            case Refused() | Held():
                words = "; ".join(r.text for r in decision.grounds.reasons) or "policy"
                advice = "Reject it, edit it to what policy allows, or leave it to somebody whom policy names."
                if for_now(decision.grounds.reasons):
                    advice = "It stays open: approve it again as soon as that system answers."
                raise Conflict(f"judged again, it may not be released by {caller.name}: {words}", next=advice)
            case Allowed():
                pass
        status = "edited" if is_edited else "approved"
        decided = approval_decided(
            id,
            row.request,
            status=status,
            by=caller.name,
            at=now,
            subject=subject_of(asked.customer, asked.conversation),
            comment=comment,
            replaced_by=asked.id if is_edited else None,
        )
        over = not is_edited and self._may_exceed(live, row.action, entries, caller)
        return await self._gate.settle(
            live, decision, before=(decided,), expect=(row.request, "held"), over_budget=over, known=not is_edited
        )

    async def reject(self, caller: Caller, id: str, *, comment: str) -> RequestView:
        row, _, _, _ = await self._open(id)
        self._must(row, caller)
        await self._close(row, "rejected", caller.name, self._clock.now(), comment)
        return await self._gate.stands(row.request)

    async def expire(self, row: ApprovalRow) -> bool:
        """Nobody decided in time: its default happens, which is that it is not done. False if somebody just did."""
        try:
            await self._close(row, "expired", "cxplane", self._clock.now(), "")
        except Conflict:
            return False
        return True

    # -------------------------------------------------------------------------------------------------

    async def _open(self, id: str) -> tuple[ApprovalRow, Live, ActionRequest, Sequence[Entry]]:
        row = await self._store.approval(self._tenant, id)
        if row is None:
            raise NotFound(f"no approval {id}")
        entries = await self._store.stream(self._tenant, row.request)
        asked = next(e for e in entries if e.kind == "request")
        # what waited is judged under the release that is live when it is released; its caller as known there
        live = self._gate.releases.need()
        request = request_from(asked)
        known = live.release.repo.callers.get(request.caller.name)
        if known is not None:
            request = request.changed(caller=known)
        return row, live, request, entries

    async def _still_wanted(self, request: ActionRequest) -> None:
        """Not for a run that has ended or is being ended: what it asked for would be taken back at once, or never."""
        found = await self._store.runs.get(self._tenant, request.run) if request.run else None
        if found is not None and found[0].status in ENDING:
            raise Conflict(
                f"the run that asked for it ({found[0].id}) is {found[0].status}",
                next="Reject it: nothing goes on there.",
            )

    def _must(self, row: ApprovalRow, caller: Caller) -> None:
        if row.status != "open":
            raise Conflict(f"the approval is {row.status} already", next="Look at the request to see how it ended.")
        if reason := why_not(row, caller, self._clock.business_now()):
            raise Forbidden(reason, next=f"Leave it to somebody with the role {waits_for(row.approver_sets)}.")

    async def _close(self, row: ApprovalRow, status: str, by: str, at: datetime, comment: str) -> None:
        found = await self._store.request(self._tenant, row.request) if comment else None
        subject = subject_of(row.customer, found.conversation if found else None)
        entry = approval_decided(row.id, row.request, status=status, by=by, at=at, subject=subject, comment=comment)
        result = await self._store.append(Write(self._tenant, (entry,), expect=(row.request, "held")))
        if not isinstance(result, Appended):
            raise Conflict("somebody else decided it first", next="Look at the request to see how it ended.")

    def _may_exceed(self, live: Live, action: str, entries: Sequence[Entry], caller: Caller) -> bool:
        """Whether this approval answers for budgets: it was held for one, and the caller may lift every one that may apply."""
        last = next(e for e in reversed(entries) if e.kind == "decision")
        over = {r.where for r in grounds_from(last).reasons if r.code == "budget"}
        budgets = [b for b in live.release.repo.budgets if not b.actions or action in b.actions]
        return bool(over) and all(not b.approvers or caller.roles & set(b.approvers) for b in budgets)
