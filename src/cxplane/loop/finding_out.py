"""An intent without an outcome: somebody died in between, or nobody could tell. Looked into, never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cxplane.act.carry_out import deadline
from cxplane.act.resolve import next_look, resolve
from cxplane.decide.judge import resume
from cxplane.domain.entries import grounds_from, key_from, outcome_from, request_from
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.record import NewEntry
from cxplane.loop.gate import GRACE, Gate
from cxplane.loop.live import Live
from cxplane.ports.systems import Connector


@dataclass(frozen=True, slots=True)
class Found:
    """How it ended, as far as can be told, and the entry that says so."""

    outcome: Outcome
    entry: NewEntry
    action: str


async def find_out(gate: Gate, id: str, systems: Callable[[Live], Connector] | None = None) -> Found | None:
    """Look by the entry's `confirm`, else ask again with the same key. None if there is nothing to find out.

    Under the release that allowed it. Two who find out at the same time do no harm: the system knows the key.
    """
    entries = await gate.store.stream(gate.tenant, id)
    decided = [e for e in entries if e.kind == "decision" and e.body["verdict"] == "allow"]
    if not decided:
        return None
    live = await gate.releases.at(decided[-1].release or "")
    asked = request_from(next(e for e in entries if e.kind == "request"))
    action = live.rulebook.action(asked.action)
    if action is None:
        return None
    allowed = resume(asked, grounds_from(decided[-1]), key_from(entries))
    outcomes = [outcome_from(e) for e in entries if e.kind == "outcome"]
    looks = len(outcomes)
    # a worker that was paused must not act on what it lost: the lease bounds the whole look
    async with asyncio.timeout((deadline(action) + GRACE).total_seconds()):
        outcome = await resolve(
            allowed,
            live.plans.plan(action),
            systems(live) if systems is not None else live.systems,
            gate.clock,
            looks=looks,
            last=outcomes[-1] if outcomes else None,
        )
    due = gate.clock.now() + next_look(looks) if outcome.status is Status.UNKNOWN else None
    gate.telemetry.count("outcomes_total", {"action": action.id, "status": outcome.status.value})
    return Found(outcome, gate.outcome_entry(live, allowed, outcome, due=due), action.id)
