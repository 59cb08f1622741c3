"""What a run wants done, as requests at the gate."""

from __future__ import annotations

from cxplane.domain.catalog import Risk
from cxplane.domain.errors import Conflict
from cxplane.domain.people import Caller
from cxplane.domain.request import ActionRequest
from cxplane.domain.run import AskAction, Run, UndoRequest
from cxplane.loop.gate import Gate
from cxplane.loop.live import Live
from cxplane.loop.taking_back import taking_back

CHANNEL = "journey"
Asked = AskAction | UndoRequest


async def request_for(gate: Gate, run: Run, live: Live, ask: Asked) -> ActionRequest:
    """Conflict where there is nothing to take back, or the live release does not know who asks."""
    caller = _caller(run, live, ask.caller if isinstance(ask, AskAction) else None)
    now = gate.clock.now()
    if isinstance(ask, UndoRequest):
        entries = await gate.store.stream(gate.tenant, ask.undoes)
        if not entries:
            raise Conflict(f"no request {ask.undoes}", next="Undo it in the system by hand.")
        return taking_back(live, entries, caller, id=ask.request, at=now, run=run.id)
    return ActionRequest(
        id=ask.request,
        tenant=gate.tenant,
        action=ask.action,
        input=ask.input,
        caller=caller,
        at=now,
        customer=run.customer,
        conversation=run.conversation,
        channel=CHANNEL,
        reason=ask.reason,
        recorded=ask.recorded,
        cause=run.id,
        run=run.id,
    )


async def stays(gate: Gate, live: Live, ask: UndoRequest) -> str | None:
    """Why what was done may stay: its entry says that nothing takes it back, and little hangs on it. Else None."""
    row = await gate.store.request(gate.tenant, ask.undoes)
    action = live.rulebook.action(row.action) if row is not None else None
    if action is None or action.undo is None or action.undo.none is None:
        return None
    return action.undo.none if action.risk in (Risk.LOW, Risk.MEDIUM) else None


def _caller(run: Run, live: Live, name: str | None) -> Caller:
    """The journey as the live release knows it, or the person who does the step."""
    wanted = name or f"journey:{run.journey}"
    found = live.release.repo.callers.get(wanted)
    if found is not None:
        return found
    raise Conflict(
        f"the live release knows no {wanted}",
        next="Put it back into the control repo and release, or switch or cancel the run.",
    )
