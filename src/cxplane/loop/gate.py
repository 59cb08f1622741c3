"""One request through the stages: asked, judged, on record, done, on record.

    ask → situation → facts → judge → (claim + budget + intent, one commit) → carry out → (outcome, one commit)

The intent is durable before the call, the outcome after it. What lies between is found out by `background.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from cxplane.act.carry_out import carry_out, deadline
from cxplane.act.preview import preview
from cxplane.decide.budgets import reservations
from cxplane.decide.facts import gather
from cxplane.decide.judge import exhausted, judge
from cxplane.decide.standing import objections
from cxplane.domain.decision import Allowed, Decision, Held, Refused
from cxplane.domain.entries import approval_opened, decision_entry, outcome_entry, request_entry
from cxplane.domain.errors import Conflict, Malformed, StoreError, StoreUnavailable, SystemFailure
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.people import Caller
from cxplane.domain.record import (
    Appended,
    AsSeen,
    BudgetExhausted,
    Fence,
    KeyClaim,
    KeyTaken,
    Moved,
    NewEntry,
    RequestTaken,
    Write,
    subject_of,
)
from cxplane.domain.request import ActionRequest, Candidate
from cxplane.domain.values import JsonObject, new_id
from cxplane.domain.views import Ask, RequestView
from cxplane.loop.live import Live, Releases
from cxplane.loop.seen import Seen
from cxplane.loop.views import view_of_decision, view_of_record
from cxplane.ports.clock import Clock
from cxplane.ports.store import Store
from cxplane.ports.systems import Connector
from cxplane.ports.telemetry import FOLLOWED, NO_LABELS, Telemetry

GRACE = timedelta(seconds=5)  # how long after its deadline an intent without an outcome is looked into
FIRST_LOOK = timedelta(seconds=1)  # how soon after an unknown outcome
UNKNOWN = "(unknown)"  # an action that the rulebook does not know, in metrics and traces: the name is a caller's words
REPEAT_WAITS_S = 5.0  # how long a repeat waits for the first one to end

ReadSystem = Callable[[str, JsonObject], Awaitable[JsonObject]]


class Stage:
    """Enter and leave it. A class, for a generator would cost three times as much, six times a request."""

    __slots__ = ("_began", "_name", "_span", "_telemetry")

    def __init__(self, telemetry: Telemetry, name: str, attributes: Mapping[str, str]) -> None:
        self._telemetry, self._name = telemetry, name
        self._span = telemetry.span(name, attributes)

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        self._span.__enter__()

    def __exit__(self, *problem: Any) -> None:
        try:
            self._span.__exit__(*problem)
        finally:
            self._telemetry.observe("stage_seconds", time.perf_counter() - self._began, {"stage": self._name})


class Gate:
    """Judges requests and carries out what is allowed. There is no other way to an action."""

    def __init__(self, tenant: str, store: Store, releases: Releases, clock: Clock, telemetry: Telemetry) -> None:
        self.tenant, self.store, self.releases, self.clock, self.telemetry = tenant, store, releases, clock, telemetry
        self._doing: set[asyncio.Task[RequestView]] = set()

    async def ask(self, caller: Caller, ask: Ask) -> RequestView:
        """Judge one request and, if allowed, carry it out. The same key or id again gives the same answer."""
        live = self.releases.need()
        if ask.id is not None and (known := await self._again(ask)) is not None:
            return known
        request = self._request(caller, ask)
        if (earlier := await self._own_repeat(live, request)) is not None:
            return earlier
        decision = await self.judged(live, request)
        return await self.settle(live, decision, body_hash=ask.body_hash)

    # judging -------------------------------------------------------------------------------------

    async def judged(
        self, live: Live, request: ActionRequest, *, approver: Caller | None = None, seen: Seen | None = None
    ) -> Decision:
        """Facts in, decision out; nothing is recorded or done yet. `seen`: what is known of the customer, from a moment ago."""
        began = time.perf_counter()
        known = request.action if live.rulebook.action(request.action) else UNKNOWN
        with self.telemetry.span("decide", {"cxplane.action": known}):
            now = self.clock.business_now()
            situation = seen.of(request) if seen is not None else None
            if situation is None:
                with self.stage("situation"):
                    situation = await self.store.situation(self.tenant, request.customer, request.conversation)
                if seen is not None:
                    seen.put(request.customer, request.conversation, situation)
            gathering = time.perf_counter()
            with self.stage("facts"):
                against = objections(live.rulebook, request, situation)
                facts = await gather(live.rulebook, request, situation, self._reader(live), now, against=against)
            facts_s = time.perf_counter() - gathering
            with self.stage("judge"):
                decision = judge(live.rulebook, request, situation, facts, now, approver, against=against)
            self.telemetry.note({"cxplane.request": request.id, "cxplane.verdict": decision.verdict.value})
        took_s = time.perf_counter() - began
        decision.grounds.timed(took_s * 1000, facts_s * 1000)
        self.telemetry.observe("decision_seconds", took_s)
        self.telemetry.count("decisions_total", {"action": known, "verdict": decision.verdict.value})
        return decision

    def _reader(self, live: Live) -> ReadSystem:
        async def read(action_id: str, input: JsonObject) -> JsonObject:
            action = live.rulebook.action(action_id)
            if action is None:  # checked at release
                raise StoreError(f"the release has no action {action_id}")
            reply = await live.systems.read(action, input, timeout_s=action.limits.timeout.total_seconds())
            return reply.output

        return read

    # recording and doing ---------------------------------------------------------------------------

    async def settle(
        self,
        live: Live,
        decision: Decision,
        *,
        body_hash: str | None = None,
        before: tuple[NewEntry, ...] = (),
        expect: tuple[str, str] | None = None,
        over_budget: bool = False,
        known: bool = False,
    ) -> RequestView:
        """Put a decision on record and, if it allows, carry it out.

        `before`: entries that belong in the same commit; `expect`: where a request must still stand; `over_budget`: an approver
        answers for going past a limit; `known`: the request itself is on record already.
        """
        request = decision.request
        action = live.rulebook.action(request.action)
        if request.dry_run:
            return await self._previewed(live, decision, body_hash)
        if isinstance(decision, Allowed) and action is not None and not action.writes:
            return await self._shielded(self._read(live, decision, body_hash, before, expect, known))
        while True:
            write, approval = self.write(
                live, decision, body_hash=body_hash, before=before, expect=expect, over_budget=over_budget, known=known
            )
            with self.stage("append"):
                result = await self.store.append(write)
            match result:
                case Appended():
                    break
                case RequestTaken(request=id):
                    return await self._repeat_of(id, body_hash)
                case Moved(status=status):
                    raise Conflict(
                        f"request {expect[0] if expect else request.id} is {status or 'not on record'} by now",
                        next="Look at it again; somebody else decided first.",
                    )
                case KeyTaken():
                    return await self._taken(result, request)
                case BudgetExhausted(budget=budget_id) if isinstance(decision, Allowed):
                    budget = next(b for b in live.release.repo.budgets if b.id == budget_id)
                    decision = exhausted(decision, budget, result)
                case _:
                    raise AssertionError(f"such a write is not answered with {type(result).__name__}")
        if isinstance(decision, Allowed):
            return await self._shielded(self._carry_out(live, decision))
        return view_of_decision(decision, approval=approval)

    def write(
        self,
        live: Live,
        decision: Decision,
        *,
        body_hash: str | None = None,
        before: tuple[NewEntry, ...] = (),
        expect: tuple[str, str] | None = None,
        over_budget: bool = False,
        known: bool = False,
        fence: Fence | None = None,
        as_seen: AsSeen | None = None,
    ) -> tuple[Write, str | None]:
        """What puts a decision on record, with all that it takes; and the approval that it opens."""
        request = decision.request
        action = live.rulebook.action(request.action)
        data = action.data if action else ()
        key = decision.key if isinstance(decision, (Allowed, Held)) else None
        entries = list(before)
        if not known:
            version = action.version if action else 0
            entries.append(request_entry(request, version=version, key=key, body_hash=body_hash, data=data))
        now = self.clock.now()
        due = None
        if isinstance(decision, Allowed):
            assert action is not None
            due = now + deadline(action) + GRACE
        entries.append(decision_entry(decision, at=now, data=data, due=due, keyed=known))
        approval = None
        reserve: tuple[Any, ...] = ()
        if isinstance(decision, Held):
            approval = new_id("apr")
            four_eyes = "four-eyes" in decision.grounds.obligations.require
            entries.append(approval_opened(decision, approval, four_eyes=four_eyes, at=now))
        elif isinstance(decision, Allowed):
            reserve = reservations(
                live.rulebook, request, decision.grounds.money, self.clock.business_now(), force=over_budget
            )
        claim = None
        if key is not None and action is not None and action.writes:
            claim = KeyClaim(request.action, key, request.id)
        write = Write(
            tenant=self.tenant,
            entries=tuple(entries),
            fence=fence,
            as_seen=as_seen,
            new_request=None if known else request.id,
            expect=expect,
            claim=claim,
            reservations=reserve,
        )
        return write, approval

    async def carry_out(self, live: Live, allowed: Allowed, systems: Connector | None = None) -> Outcome:
        """Do what is allowed; its intent is on record. `systems`: those of the release, unless a leg guards them."""
        action = live.rulebook.action(allowed.request.action)
        assert action is not None
        with self.stage("act", {"cxplane.action": action.id, "cxplane.system": action.system}):
            outcome = await carry_out(allowed, live.plans.plan(action), systems or live.systems, self.clock)
            self.telemetry.note({"cxplane.outcome": outcome.status.value, "cxplane.tries": len(outcome.attempts)})
        self.telemetry.count("outcomes_total", {"action": action.id, "status": outcome.status.value})
        for attempt in outcome.attempts:
            self.telemetry.count("calls_total", {"system": action.system, "result": attempt.result})
            self.telemetry.observe("call_seconds", attempt.took_ms / 1000, {"system": action.system})
        return outcome

    def stage(self, name: str, attributes: Mapping[str, str] = NO_LABELS) -> Stage:
        """A stretch of the way of one request, in the trace and in the metrics."""
        return Stage(self.telemetry, name, attributes)

    async def _carry_out(self, live: Live, allowed: Allowed) -> RequestView:
        outcome = await self.carry_out(live, allowed)
        await self.record_outcome(live, allowed, outcome, standing="running")
        return view_of_decision(allowed, outcome)

    async def record_outcome(
        self, live: Live, allowed: Allowed, outcome: Outcome, *, standing: str, due: datetime | None = None
    ) -> bool:
        """Append it; False if somebody else told the outcome first."""
        if outcome.status is Status.UNKNOWN and due is None:
            due = self.clock.now() + FIRST_LOOK
        entry = self.outcome_entry(live, allowed, outcome, due=due)
        with self.stage("outcome"):
            result = await self.store.append(Write(self.tenant, (entry,), expect=(outcome.request, standing)))
        return isinstance(result, Appended)

    async def _read(
        self,
        live: Live,
        allowed: Allowed,
        body_hash: str | None,
        before: tuple[NewEntry, ...],
        expect: tuple[str, str] | None,
        known: bool,
    ) -> RequestView:
        """A read changes nothing, so request, decision and outcome share one commit."""
        outcome = await self.carry_out(live, allowed)
        entries = (*before, *self.read_entries(live, allowed, outcome, body_hash=body_hash, known=known))
        write = Write(self.tenant, entries, new_request=None if known else allowed.request.id, expect=expect)
        with self.stage("append"):
            result = await self.store.append(write)
        view = view_of_decision(allowed, outcome)
        if isinstance(result, Appended):
            return view
        return await self._repeat_of(allowed.request.id, body_hash)

    def read_entries(
        self, live: Live, allowed: Allowed, outcome: Outcome, *, body_hash: str | None = None, known: bool = False
    ) -> tuple[NewEntry, ...]:
        """A read that was done: request, decision, outcome."""
        action = live.rulebook.action(allowed.request.action)
        data = action.data if action else ()
        entries = []
        if not known:
            version = action.version if action else 0
            entries.append(request_entry(allowed.request, version=version, key=None, body_hash=body_hash, data=data))
        entries.append(decision_entry(allowed, at=self.clock.now(), data=data))
        told = outcome.changed(output=None)  # what was read stays in the system it came from
        entries.append(self.outcome_entry(live, allowed, told))
        return tuple(entries)

    def outcome_entry(self, live: Live, allowed: Allowed, outcome: Outcome, *, due: datetime | None = None) -> NewEntry:
        """How something allowed ended, as the record keeps it."""
        request = allowed.request
        action = live.rulebook.action(request.action)
        return outcome_entry(
            outcome,
            release=live.release.hash,
            subject=subject_of(request.customer, request.conversation),
            data=action.data if action else (),
            due=due,
        )

    async def _previewed(self, live: Live, decision: Decision, body_hash: str | None) -> RequestView:
        action = live.rulebook.action(decision.request.action)
        data = action.data if action else ()
        would: JsonObject | None = None
        error = None
        if action is not None and not isinstance(decision, Refused):
            try:
                would = await preview(live.plans.plan(action), decision.request, live.systems)
            except SystemFailure as problem:
                error = str(problem)
        entries = (
            request_entry(
                decision.request, version=action.version if action else 0, key=None, body_hash=body_hash, data=data
            ),
            decision_entry(decision, at=self.clock.now(), data=data),
        )
        result = await self.store.append(Write(self.tenant, entries, new_request=decision.request.id))
        if not isinstance(result, Appended):
            return await self._repeat_of(decision.request.id, body_hash)
        return view_of_decision(decision, preview=would, error=error)

    async def _shielded(self, work: Any) -> RequestView:
        """A caller that hangs up does not stop what has begun."""
        task: asyncio.Task[RequestView] = asyncio.ensure_future(work)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)
        return await asyncio.shield(task)

    async def drain(self, patience_s: float) -> None:
        """Let what has begun come to an end, within reason; the rest is found out after the next start."""
        if self._doing:
            await asyncio.wait(self._doing, timeout=patience_s)

    # repeats -----------------------------------------------------------------------------------------

    async def stands(self, id: str, *, repeated: bool = False) -> RequestView:
        """Where a request stands, waiting a little while it is under way."""
        until = time.monotonic() + (REPEAT_WAITS_S if repeated else 0.0)
        pause = 0.01
        while True:
            row = await self.store.request(self.tenant, id)
            if row is None:
                raise StoreUnavailable(f"request {id} is not readable yet")
            if row.status != Status.RUNNING or time.monotonic() >= until:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.2)
        view = view_of_record(row, await self.store.stream(self.tenant, id))
        return replace(view, repeated=True) if repeated else view

    async def _again(self, ask: Ask) -> RequestView | None:
        assert ask.id is not None
        if await self.store.request(self.tenant, ask.id) is None:
            return None
        return await self._repeat_of(ask.id, ask.body_hash)

    async def _repeat_of(self, id: str, body_hash: str | None) -> RequestView:
        """The answer to a request that is on record already. Conflict if it was asked with another body."""
        row = await self.store.request(self.tenant, id)
        if row is not None and row.body_hash != body_hash:
            raise Conflict(
                "this idempotency key was used with another body",
                next="Send the same body again, or use a fresh idempotency key for a new request.",
            )
        return await self.stands(id, repeated=True)

    async def _own_repeat(self, live: Live, request: ActionRequest) -> RequestView | None:
        """The caller's own retry gets the first answer, even where the effect has changed the facts since."""
        action = live.rulebook.action(request.action)
        if action is None or not action.writes or request.dry_run:
            return None
        key = live.rulebook.key_of(request)
        taken = await self.store.claimed(self.tenant, request.action, key) if key else None
        if taken is None:
            return None
        row = await self.store.request(self.tenant, taken.request)
        if row is None or row.caller != request.caller.name or row.customer != request.customer:
            return None
        return await self._taken(taken, request)

    async def _taken(self, taken: KeyTaken, request: ActionRequest) -> RequestView:
        if taken.input_hash != request.input_hash:
            raise Conflict(
                f"the business key of {request.action} is taken by request {taken.request} with other input",
                next=f"Look at request {taken.request}; to change what it did, undo it first or use another key.",
            )
        return await self.stands(taken.request, repeated=True)

    def _request(self, caller: Caller, ask: Ask) -> ActionRequest:
        followed = FOLLOWED.get()
        try:
            request = ActionRequest(
                id=ask.id or new_id("req"),
                tenant=self.tenant,
                action=ask.action,
                input=ask.input,
                caller=caller,
                at=self.clock.now(),
                customer=ask.customer,
                conversation=ask.conversation,
                channel=ask.channel,
                purpose=ask.purpose,
                confidence=ask.confidence,
                reason=ask.reason,
                candidates=tuple(
                    Candidate(str(c["action"]), c.get("score"), str(c.get("why_not", ""))) for c in ask.candidates
                ),
                recorded=ask.recorded,
                dry_run=ask.dry_run,
                cause=followed.request if followed else None,
            )
            _ = request.input_hash
        except (ValueError, KeyError, TypeError) as problem:
            raise Malformed(f"the request is not plain JSON: {problem}", where="/input") from None
        return request
