"""Journeys as services: start, look, steer, switch, migrate; signals in, tasks answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cxplane.domain.errors import Conflict, Forbidden, Malformed, NotFound, StoreError
from cxplane.domain.journey import Journey
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import Appended, Entry, NewEntry, Write, subject_of
from cxplane.domain.run import Run, RunRow, RunStatus, TaskRow, Told, state_from
from cxplane.domain.run_entries import run_told, task_answered
from cxplane.domain.values import Json, JsonObject, derived_id, new_id
from cxplane.domain.views import RunView
from cxplane.journeys.advance import advance
from cxplane.journeys.draw import definition, path
from cxplane.journeys.program import Program
from cxplane.journeys.serverless import export
from cxplane.journeys.timeline import timeline
from cxplane.loop.access import may, must, must_speak_for, sees_record
from cxplane.loop.live import Live, Releases
from cxplane.loop.migrating import fates, known
from cxplane.loop.run_views import journey_view, run_view
from cxplane.loop.tasks import checked
from cxplane.loop.triggers import Signal, Triggers
from cxplane.ports.clock import Clock
from cxplane.ports.store import Store

STEERING = ("suspend", "resume", "cancel", "retry", "skip", "move", "fail")
TOGETHER = 200  # entries that share a commit


class Journeys:
    def __init__(self, tenant: str, store: Store, releases: Releases, clock: Clock, triggers: Triggers) -> None:
        self._tenant, self._store, self._releases, self._clock = tenant, store, releases, clock
        self._triggers = triggers

    # definitions ----------------------------------------------------------------------------------------

    async def all(self) -> list[JsonObject]:
        live = self._releases.need()
        counts = await self._store.runs.counts(self._tenant)
        return [journey_view(p.journey, live.release.hash, counts) for p in live.programs.values()]

    async def one(self, name: str) -> JsonObject:
        live = self._releases.need()
        counts = await self._store.runs.counts(self._tenant)
        return journey_view(self._program(live, name).journey, live.release.hash, counts, whole=True)

    def picture_of(self, name: str) -> str:
        return definition(self._program(self._releases.need(), name).journey)

    def serverless(self, name: str) -> JsonObject:
        return export(self._program(self._releases.need(), name).journey)

    def _program(self, live: Live, name: str) -> Program:
        program = live.programs.get(name)
        if program is None:
            known = ", ".join(sorted(live.programs)) or "none"
            which = "the live release" if live is self._releases.live else f"release {live.release.hash[:12]}"
            raise NotFound(f"{which} has no journey {name!r}", next=f"Its journeys: {known}.")
        return program

    # runs -----------------------------------------------------------------------------------------------

    async def start(
        self,
        caller: Caller,
        journey: str,
        input: JsonObject,
        *,
        customer: str | None = None,
        conversation: str | None = None,
        id: str | None = None,
    ) -> RunView:
        """The same id again gives the same run. Conflict where one of the same key is under way."""
        live = self._releases.need()
        must(live, caller, "journeys")
        run = id or new_id("run")
        if id is not None and (known := await self._store.runs.get(self._tenant, id)) is not None:
            row = known[0]
            if (row.journey, known[1], row.customer, row.conversation) != (journey, input, customer, conversation):
                raise Conflict(
                    "this idempotency key was used to start something else",
                    next="Send the same body again, or use a fresh idempotency key.",
                )
            return replace(await self._view(caller, run), repeated=True)
        if customer is not None and await self._store.customer(self._tenant, customer) is None:
            raise Malformed(
                "no such customer is known", where="/customer", next="PUT /v1/customers/{id} makes one known."
            )
        _, repeated = await self._triggers.start(
            live, journey, input, id=run, by=caller.name, customer=customer, conversation=conversation
        )
        return replace(await self._view(caller, run), repeated=repeated)

    async def listed(
        self, caller: Caller, *, stuck: bool = False, **filters: Any
    ) -> tuple[Sequence[RunRow], str | None]:
        """Newest first. `stuck`: those that a person must free."""
        live = self._releases.need()
        if not (may(live, caller, "journeys") or sees_record(live, caller)):
            raise Forbidden(
                "you may not list runs", next="A role of yours must stand under access.journeys in plane.yaml."
            )
        if stuck:
            filters["status"] = RunStatus.STUCK
        return await self._store.runs.list(self._tenant, **filters)

    async def show(self, caller: Caller, id: str) -> RunView:
        row = await self._row(id)
        self._sees(caller, row)
        return await self._view(caller, id)

    async def timeline(self, caller: Caller, id: str) -> list[dict[str, Any]]:
        row = await self._row(id)
        self._sees(caller, row)
        entries = await self._entries(id)
        before = {e.release for e in entries if e.kind == "run.advanced" and e.release} - {row.release}
        found = {release: await self._journey(replace(row, release=release)) for release in sorted(before)}
        return timeline(await self._journey(row), entries, {release: one for release, one in found.items() if one})

    async def picture(self, caller: Caller, id: str) -> str:
        found = await self._store.runs.get(self._tenant, id)
        if found is None:
            raise NotFound(f"no run {id}")
        row, _, state = found
        self._sees(caller, row)
        went = [
            (step[0], step[1], entry.at)
            for entry in await self._store.stream(self._tenant, id)
            if entry.kind == "run.advanced"
            for step in entry.body.get("went", ())
        ]
        live = await self._releases.at(row.release)
        return path(self._program(live, row.journey).journey, state_from(state or {}), went)

    async def _journey(self, row: RunRow) -> Journey | None:
        try:
            program = (await self._releases.at(row.release)).programs.get(row.journey)
        except StoreError:
            return None
        return program.journey if program else None

    async def _entries(self, id: str) -> list[Entry]:
        """Of the run and of everything that it asked for, in the order of the record."""
        found = list(await self._store.stream(self._tenant, id))
        for request in await self._store.runs.requests(self._tenant, id):
            found += await self._store.stream(self._tenant, request)
        return sorted(found, key=lambda e: e.position)

    async def _row(self, id: str) -> RunRow:
        found = await self._store.runs.get(self._tenant, id)
        if found is None:
            raise NotFound(f"no run {id}")
        return found[0]

    def _sees(self, caller: Caller, row: RunRow) -> None:
        live = self._releases.need()
        if row.started_by != caller.name and not (may(live, caller, "journeys") or sees_record(live, caller)):
            raise Forbidden(
                "this run was started by somebody else",
                next="A role of yours must stand under access.journeys or access.record in plane.yaml.",
            )

    async def _view(self, caller: Caller, id: str) -> RunView:
        found = await self._store.runs.get(self._tenant, id)
        if found is None:
            raise NotFound(f"no run {id}")
        row, input, state = found
        tasks, _ = await self._store.runs.tasks(self._tenant, run=id, status="open", limit=100)
        return run_view(
            row,
            input,
            state_from(state or {}),
            await self._journey(row),
            tasks,
            whole=sees_record(self._releases.need(), caller),
        )

    # steering -------------------------------------------------------------------------------------------

    async def steer(
        self,
        caller: Caller,
        id: str,
        what: str,
        *,
        step: str | None = None,
        compensate: bool = True,
        comment: str = "",
    ) -> RunView:
        """Tell a run what to do. It is done by the next leg; what cannot be is said in its timeline."""
        must(self._releases.need(), caller, "journeys")
        found = await self._store.runs.get(self._tenant, id)
        if found is None:
            raise NotFound(f"no run {id}")
        row, _, state = found
        self._steerable(row, what)
        if what not in STEERING:
            raise Malformed(f"a run cannot be told to {what!r}", next=f"One of {', '.join(STEERING)}.")
        journey = await self._journey(row)
        if journey is not None and step is not None and step not in {s.name for s in journey.walk()}:
            raise Malformed(f"{row.journey} has no step {step!r}", where="/step")
        if state is not None and (objection := await self._objection(row, state, what, step, caller)):
            raise Conflict(objection, next="See what frees the run: cxplane runs show.")
        await self._tell(
            run_told(
                id,
                what=what,
                by=caller.name,
                at=self._clock.now(),
                subject=subject_of(row.customer, row.conversation),
                comment=comment,
                step=step,
                compensate=None if compensate else False,
            )
        )
        return await self._view(caller, id)

    async def _objection(
        self, row: RunRow, state: JsonObject, what: str, step: str | None, caller: Caller
    ) -> str | None:
        """Why it cannot be done, tried on the state as it stands."""
        live = await self._releases.at(row.release)
        run = Run(
            row.id, self._tenant, row.journey, row.release, row.started_at, {}, row.customer, state=state_from(state)
        )
        try:
            advance(self._program(live, row.journey), run, Told(what, by=caller.name, step=step), self._clock.now())
        except ValueError as problem:
            return str(problem)
        return None

    def _steerable(self, row: RunRow, what: str) -> None:
        if RunStatus(row.status).final:
            raise Conflict(
                f"run {row.id} is {row.status}", next="A run that has ended cannot be changed; start another."
            )

    async def _tell(self, entry: NewEntry) -> None:
        result = await self._store.append(Write(self._tenant, (entry,)))
        if isinstance(result, Appended) and result.woke:
            self._triggers.wake()

    async def switch(
        self, caller: Caller, id: str, to: str, *, input: JsonObject | None = None, comment: str = ""
    ) -> RunView:
        """Go on with another journey: it starts with the input of this one (or the one given), and this one is cancelled as it stands."""
        live = self._releases.need()
        must(live, caller, "journeys")
        found = await self._store.runs.get(self._tenant, id)
        if found is None:
            raise NotFound(f"no run {id}")
        row, before, _ = found
        new = derived_id("run", self._tenant, "switch", id)  # one of a run, whatever the journey: the first word counts
        switched = await self._store.runs.get(self._tenant, new)
        if switched is None:
            self._steerable(row, "switch")
            ended = run_told(
                id,
                what="cancel",
                by=caller.name,
                at=self._clock.now(),
                subject=subject_of(row.customer, row.conversation),
                comment=comment,
                compensate=False,
                switched_to=new,
            )
            _, repeated = await self._triggers.start(
                live,
                to,
                before if input is None else input,
                id=new,
                by=caller.name,
                customer=row.customer,
                conversation=row.conversation,
                cause=id,
                along=(ended,),
            )
            switched = await self._store.runs.get(self._tenant, new) if repeated else None
        if switched is not None and switched[0].journey != to:
            raise Conflict(
                f"run {id} was switched to {switched[0].journey} already: {new}",
                next=f"Go on with run {new}, or switch that.",
            )
        return await self._view(caller, new)

    async def migrate(
        self,
        caller: Caller,
        journey: str,
        *,
        from_: str,
        to: str,
        positions: Mapping[str, str],
        apply: bool = False,
    ) -> JsonObject:
        """What would happen to each run of that journey on release `from_`; with `apply`, those that can go to `to` do."""
        must(self._releases.need(), caller, "journeys")
        old_hash, new_hash = await self._releases.named(from_), await self._releases.named(to)
        if old_hash == new_hash:
            what = f"from and to are the same release, {old_hash[:12]}"
            hint = f"Release the change, wait two seconds; on which runs are: `cxplane journeys show {journey}`."
            raise Malformed(what, where="/from", next=hint)
        old = self._program(await self._releases.at(old_hash), journey)
        new = self._program(await self._releases.at(new_hash), journey)
        known(positions, old, new)
        found = await fates(self._store.runs, self._tenant, old_hash, old, new, positions)
        going = found.going() if apply else []
        for start in range(0, len(going), TOGETHER):
            await asyncio.gather(
                *(
                    self._tell(
                        run_told(
                            id,
                            what="migrate",
                            by=caller.name,
                            at=self._clock.now(),
                            subject=None,  # nothing in it is private
                            release=new_hash,
                            positions=dict(positions) or None,
                        )
                    )
                    for id in going[start : start + TOGETHER]
                )
            )
        return {
            "journey": journey,
            "from": old_hash,
            "to": new_hash,
            **found.told(),
            "moved": len(going),
        }

    # signals and tasks ----------------------------------------------------------------------------------

    async def signal(
        self,
        caller: Caller,
        *,
        type: str,
        source: str,
        id: str,
        key: str,
        data: Json,
        customer: str | None = None,
    ) -> JsonObject:
        live = self._releases.need()
        must(live, caller, "signals")
        must_speak_for(live, caller, source)
        told = await self._triggers.accept(
            live, Signal(type, source, id, key, data, self._clock.now()), by=caller.name, customer=customer
        )
        if told.repeated:
            await self._same(told.id, type, key, data)
        return {
            "id": told.id,
            "repeated": told.repeated,
            "runs_started": list(told.started),
            "runs_reached": told.reached,
        }

    async def _same(self, signal: str, type: str, key: str, data: Json) -> None:
        """Conflict where the signal on record says something else: it would seem taken, and never be heard."""
        for entry in await self._store.stream(self._tenant, signal):
            kept = entry.private or {}
            other = (entry.body.get("type"), entry.body.get("key")) != (type, key) or kept.get("data", data) != data
            if entry.kind == "signal" and other:
                raise Conflict(
                    "a signal of this source and id is on record, and says something else",
                    next="Send the same event again, or give this one an id of its own.",
                )

    async def tasks(
        self,
        caller: Caller,
        *,
        team: str | None = None,
        status: str | None = "open",
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[TaskRow], str | None]:
        """Of the caller's own team; of any team for who sees the record."""
        if not sees_record(self._releases.need(), caller):
            if team not in (None, caller.team):
                raise Forbidden(f"the tasks of {team} are for {team}", next="Ask for those of your own team.")
            if caller.team is None:
                return [], None
            team = caller.team
        return await self._store.runs.tasks(self._tenant, team=team, status=status, cursor=cursor, limit=limit)

    async def task(self, caller: Caller, id: str) -> TaskRow:
        row = await self._store.runs.task(self._tenant, id)
        if row is None:
            raise NotFound(f"no task {id}")
        if not (self._theirs(caller, row) or sees_record(self._releases.need(), caller)):
            raise Forbidden(f"this task is for {row.team}", next=f"Ask somebody of {row.team}.")
        return row

    async def answer(self, caller: Caller, id: str, answer: JsonObject, *, comment: str = "") -> TaskRow:
        """A person of the team answers. The first answer counts; the same one again is the same."""
        row = await self.task(caller, id)
        if caller.kind is not CallerKind.PERSON:
            raise Forbidden("only a person answers a task", next="Sign in as a person of the team.")
        if not self._theirs(caller, row):
            raise Forbidden(f"this task is for {row.person or row.team}", next=f"Ask somebody of {row.team}.")
        if row.status != "open":
            if row.answered_by == caller.name and row.answer == answer:
                return row
            raise Conflict(f"the task is {row.status} already", next="Look at it to see how it ended.")
        said = checked(row, answer)
        if row.what == "stuck":
            step = None if said["do"] in ("cancel", "fail") else row.step or None
            await self.steer(caller, row.run, str(said["do"]), step=step, comment=comment)
        about = await self._row(row.run)
        entry = task_answered(
            id,
            row.run,
            by=caller.name,
            how="answered",
            answer=said,
            at=self._clock.now(),
            subject=subject_of(about.customer, about.conversation),
            comment=comment,
        )
        await self._tell(entry)
        row = await self.task(caller, id)
        if row.what != "stuck" and (row.answered_by != caller.name or row.answer != said):
            raise Conflict("somebody was faster, and their answer counts", next="Look at the task to see how it ended.")
        return row

    def _theirs(self, caller: Caller, task: TaskRow) -> bool:
        if task.person is not None and not task.escalated:
            return caller.kind is CallerKind.PERSON and caller.id == task.person
        return caller.team == task.team
