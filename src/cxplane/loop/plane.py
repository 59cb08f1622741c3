"""The plane: one object that every edge calls. It holds no rule of its own; the stages do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cxplane.decide.rulebook import Rulebook
from cxplane.domain.entries import outcome_entry
from cxplane.domain.erasure import CustomerErased, Left
from cxplane.domain.errors import CallerUnknown, Conflict, Forbidden, NotFound
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import Appended, Entry, RequestRow, Write, subject_of
from cxplane.domain.release import Release, ReleaseInfo
from cxplane.domain.run import RunRow, TaskRow
from cxplane.domain.values import JsonObject, derived_id
from cxplane.domain.views import ActionView, Ask, Check, RequestView, RunView
from cxplane.loop.access import must, sees_record, within
from cxplane.loop.approvals import Approvals
from cxplane.loop.at_hand import AtHand
from cxplane.loop.background import CONCURRENCY, Background
from cxplane.loop.customers import Customers
from cxplane.loop.erasing import Erasing
from cxplane.loop.explaining import Explained, Explaining
from cxplane.loop.gate import Gate
from cxplane.loop.governance import Governance
from cxplane.loop.health import Health
from cxplane.loop.legs import Legs
from cxplane.loop.live import Live, OpenRelease, Releases, Systems
from cxplane.loop.proving import Proving
from cxplane.loop.reading import Reading
from cxplane.loop.replays import Replayed, Replays
from cxplane.loop.runs import Journeys
from cxplane.loop.sealer import EVERY, Sealer
from cxplane.loop.taking_back import taking_back
from cxplane.loop.triggers import Triggers
from cxplane.ports.clock import Clock
from cxplane.ports.identity import Identity
from cxplane.ports.seal import Signer
from cxplane.ports.store import Store
from cxplane.ports.telemetry import Telemetry
from cxplane.ports.work import Work

DRAIN_S = 10.0


class Plane:
    """`start()` it, ask it, `stop()` it."""

    def __init__(
        self,
        *,
        tenant: str,
        store: Store,
        systems: Systems,
        open_release: OpenRelease,
        clock: Clock,
        telemetry: Telemetry,
        identity: Identity,
        work: Work,
        works: bool = True,
        concurrency: int = CONCURRENCY,
        lease: timedelta = timedelta(seconds=10),
        sealer: Sealer | None = None,
        seal_every: timedelta = EVERY,
        signers: Sequence[Signer] = (),
    ) -> None:
        self.tenant, self.store, self.clock, self.telemetry = tenant, store, clock, telemetry
        self.identity, self.sealer = identity, sealer
        self.live = Releases(store, tenant, open_release, systems)
        self.gate = Gate(tenant, store, self.live, clock, telemetry)
        self.reading = Reading(tenant, store, self.live)
        self.desk = Approvals(self.gate)
        self.people = Customers(tenant, store, self.live, clock)
        self.erasing = Erasing(tenant, store, self.live, clock)
        self.governance = Governance(tenant, store, self.live)
        at_hand = AtHand(tenant, store, lease, concurrency, work.wake)
        self.triggers = Triggers(tenant, store, self.live, clock, work, at_hand)
        self.replays = Replays(tenant, store, self.live)
        self.journeys = Journeys(tenant, store, self.live, clock, self.triggers)
        self.explaining = Explaining(tenant, store, self.live, self.journeys, self.replays)
        self.proving = Proving(tenant, store, self.live, clock, self.explaining, signers)
        self._background = Background(
            self.gate,
            self.desk,
            Legs(self.gate, self.triggers, lease),
            at_hand,
            work,
            self.erasing,
            works=works,
            sealer=sealer,
            seal_every=seal_every,
            concurrency=concurrency,
        )
        self.health = Health(store, self.live, systems, self._background, telemetry, sealer)

    # life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self.live.follow()
        self._background.start()

    async def stop(self) -> None:
        """Ends background work, lets what has begun come to an end."""
        await self._background.stop()
        await self.reading.aclose()
        await self.gate.drain(DRAIN_S)

    def drain(self) -> None:
        """From now on not ready; what comes all the same is still answered."""
        self.health.draining = True

    async def checks(self, caller: Caller) -> list[Check]:
        must(self.live.need(), caller, "record")
        return await self.health.checks()

    @property
    def seal_trouble(self) -> str | None:
        """What is wrong with the seal of the record, for people; None while all is well, or nothing is sealed here."""
        return self.sealer.trouble if self.sealer is not None else None

    @property
    def rulebook(self) -> Rulebook | None:
        return self.live.live.rulebook if self.live.live else None

    @property
    def release(self) -> Release | None:
        return self.live.live.release if self.live.live else None

    def caller(self, name: str) -> Caller:
        """The party of that name in the live release. CallerUnknown if there is none."""
        found = self.live.need().release.repo.caller(name)
        if found is None:
            raise CallerUnknown(
                f"nobody is called {name!r} in the live release", next="Add them under people/ or agents/, and release."
            )
        return found

    # requests --------------------------------------------------------------------------------------

    async def ask(self, caller: Caller, ask: Ask) -> RequestView:
        within(caller, ask.action)
        return await self.gate.ask(caller, ask)

    async def request(self, caller: Caller, id: str) -> RequestView:
        await self._entries_of(caller, id)
        return await self.gate.stands(id)

    async def requests(
        self,
        caller: Caller,
        *,
        status: str | None = None,
        action: str | None = None,
        customer: str | None = None,
        caller_name: str | None = None,
        verdict: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[RequestRow], str | None]:
        """Newest first; only the caller's own, without the permission to see the record."""
        if not sees_record(self.live.need(), caller):
            if caller_name not in (None, caller.name):
                raise Forbidden("you may see your own requests only")
            caller_name = caller.name
        return await self.store.requests(
            self.tenant,
            status=status,
            action=action,
            customer=customer,
            caller=caller_name,
            verdict=verdict,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
        )

    async def explain(self, caller: Caller, id: str) -> Explained:
        """Everything that led to a decision and followed from it; `id` of a request, approval, run or task."""
        return await self.explaining.explain(caller, id)

    async def replay(self, caller: Caller, id: str, *, release: str | None = None) -> Replayed:
        """The decisions on a request once more, from the record alone; under another `release` for who sees the record."""
        request = await self.explaining.request_of(caller, id)
        return Replayed(await self.replays.one(request, await self._other(caller, release)))

    async def replay_many(
        self, caller: Caller, *, release: str | None = None, **page: Any
    ) -> tuple[Sequence[JsonObject], str | None]:
        """A page of requests, newest first, each with its decisions made once more. `page`: as for `requests`."""
        other = await self._other(caller, release)
        rows, more = await self.requests(caller, **page)
        return [await self.replays.one(row.id, other) for row in rows if row.verdict is not None], more

    async def _other(self, caller: Caller, release: str | None) -> Live | None:
        if release is None:
            return None
        must(self.live.need(), caller, "record")
        return await self.live.at(await self.live.named(release))

    async def undo(self, caller: Caller, id: str, *, reason: str = "") -> RequestView:
        """Take a done request back, by the action its catalog entry names: a request like any other."""
        entries = await self._entries_of(caller, id)
        live = self.live.need()
        fresh = derived_id("req", self.tenant, "undo", id, caller.name)
        request = taking_back(live, entries, caller, id=fresh, at=self.clock.now(), reason=reason)
        within(caller, request.action)
        if await self.store.request(self.tenant, request.id):
            return await self.gate.stands(request.id, repeated=True)
        return await self.gate.settle(live, await self.gate.judged(live, request))

    async def settle(self, caller: Caller, id: str, *, done: bool, comment: str) -> RequestView:
        """A person who looked into the system says how a stuck request ended."""
        live = self.live.need()
        must(live, caller, "record")
        if caller.kind is not CallerKind.PERSON:
            raise Forbidden("only a person settles what nobody could find out")
        row = await self.store.request(self.tenant, id)
        if row is None:
            raise NotFound(f"no request {id}")
        if row.status not in (Status.STUCK, Status.UNKNOWN):
            raise Conflict(f"request {id} is {row.status}", next="Only a stuck or unknown request is settled by hand.")
        outcome = Outcome(
            request=id,
            status=Status.DONE if done else Status.FAILED,
            at=self.clock.now(),
            confirmed_by=caller.name,
            error=None if done else "a person found that it was not done",
        )
        action = live.rulebook.action(row.action)
        entry = outcome_entry(
            outcome,
            release=row.release or live.release.hash,
            subject=subject_of(row.customer, row.conversation),
            data=action.data if action else (),
            actor=caller.name,
            comment=comment,
        )
        result = await self.store.append(Write(self.tenant, (entry,), expect=(id, row.status)))
        if not isinstance(result, Appended):
            raise Conflict(f"request {id} was settled by now", next="Look at it again.")
        return await self.gate.stands(id)

    async def _entries_of(self, caller: Caller, id: str) -> Sequence[Entry]:
        row = await self.store.request(self.tenant, id)
        if row is None:
            raise NotFound(f"no request {id}")
        if row.caller != caller.name and not sees_record(self.live.need(), caller):
            raise Forbidden(
                "this request is somebody else's", next="A role under access.record in plane.yaml may see it."
            )
        return await self.store.stream(self.tenant, id)

    # governance and record ---------------------------------------------------------------------------

    async def actions(self, caller: Caller) -> list[ActionView]:
        return await self.governance.actions()

    async def action(self, caller: Caller, id: str) -> ActionView:
        return await self.governance.action(id)

    async def budgets(self, caller: Caller) -> list[JsonObject]:
        must(self.live.need(), caller, "record")
        return await self.governance.budgets()

    async def questions(self, caller: Caller) -> JsonObject:
        return await self.governance.questions()

    async def entries(
        self, caller: Caller, *, after: int = 0, kind: str | None = None, stream: str | None = None, limit: int = 100
    ) -> Sequence[Entry]:
        await self.reading.must_be_known(caller, after)
        return await self.store.entries(self.tenant, after=after, kind=kind, stream=stream, limit=limit)

    async def releases(self, caller: Caller) -> Sequence[ReleaseInfo]:
        return await self.store.releases(self.tenant)

    # journeys, runs, tasks, signals ------------------------------------------------------------------------

    async def start_run(self, caller: Caller, journey: str, input: JsonObject, **about: Any) -> RunView:
        return await self.journeys.start(caller, journey, input, **about)

    async def runs(self, caller: Caller, **filters: Any) -> tuple[Sequence[RunRow], str | None]:
        return await self.journeys.listed(caller, **filters)

    async def run(self, caller: Caller, id: str) -> RunView:
        return await self.journeys.show(caller, id)

    async def timeline(self, caller: Caller, id: str) -> list[dict[str, Any]]:
        return await self.journeys.timeline(caller, id)

    async def run_svg(self, caller: Caller, id: str) -> str:
        return await self.journeys.picture(caller, id)

    async def journey_svg(self, caller: Caller, name: str) -> str:
        return self.journeys.picture_of(name)

    async def all_journeys(self, caller: Caller) -> list[JsonObject]:
        return await self.journeys.all()

    async def journey(self, caller: Caller, name: str) -> JsonObject:
        return await self.journeys.one(name)

    async def journey_serverless(self, caller: Caller, name: str) -> JsonObject:
        return self.journeys.serverless(name)

    async def steer(self, caller: Caller, id: str, what: str, **how: Any) -> RunView:
        return await self.journeys.steer(caller, id, what, **how)

    async def switch(self, caller: Caller, id: str, to: str, **how: Any) -> RunView:
        return await self.journeys.switch(caller, id, to, **how)

    async def migrate(self, caller: Caller, journey: str, **how: Any) -> JsonObject:
        return await self.journeys.migrate(caller, journey, **how)

    async def signal(self, caller: Caller, **signal: Any) -> JsonObject:
        return await self.journeys.signal(caller, **signal)

    async def tasks(self, caller: Caller, **filters: Any) -> tuple[Sequence[TaskRow], str | None]:
        return await self.journeys.tasks(caller, **filters)

    async def task(self, caller: Caller, id: str) -> TaskRow:
        return await self.journeys.task(caller, id)

    async def answer(self, caller: Caller, id: str, answer: JsonObject, *, comment: str = "") -> TaskRow:
        return await self.journeys.answer(caller, id, answer, comment=comment)

    # people and customers ------------------------------------------------------------------------------

    async def approvals(self, caller: Caller, **filters: Any) -> Any:
        return await self.desk.list(caller, **filters)

    async def approval(self, caller: Caller, id: str) -> Any:
        return await self.desk.show(caller, id)

    async def approve(
        self, caller: Caller, id: str, *, comment: str = "", input: JsonObject | None = None
    ) -> RequestView:
        return await self.desk.approve(caller, id, comment=comment, input=input)

    async def reject(self, caller: Caller, id: str, *, comment: str) -> RequestView:
        return await self.desk.reject(caller, id, comment=comment)

    async def put_customer(self, caller: Caller, id: str, **changes: Any) -> Any:
        return await self.people.put(caller, id, **changes)

    async def customer(self, caller: Caller, id: str) -> Any:
        return await self.people.get(caller, id)

    async def customers(self, caller: Caller, **page: Any) -> Any:
        return await self.people.list(caller, **page)

    async def assure(self, caller: Caller, id: str, **proof: Any) -> Any:
        return await self.people.assure(caller, id, **proof)

    async def consent(self, caller: Caller, id: str, **said: Any) -> Any:
        return await self.people.consent(caller, id, **said)

    async def erase(self, caller: Caller, customer: str, *, reason: str = "") -> CustomerErased:
        return await self.erasing.erase(caller, customer, reason=reason)

    async def left_of(self, caller: Caller, customer: str) -> Left:
        return await self.erasing.left(caller, customer)

    async def hold(self, caller: Caller, customer: str, *, on: bool, reason: str = "") -> None:
        await self.erasing.hold(caller, customer, on=on, reason=reason)

    async def open_conversation(self, caller: Caller, **opened: Any) -> str:
        return await self.people.open_conversation(caller, **opened)

    async def record_fact(self, caller: Caller, conversation: str, **fact: Any) -> None:
        await self.people.record_fact(caller, conversation, **fact)
