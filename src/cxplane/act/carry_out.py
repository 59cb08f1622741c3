"""Carry out one allowed request: try, find out, try again with the same key; never guess.

try ─ done ──────────────────────────── (confirm: always → look) ─→ DONE
    ├ refused, nothing in doubt ──────────────────────────────────→ FAILED
    ├ retry ── back off, try again; at the end ───────────────────→ FAILED
    └ unknown ── look ─ done ─────────────────────────────────────→ DONE
                      ├ not done ── back off, same key again; at the end → UNKNOWN
                      └ cannot tell ──────────────────────────────→ UNKNOWN (resolve.py goes on)

Once a call was in doubt, nothing but a look or a reply ends it: a late effect may still come.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from cxplane.act.plan import CallPlan
from cxplane.act.trail import Failed, Finding, Trail
from cxplane.domain.catalog import Action, ConfirmWhen
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import FailureKind
from cxplane.domain.outcome import Outcome
from cxplane.domain.values import JsonObject
from cxplane.ports.clock import Clock
from cxplane.ports.systems import Connector, Reply

BACKOFF_S = 0.1  # before the second try, at most; doubles with each
PATIENCE_S = 1.0  # no single wait is longer; a system that asks for more is left in peace
SECOND_LOOK_S = 0.3  # a system may show what it did a moment later

Chance = Callable[[], float]  # in [0, 1)
Sleep = Callable[[float], Awaitable[None]]


def deadline(action: Action) -> timedelta:
    """How long carrying out this action may take at most: every try, every wait, and looking twice."""
    tries, one_s = max(1, action.limits.attempts), action.limits.timeout.total_seconds()
    looks_s = 2 * one_s + SECOND_LOOK_S if action.confirm else 0.0
    return timedelta(seconds=tries * one_s + (tries - 1) * PATIENCE_S + looks_s)


async def carry_out(
    allowed: Allowed,
    plan: CallPlan,
    systems: Connector,
    clock: Clock,
    *,
    chance: Chance = random.random,
    sleep: Sleep = asyncio.sleep,
) -> Outcome:
    """DONE, FAILED (certainly not done) or UNKNOWN, within `deadline(action)`. No fault of a system is raised."""
    if not isinstance(allowed, Allowed):
        raise TypeError("only an Allowed is carried out")
    if allowed.request.dry_run:
        raise ValueError("a dry run is never carried out")
    action = plan.action
    until = asyncio.get_running_loop().time() + deadline(action).total_seconds()
    trail = Trail(allowed, plan, systems, clock, until)
    keep_s = 2 * action.limits.timeout.total_seconds() if action.confirm else 0.0
    in_doubt = False
    given_up: Failed | None = None
    for n in range(max(1, action.limits.attempts)):
        answer = await trail.call(keep_s=keep_s)
        if isinstance(answer, Reply):
            return await said_done(trail, answer.output, sleep)
        given_up, failure = answer, answer.failure
        if failure.kind is FailureKind.REFUSED:
            return await _refused(trail, answer, in_doubt=in_doubt)
        if failure.kind is FailureKind.UNKNOWN:
            in_doubt = True
            if trail.can_look(None):
                finding = await trail.look(None)
                if finding is Finding.CONFIRMED:
                    return trail.done_by_read(None)
                if finding is Finding.UNCLEAR:
                    break
        wait_s = max(backoff_s(n, chance), failure.retry_after_s or 0.0)
        last = n + 1 >= action.limits.attempts
        if last or not answer.again or wait_s > PATIENCE_S or wait_s >= trail.left() - keep_s:
            break
        await sleep(wait_s)
    assert given_up is not None
    return _gave_up(trail, given_up, in_doubt=in_doubt)


def backoff_s(tries_before: int, chance: Chance) -> float:
    """Exponential with full jitter: anywhere between 0 and the step, so that callers spread."""
    return chance() * min(PATIENCE_S, BACKOFF_S * 2.0**tries_before)


async def said_done(trail: Trail, output: JsonObject, sleep: Sleep) -> Outcome:
    """The system said done. Where the entry wants it confirmed, that alone is not success."""
    confirm = trail.plan.confirm
    if confirm is None or confirm.when is not ConfirmWhen.ALWAYS:
        return trail.done(output, by="reply")
    finding = await trail.look(output)
    if finding is not Finding.CONFIRMED:
        await sleep(max(0.0, min(SECOND_LOOK_S, trail.left())))
        finding = await trail.look(output)
    if finding is Finding.CONFIRMED:
        return trail.done_by_read(output)
    if finding is Finding.UNCLEAR:
        return trail.unknown(
            f"{trail.action.system} said it was done, but {confirm.read} could not confirm it yet", output
        )
    return trail.unknown(f"{trail.action.system} said it was done, but {confirm.read} shows otherwise", output)


async def _refused(trail: Trail, answer: Failed, *, in_doubt: bool) -> Outcome:
    failure = answer.failure
    if not in_doubt:
        return trail.failed(FailureKind.REFUSED, f"{failure.system} said: {failure.said}")
    if trail.can_look(None) and await trail.look(None) is Finding.CONFIRMED:
        return trail.done_by_read(None)
    return trail.unknown(
        f"a first call got no clear answer, and the same key was then refused; {failure.system} said: {failure.said}"
    )


def _gave_up(trail: Trail, answer: Failed, *, in_doubt: bool) -> Outcome:
    tries = sum(1 for attempt in trail.attempts if attempt.result in ("retry", "unknown"))
    often = f" (tried {tries} times)" if tries > 1 else ""
    said = f"{answer.failure.system} said: {answer.failure.said}{often}"
    if in_doubt:
        return trail.unknown(f"it is not known yet whether it was done; {said}")
    return trail.failed(FailureKind.RETRY, said)
