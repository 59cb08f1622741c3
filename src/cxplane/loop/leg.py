"""One leg of a run: from what came for it to the next wait, everything on record as it goes.

    take over (fresh epoch) → mail → advance → judge → (outcome before + state + request + decision + intent, one commit)
        → carry out → advance → … → rest

What a leg appends is fenced by its epoch: a worker that lost the run can write nothing, and does nothing more. The outcome of
one step and the intent of the next share a commit. A held or unknown request is no reason to stay: the run rests, and its mail
wakes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from cxplane.domain.decision import Allowed, Decision, Held, Refused
from cxplane.domain.entries import decision_entry, request_entry
from cxplane.domain.errors import Conflict, Malformed, NotFound
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.record import Appended, Changed, Mail, NewEntry, TakenRun, Write
from cxplane.domain.request import ActionRequest
from cxplane.domain.run import (
    INTERNAL,
    AskAction,
    ChildEnded,
    Effect,
    Event,
    MoveTask,
    OpenTask,
    RunState,
    RunStatus,
    SendSignal,
    Settled,
    StartRun,
    StopRun,
    Told,
    UndoRequest,
    Went,
    state_from,
)
from cxplane.domain.run_entries import run_told
from cxplane.journeys.migrate import carried, preview, whole
from cxplane.journeys.program import Program
from cxplane.loop.asking import Asked, request_for, stays
from cxplane.loop.doing import Doing
from cxplane.loop.gate import FIRST_LOOK, Gate
from cxplane.loop.lineage import Runaway
from cxplane.loop.live import Live
from cxplane.loop.mail import event_of, run_of, settled_by, settled_outcome, stands, time_come, word
from cxplane.loop.picking_up import LostRun, heard, picked_up
from cxplane.loop.pulse import Awake, Pulse, WhileAwake
from cxplane.loop.run_entries import advanced_entry, stuck_task, task_moved, task_opened
from cxplane.loop.seen import Seen
from cxplane.loop.triggers import Triggers
from cxplane.loop.withdrawing import unwanted, withdrawn
from cxplane.loop.working_out import weight, worked_out

log = logging.getLogger("cxplane.journeys")

MOST_ROUNDS = 10_000  # of asking without a wait, in one leg
KEPT_BACK = 25  # rounds until what was only read goes on record, and mail is looked for
MOST_STATE = 1_000_000  # bytes of a state, as JSON


class Leg:
    """Made for one delivery of one wake-up."""

    def __init__(self, gate: Gate, triggers: Triggers, taken: TakenRun, program: Program, pulse: Pulse) -> None:
        self._gate, self._triggers = gate, triggers
        self._store, self._tenant = gate.store, gate.tenant
        awake = self._awake = Awake(pulse)
        self._program = program
        self._release = taken.row.release
        state = state_from(taken.state) if taken.state is not None else RunState()
        self._run = run_of(taken, gate.tenant, state)
        self._parent = taken.row.parent
        self._by_journey = taken.row.started_by.startswith("journey:")
        self._before = state if taken.state is not None else None  # what timers and listens on record say
        self._fence = taken.fence
        if state.error is not None and state.error.get("name") == INTERNAL:
            self._before = None  # times and listens are put on record anew
        self._broken_off = taken.state is not None and taken.row.status in (RunStatus.READY, RunStatus.STUCK)
        self._mail: list[Mail] = list(taken.mail)
        self._events: list[Event] = []
        self._pending: list[NewEntry] = []  # for the next commit
        self._expect: tuple[str, str] | None = None  # where the request that the pending outcome is about must stand
        self._took: list[str] = []
        self._went: list[Went] = []
        self._why: list[str] = []
        self._asks: list[Asked] = []
        self._doing = Doing(lambda live, allowed: gate.carry_out(live, allowed, awake.using(live.systems)))
        self._target: tuple[str, Program | None] | None = None  # release and definition that it is told to go by
        self._seen, self._taken = Seen(), taken
        self._more = False
        self._changed = False
        self._input_weight, self._state_weight = weight(taken.input), weight(state)
        self._not_before: datetime | None = None  # a time that the store's clock says has come

    async def work(self) -> None:
        """To the next wait. LostRun if another worker has it by now; everything that can go wrong with the store."""
        try:
            await self._bounded()
            if self._broken_off:
                self._events += await picked_up(self._gate, self._run.state, self._fence, self._systems)
                self._changed = True
            rounds = 0
            while True:
                rounds += 1
                if rounds > MOST_ROUNDS:
                    raise Runaway(f"it asked {MOST_ROUNDS} times without ever waiting")
                if rounds % KEPT_BACK == 0:
                    await self._commit(rest=False)
                if self._more:
                    await self._take_again()
                await self._read_mail()
                await self._advance()
                if self._asks:
                    await self._begin()
                    if self._events:
                        self._doing.side_by_side()
                        continue
                if self._doing:
                    await self._one_ends()
                    continue
                if self._events or await self._withdraw():
                    continue
                if not await self._commit(rest=True):
                    continue
                return
        finally:
            self._doing.cancel()

    async def _bounded(self) -> None:
        """What keeps it from going on for ever is the live release's word, also for a run of an older one."""
        live, depth = self._gate.releases.need(), 0
        if self._by_journey:
            depth = await self._store.runs.depth(self._tenant, self._run.id)
        bounds = live.release.repo.plane.journeys
        self._run = self._run.changed(depth=depth, bounds=bounds, starting=frozenset(live.starts))

    # what came ------------------------------------------------------------------------------------------

    async def _take_again(self) -> None:
        self._more = False
        taken = await self._store.runs.take(self._tenant, self._run.id)
        if taken is None or taken.before != self._fence.epoch:
            raise LostRun(self._run.id)
        self._fence = taken.fence
        self._awake.took()
        known = set(self._took)
        self._mail += [m for m in taken.mail if m.ref not in known]

    async def _read_mail(self) -> None:
        mail, self._mail = self._mail, []
        for one in mail:
            self._took.append(one.ref)
            self._changed = True
            self._events += await self._events_of(one)
        if (self._run.state.error or {}).get("name") == INTERNAL:  # a person's word goes before what it could not take
            self._events.sort(key=lambda event: not isinstance(event, Told))

    async def _events_of(self, mail: Mail) -> Sequence[Event]:
        body, private = mail.body, mail.private or {}
        match body["kind"]:
            case "time":
                return self._time(body)
            case "request":
                return await stands(self._store, self._tenant, body["request"])
            case "told" if body["what"] == "migrate":
                live = await self._gate.releases.at(body["release"])
                self._target = (body["release"], live.programs.get(self._run.journey))
        event = event_of(body, private)
        if event is None:
            log.warning("run %s: mail of an unknown kind %s", self._run.id, body["kind"])
            return []
        return [event]

    def _time(self, body: Mapping[str, Any]) -> list[Event]:
        """The store's clock said that it has come, whatever ours says. One for a wait that has gone is nothing."""
        come, found = time_come(body, self._run.state)
        if found and (self._not_before is None or self._not_before < come):
            self._not_before = come
        return found

    def _now(self) -> datetime:
        now = self._gate.clock.now()
        return now if self._not_before is None else max(now, self._not_before)

    # going on -------------------------------------------------------------------------------------------

    async def _advance(self) -> None:
        events, self._events = self._events, []
        for event in events:
            before = self._run.state
            try:
                if isinstance(event, Told) and event.what == "migrate":
                    self._migrate(event)
                heavy = self._input_weight + self._state_weight
                step = await worked_out(self._program, self._run, event, self._now(), heavy)
            except ValueError as problem:  # a person told it something that cannot be
                log.info("run %s: %s", self._run.id, problem)
                self._went.append(Went("", "told", "invalid", str(problem)))
                self._changed = True
                continue
            self._why.append(word(event))
            if self._weight(step.state) > MOST_STATE and not isinstance(event, Told):  # a person may always end it
                raise Runaway(f"its state is larger than {MOST_STATE // 1000} kB; keep ids and amounts, not documents")
            self._run = self._run.changed(state=step.state)
            self._went += step.went
            self._changed = self._changed or step.state != before or bool(step.went)
            for effect in step.effects:
                await self._effect(effect)
        waited = {t.wait.request for t in self._run.state.tokens if t.wait is not None}
        self._asks = [a for a in self._asks if isinstance(a, UndoRequest) or a.request in waited]

    def _weight(self, state: RunState) -> int:
        self._state_weight = weight(state)
        return self._state_weight

    def _migrate(self, event: Told) -> None:
        """Go by the new definition from here on. ValueError where the run has no place in it."""
        assert self._target is not None
        release, program = self._target
        if program is None:
            raise ValueError(f"the release to migrate to has no journey {self._run.journey}")
        position = preview(self._program, program, self._run.state, event.positions)
        if position.kind == "impossible":
            raise ValueError(position.why)
        state = whole(self._program, self._run, self._now())
        self._run = self._run.changed(state=carried(self._program, program, state))
        self._program, self._release = program, release

    async def _effect(self, effect: Effect) -> None:
        now = self._gate.clock.now()
        match effect:
            case AskAction() | UndoRequest():
                self._asks.append(effect)
            case OpenTask():
                self._pending.append(task_opened(self._run, effect, at=now, release=self._release))
            case MoveTask():
                self._pending.append(task_moved(self._run, effect, at=now, release=self._release))
            case SendSignal():
                if (why := await self._triggers.emit(self._run, effect)) is not None:
                    log.warning("run %s: its signal %s started no journey", self._run.id, effect.signal)
                    self._went.append(Went("", "told", "invalid", why))
                    self._changed = True
            case StopRun():
                by = f"journey:{self._run.journey}"
                self._pending.append(run_told(effect.run, what="cancel", by=by, at=now, subject=None))
            case StartRun():
                try:
                    await self._triggers.start_child(self._run, effect)
                except (Conflict, Malformed, NotFound) as problem:
                    log.info("run %s: %s", self._run.id, problem)
                    self._events.append(ChildEnded(effect.run, RunStatus.FAILED))

    # asking ---------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Judge what is asked for; put it on record with the state; begin what is allowed."""
        asks, self._asks = self._asks, []
        live = self._gate.releases.need()
        alone = len(asks) == 1 and not self._doing
        for ask in asks:
            known = await self._store.request(self._tenant, ask.request) if self._broken_off else None
            if known is not None:  # an earlier holder asked it
                self._events += await stands(self._store, self._tenant, ask.request)
                continue
            if isinstance(ask, UndoRequest) and self._expect is not None:
                await self._commit(rest=False)  # what is to be taken back must be on record as done
            if isinstance(ask, UndoRequest) and (why := await stays(self._gate, live, ask)) is not None:
                self._events.append(Settled(ask.request, "kept", error=why))
                continue
            try:
                request = await request_for(self._gate, self._run, live, ask)
            except Conflict as problem:
                self._events.append(Settled(ask.request, Status.FAILED, error=str(problem), kind="refused"))
                continue
            while not await self._decide(live, request, alone=alone):
                self._seen.forget()

    async def _decide(self, live: Live, request: ActionRequest, *, alone: bool) -> bool:
        """False if what is known of the customer is not so any more."""
        rules = live.rulebook.rules.get(request.action)
        writes = rules is not None and rules.action.writes
        if not writes:  # only a write goes on record on condition that what was known is still so
            self._seen.forget()
        elif not self._seen.about:  # the first of the leg
            self._seen.put(
                self._run.customer, self._run.conversation, await self._store.known(self._tenant, self._taken)
            )
        known = self._seen.of(request) is not None
        decision = await self._gate.judged(live, request, seen=self._seen)
        # a no is not given by what was known before, unless it is still so
        if known and not isinstance(decision, Allowed) and not await self._seen.stands(self._store, request):
            return False
        match decision:
            case Refused():
                self._note(live, decision)
                self._events.append(settled_by(decision))
            case Allowed() if not writes:
                outcome = await self._gate.carry_out(live, decision, self._systems(live))
                self._pending += self._gate.read_entries(live, decision, outcome)
                self._events.append(settled_outcome(outcome, read=True))
            case _:
                return await self._put(live, decision, alone=alone, known=known)
        return True

    def _note(self, live: Live, refused: Refused) -> None:
        action = live.rulebook.action(refused.request.action)
        version, data = (action.version, action.data) if action else (0, ())
        self._pending.append(request_entry(refused.request, version=version, key=None, data=data))
        self._pending.append(decision_entry(refused, at=self._gate.clock.now(), data=data))

    async def _put(self, live: Live, decision: Decision, *, alone: bool, known: bool) -> bool:
        """Everything that is pending, the state, and this decision in one commit; if that cannot be, one after the other.

        `known`: it was judged by what was known of the customer. False if that is not so any more.
        """
        write, _ = self._gate.write(
            live,
            decision,
            before=tuple(self._entries(rest=False)),
            expect=self._expect,
            fence=self._fence,
            as_seen=self._seen.as_seen(decision.request) if known else None,
        )
        with self._gate.stage("append"):
            result = await self._store.append(write)
        if isinstance(result, Appended):
            self._committed(result)
            if isinstance(decision, Allowed):
                self._doing.begin(live, decision, alone=alone)
            elif isinstance(decision, Held):
                self._events.append(Settled(decision.request.id, Status.HELD))
            return True
        if isinstance(result, Changed):
            return False
        heard(result, self._run.id)
        if self._expect is not None or self._pending or self._changed:
            await self._commit(rest=False)
        try:
            view = await self._gate.settle(live, decision)
        except Conflict as problem:
            self._events.append(Settled(decision.request.id, Status.FAILED, error=str(problem), kind="refused"))
            return True
        # the business key may have been taken by another request, which then answers for this one
        found = await stands(self._store, self._tenant, view.id)
        if found:
            # done by somebody else's request: it is not this run's to take back
            foreign = found[0].request != decision.request.id
            told = found[0].changed(request=decision.request.id, read=found[0].read or foreign)
            self._events.append(told)
        return True

    async def _withdraw(self) -> bool:
        """What is held for a way that leads nowhere any more is not wanted: nobody need decide it, and nothing waits for it."""
        async for row, approval in unwanted(self._store, self._run):
            entry = withdrawn(self._run, row, approval, at=self._gate.clock.now())
            if self._changed:  # first that it is not wanted, then that it is withdrawn
                await self._commit(rest=False)
            write = Write(self._tenant, (entry,), fence=self._fence, expect=(row.id, Status.HELD))
            heard(await self._store.append(write), self._run.id)
            self._events += await stands(self._store, self._tenant, row.id)
        return bool(self._events)

    async def _one_ends(self) -> None:
        for allowed, outcome in await self._doing.ended():
            await self._ended(allowed, outcome)

    async def _ended(self, allowed: Allowed, outcome: Outcome) -> None:
        if self._expect is not None:  # one outcome a commit
            await self._commit(rest=False)
        due_at = self._gate.clock.now() + FIRST_LOOK if outcome.status is Status.UNKNOWN else None
        live = await self._gate.releases.at(allowed.grounds.release)
        self._pending.append(self._gate.outcome_entry(live, allowed, outcome, due=due_at))
        self._expect = (outcome.request, Status.RUNNING)
        self._changed = True
        self._events.append(settled_outcome(outcome))

    def _systems(self, live: Live) -> WhileAwake:
        return self._awake.using(live.systems)

    # on record ------------------------------------------------------------------------------------------

    def _entries(self, *, rest: bool) -> list[NewEntry]:
        advanced = advanced_entry(
            self._program,
            self._run,
            before=self._before,
            release=self._release,
            at=self._gate.clock.now(),
            events=self._why,
            went=self._went,
            took=self._took,
            rest=rest,
            parent=self._parent,
        )
        return [*self._pending, advanced]

    async def _commit(self, *, rest: bool) -> bool:
        """False if there is mail, so that it cannot rest."""
        entries = tuple(self._entries(rest=rest))
        with self._gate.stage("append"):
            result = await self._store.append(Write(self._tenant, entries, fence=self._fence, expect=self._expect))
        if not isinstance(result, Appended):
            heard(result, self._run.id)
            # somebody else told the outcome first (a person settled it, another look found it out): theirs counts
            self._pending = [e for e in self._pending if e.kind != "outcome"]
            moved, self._expect = self._expect, None
            assert moved is not None
            self._events += await stands(self._store, self._tenant, moved[0])
            return False
        self._committed(result)
        return not result.more

    def _committed(self, result: Appended) -> None:
        self._before = self._run.state
        self._pending, self._expect = [], None
        self._took, self._went, self._why = [], [], []
        self._changed = False
        self._more = self._more or result.more
        if result.woke:
            self._triggers.wake()

    async def stick(self, why: str) -> bool:
        """Put on record that a leg cannot be done, so that a person sees it. False if a person's word came meanwhile.

        The mail that it failed on is laid aside, so that what the person then says is heard. A retry looks anew at every
        request that is awaited and sets the times again; a signal that was laid aside must be sent once more.
        """
        state = self._run.state
        told = {"name": INTERNAL, "text": why, "step": ""}
        self._run = self._run.changed(state=msgspec.structs.replace(state, status=RunStatus.STUCK, error=told))
        aside = [m.ref for m in self._mail if m.body["kind"] != "told"]
        text = f"{why} ({len(aside)} pieces of mail laid aside)" if aside else why
        task = stuck_task(self._program, self._run, text)
        now = self._gate.clock.now()
        self._pending, self._expect = [task_opened(self._run, task, at=now, release=self._release)], None
        self._took = aside
        self._went.append(Went("", "failed", INTERNAL, text))
        return await self._commit(rest=True)
