"""Find out how an intent ended that has no outcome: after a crash, or when nobody could tell.

Look, if the entry says how; else, or if it is not done, the same key once more; after MAX_LOOKS a person.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cxplane.act.carry_out import Sleep, deadline, said_done
from cxplane.act.plan import CallPlan
from cxplane.act.trail import Finding, Trail
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import FailureKind
from cxplane.domain.outcome import Outcome, Status
from cxplane.ports.clock import Clock
from cxplane.ports.systems import Connector, Reply

MAX_LOOKS = 7  # about half an hour with the delays below
_DELAYS_S = (1.0, 3.0, 10.0, 60.0, 300.0, 900.0)


def next_look(looks: int) -> timedelta:
    """How long to wait after the look number `looks` (0 is the first) that could not tell."""
    return timedelta(seconds=_DELAYS_S[min(max(looks, 0), len(_DELAYS_S) - 1)])


async def resolve(
    allowed: Allowed,
    plan: CallPlan,
    systems: Connector,
    clock: Clock,
    *,
    looks: int = 0,
    last: Outcome | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Outcome:
    """DONE, FAILED, UNKNOWN (look again after `next_look(looks)`) or STUCK (a person), within `deadline(action)`.

    `looks`: how often it was looked into before. `last`: the outcome that left it open, if any; its output helps.
    Safe to run twice: it reads, and writes only with the key of the intent.
    """
    if not isinstance(allowed, Allowed):
        raise TypeError("only an Allowed is carried out")
    until = asyncio.get_running_loop().time() + deadline(plan.action).total_seconds()
    trail = Trail(allowed, plan, systems, clock, until)
    output = last.output if last is not None else None
    finding: Finding | None = None
    if plan.action.writes and trail.can_look(output):
        finding = await trail.look(output)
        if finding is Finding.CONFIRMED:
            return trail.done_by_read(output)
        if finding is Finding.UNCLEAR:
            return _open(trail, looks, "the read that confirms it cannot tell whether it was done", output)

    answer = await trail.call()
    if isinstance(answer, Reply):
        ended = await said_done(trail, answer.output, sleep)
        contradicted = ended.status is Status.UNKNOWN and trail.attempts[-1].result == Finding.NOT_DONE
        if contradicted and output is not None:  # twice "done", twice not there: no machine will tell
            return trail.stuck(_for_a_person(trail, ended.error or ""), answer.output)
        return ended if ended.status is not Status.UNKNOWN else _open(trail, looks, ended.error or "", answer.output)
    failure = answer.failure
    said = f"{failure.system} said: {failure.said}"
    if not plan.action.writes:
        return trail.failed(failure.kind, said)
    if failure.kind is FailureKind.REFUSED and finding is Finding.NOT_DONE:
        return trail.failed(FailureKind.REFUSED, f"it was not done, and asked again with the same key {said}")
    return _open(trail, looks, said, output)


def _open(trail: Trail, looks: int, known: str, output: object) -> Outcome:
    kept = output if isinstance(output, dict) else None
    if looks + 1 >= MAX_LOOKS:
        return trail.stuck(_for_a_person(trail, known), kept)
    return trail.unknown(known, kept)


def _for_a_person(trail: Trail, known: str) -> str:
    key = trail.allowed.key or ""
    return (
        f"{known}. cxplane could not find out whether {trail.action.id} was done and stops trying; "
        f"look in {trail.action.system} for the key {key[:16]}… and settle the request as done or not done"
    )
