"""What sets runs going: a caller, a signal, another run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cxplane.domain.customer import Situation
from cxplane.domain.errors import Conflict, ExpressionError, Malformed, NotFound
from cxplane.domain.record import (
    Appended,
    AppendResult,
    Fence,
    Mail,
    NewEntry,
    NewRun,
    RunTaken,
    SignalTaken,
    TakenRun,
    Write,
)
from cxplane.domain.run import Run, RunRow, RunStatus, SendSignal, StartRun
from cxplane.domain.run_entries import run_started, signal_entry
from cxplane.domain.values import Json, JsonObject, canonical, derived_id, digest
from cxplane.journeys.program import Program
from cxplane.loop.at_hand import AtHand
from cxplane.loop.lineage import OUTSIDE, Lineage, in_bounds, lineage
from cxplane.loop.live import Live, Releases
from cxplane.ports.clock import Clock
from cxplane.ports.store import Store
from cxplane.ports.work import Work


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that happened. `source` and `id` tell it apart from all others; `key` says whom it concerns."""

    type: str
    source: str
    id: str
    key: str
    data: Json
    at: datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    id: str
    repeated: bool
    started: tuple[str, ...] = ()  # runs
    reached: int = 0  # runs that listened for it


class Triggers:
    def __init__(
        self, tenant: str, store: Store, releases: Releases, clock: Clock, work: Work, at_hand: AtHand
    ) -> None:
        self._tenant, self._store, self._releases, self._clock, self._work = tenant, store, releases, clock, work
        self._at_hand = at_hand

    def wake(self) -> None:
        """Tell the workers, after the commit. They would see it by themselves a little later."""
        self._work.wake()

    async def start(
        self,
        live: Live,
        journey: str,
        input: JsonObject,
        *,
        id: str,
        by: str,
        customer: str | None,
        conversation: str | None = None,
        cause: str | None = None,
        along: tuple[NewEntry, ...] = (),
    ) -> tuple[str, bool]:
        """(run, repeated). NotFound, Malformed (input), Conflict (another run of the same key is under way).

        `along`: entries that go on record with the start, or not at all.
        """
        entry, new = self._started(
            live, journey, input, id=id, by=by, customer=customer, conversation=conversation, cause=cause
        )
        result = await self._begin(Write(self._tenant, (entry, *along), new_run=new))
        if isinstance(result, RunTaken):
            if result.run != id:
                raise Conflict(
                    f"a run of {journey} with the same key is under way: {result.run}",
                    next=f"Look at run {result.run}; start another one when it has ended.",
                )
            return id, True
        return id, False

    async def _begin(self, write: Write, known: Situation | None = None) -> AppendResult:
        """What starts a run: begun with here and now if there is room, else by whoever takes it from the queue.

        `known`: of its customer.
        """
        new = write.new_run
        if new is None or not self._at_hand.room():
            result = await self._store.append(write)
        else:
            epoch = secrets.randbits(53)
            with self._at_hand.starting(new.id):
                result = await self._store.append(write.changed(new_run=new.changed(at_hand=epoch)))
                if isinstance(result, Appended):
                    self._at_hand.begin(_taken(write, result, epoch, known))
        if isinstance(result, Appended) and result.woke:
            self.wake()
        return result

    def _started(
        self,
        live: Live,
        journey: str,
        input: JsonObject,
        *,
        id: str,
        by: str,
        customer: str | None,
        conversation: str | None = None,
        parent: str | None = None,
        cause: str | None = None,
        comes: Lineage = OUTSIDE,
    ) -> tuple[NewEntry, NewRun]:
        program = live.programs.get(journey)
        if program is None:
            known = ", ".join(sorted(live.programs)) or "none"
            raise NotFound(f"the live release has no journey {journey!r}", next=f"Journeys: {known}.")
        _fits(live, journey, input)
        if program.journey.needs_customer and customer is None:
            raise Malformed(f"{journey} is about a customer: name one", where="/customer")
        key = key_of(program, input)
        entry = run_started(
            id,
            journey=journey,
            key=key,
            customer=customer,
            conversation=conversation,
            input=input,
            started_by=by,
            at=self._clock.now(),
            release=live.release.hash,
            parent=parent,
            cause=cause,
            depth=comes.depth,
            root=comes.root,
        )
        return entry, NewRun(id, journey, key)

    async def accept(
        self,
        live: Live,
        signal: Signal,
        *,
        by: str,
        customer: str | None = None,
        starting: bool = True,
        sender: Run | None = None,
    ) -> Accepted:
        """A signal: it starts what begins with it, reaches who listens, or waits for who will. The same one twice is one.

        `sender`: the run that sends it.
        """
        comes = OUTSIDE
        if starting and signal.type in live.starts:
            comes = await lineage(self._store, self._tenant, sender)
        id = derived_id("sig", self._tenant, signal.source, signal.id)
        try:
            starts = list(self._starts(live, signal, id, by, customer, comes)) if starting else []
            known = await self._known(starts)
        except (Malformed, NotFound):
            if await self._on_record(
                id
            ):  # it was fine when it came: the customer was erased since, or the journey changed
                return Accepted(id, True)
            raise
        entry = signal_entry(
            id,
            type=signal.type,
            source=signal.source,
            id=signal.id,
            key=signal.key,
            data=signal.data,
            at=self._clock.now(),
            actor=by,
            subject=await self._whose(signal, customer, starts),
            cause=None if sender is None else sender.id,
        )
        noted: dict[str, Json] = {"keep": True} if signal.type in live.listened else {}
        if starts:
            noted["starts"] = [new.journey for _, new in starts]
        entry = entry.changed(body={**entry.body, **noted})
        started: list[str] = []
        # a run that is on record without its signal does no harm; a signal without its run would be lost
        for begun, new in starts[1:]:
            result = await self._begin(
                Write(self._tenant, (begun,), new_run=new, reservations=comes.takes),
                known.get(begun.body.get("customer")),
            )
            in_bounds(result, sender)
            started += [new.id] if isinstance(result, Appended) else []
        first = starts[0] if starts else None
        entries = (entry, first[0]) if first else (entry,)
        takes = comes.takes if first else ()
        write = Write(self._tenant, entries, new_signal=id, new_run=first[1] if first else None, reservations=takes)
        result = await self._begin(write, known.get(first[0].body.get("customer")) if first else None)
        in_bounds(result, sender)
        if isinstance(result, RunTaken):  # its key is under way: the signal still reaches who listens
            result = await self._begin(Write(self._tenant, (entry,), new_signal=id))
        elif isinstance(result, Appended) and first:
            started.insert(0, first[1].id)
        if isinstance(result, SignalTaken):
            return Accepted(id, True)
        reached = result.reached - (1 if first and first[1].id in started else 0) if isinstance(result, Appended) else 0
        return Accepted(id, False, tuple(started), max(0, reached))

    async def _on_record(self, id: str) -> bool:
        return any(entry.kind == "signal" for entry in await self._store.stream(self._tenant, id))

    async def _whose(
        self, signal: Signal, customer: str | None, starts: Sequence[tuple[NewEntry, NewRun]]
    ) -> str | None:
        """The one customer whom a signal is about, as far as that can be told: None if there is none, or more than one."""
        if customer is not None or signal.data is None:
            return customer
        about = {entry.subject for entry, _ in starts} or set(
            await self._store.runs.listeners(self._tenant, signal.type, signal.key)
        )
        return next(iter(about)) if len(about) == 1 else None

    async def _known(self, starts: Sequence[tuple[NewEntry, NewRun]]) -> Mapping[str | None, Situation]:
        """Of each customer. Malformed where a run would be about one that nobody knows: it could only get stuck."""
        known: dict[str | None, Situation] = {}
        about = {entry.body.get("customer"): new.journey for entry, new in starts}
        for customer, journey in about.items():
            if customer is None:
                continue
            # asked together with what judging asks at the same moment
            known[customer] = await self._store.situation(self._tenant, customer, None)
            if known[customer].customer is None:
                raise Malformed(
                    f"the signal starts {journey} for a customer that is not known",
                    where="/data",
                    next="PUT /v1/customers/{id} makes one known; then send the same signal again.",
                )
        return known

    def _starts(
        self, live: Live, signal: Signal, id: str, by: str, customer: str | None, comes: Lineage
    ) -> Sequence[tuple[NewEntry, NewRun]]:
        found = []
        told = {
            "type": signal.type,
            "key": signal.key,
            "data": signal.data,
            "source": signal.source,
            "id": signal.id,
        }
        for starting in live.starts.get(signal.type, ()):
            try:
                begins = starting.begins(told, self._clock.now())
            except ExpressionError as problem:
                raise Malformed(
                    f"the signal starts {starting.journey}, but its data does not fit: {problem.why} in {problem.text!r}",
                    where="/data",
                    next="Send what the journey's `start` reads, or mend it in journey.yaml.",
                ) from None
            for begin in begins:
                run = derived_id("run", self._tenant, starting.journey, id)
                whom = begin.customer or customer
                found.append(
                    self._started(
                        live, starting.journey, begin.input, id=run, by=by, customer=whom, cause=id, comes=comes
                    )
                )
        return found

    async def emit(self, run: Run, sent: SendSignal) -> str | None:
        """A signal that a run sends. The same one again is nothing. The words, if a journey could not start from it:
        who listens is reached all the same. Runaway where it would start one run too many."""
        signal = Signal(sent.signal, f"journey:{run.journey}", sent.id, sent.key, dict(sent.data), self._clock.now())
        live, by = self._releases.need(), f"journey:{run.journey}"
        try:
            await self.accept(live, signal, by=by, customer=run.customer, sender=run)
        except Malformed as problem:
            await self.accept(live, signal, by=by, starting=False, sender=run)
            return str(problem)
        return None

    async def start_child(self, run: Run, wanted: StartRun) -> None:
        """A journey that a run starts, on the release of that run. Conflict and Malformed become errors of the step; Runaway."""
        live = await self._releases.at(run.release)
        comes = await lineage(self._store, self._tenant, run)
        entry, new = self._started(
            live,
            wanted.journey,
            wanted.input,
            id=wanted.run,
            by=f"journey:{run.journey}",
            customer=run.customer,
            conversation=run.conversation,
            parent=run.id if wanted.wait else None,
            cause=run.id,
            comes=comes,
        )
        result = await self._begin(Write(self._tenant, (entry,), new_run=new, reservations=comes.takes))
        in_bounds(result, run)
        if isinstance(result, RunTaken) and result.run != wanted.run:
            raise Conflict(
                f"a run of {wanted.journey} with the same key is under way: {result.run}",
                next="Wait for its end, then try the step again.",
            )


def _taken(write: Write, result: Appended, epoch: int, known: Situation | None) -> TakenRun:
    """The run that a write has started and taken, as the store would tell it."""
    new = write.new_run
    assert new is not None
    position, entry = next(
        (p, e) for p, e in zip(result.positions, write.entries, strict=True) if e.kind == "run.started"
    )
    body = entry.body
    assert entry.release is not None
    row = RunRow(
        id=new.id,
        journey=new.journey,
        release=entry.release,
        status=RunStatus.READY,
        started_at=entry.at,
        updated_at=entry.at,
        started_by=entry.actor,
        customer=body.get("customer"),
        conversation=body.get("conversation"),
        key=new.key,
        parent=body.get("parent"),
    )
    return TakenRun(
        fence=Fence(new.id, epoch),
        before=0,
        row=row,
        input=(entry.private or {}).get("input", {}),
        state=None,
        mail=(Mail(f"p{position}", {"kind": "started"}),),
        known=known if row.conversation is None else None,
    )


def key_of(program: Program, input: Mapping[str, Json]) -> str | None:
    names = program.journey.key
    if not names:
        return None
    values = [input.get(name) for name in names]
    text = canonical(values).decode()
    return text if len(text) <= 200 else digest(values)


def _fits(live: Live, journey: str, input: JsonObject) -> None:
    try:
        digest(dict(input))
    except ValueError as problem:
        raise Malformed(f"the input is not plain JSON: {problem}", where="/input") from None
    for reason in live.inputs[journey].wrong(input):
        raise Malformed(f"{journey}: {reason.text}", where=f"/input{reason.where or ''}")


__all__ = ["Accepted", "Signal", "Triggers", "key_of"]
