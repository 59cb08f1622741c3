"""The store: one journal, its projections, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from cxplane.domain.customer import Customer, Situation
from cxplane.domain.erasure import CustomerErased, Left, UnderWay
from cxplane.domain.record import (
    ALL,
    AppendResult,
    ApprovalRow,
    BudgetUse,
    Entry,
    KeyRow,
    KeyTaken,
    Line,
    OpenIntent,
    RequestRow,
    TakenRun,
    Wanted,
    Write,
)
from cxplane.domain.release import ReleaseInfo
from cxplane.domain.retention import Retention
from cxplane.domain.run import RunRow, TaskRow
from cxplane.domain.values import JsonObject
from cxplane.ports.seal import Seals


@dataclass(frozen=True, slots=True)
class Figures:
    """What those who run the plane look at."""

    late_s: Mapping[str, float]  # intent | approval | timer | job -> how long the oldest that is due has been due
    runs: Mapping[str, int]  # status -> runs that have not ended
    jobs: Mapping[tuple[str, str], int]  # (kind, status) -> how many
    open_tasks: int


class RunStore(Protocol):
    """Runs, tasks, times to come. Who wants to change a run takes it first; what is written then carries its fence."""

    async def take(self, tenant: str, id: str) -> TakenRun | None:
        """Take a run over under a fresh epoch: whatever an earlier holder still wants to write is void. None if unknown."""
        ...

    async def get(self, tenant: str, id: str) -> tuple[RunRow, JsonObject, JsonObject | None] | None:
        """(row, input, state)."""
        ...

    async def list(
        self,
        tenant: str,
        *,
        status: str | None = None,
        journey: str | None = None,
        customer: str | None = None,
        parent: str | None = None,
        live: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[RunRow], str | None]:
        """Newest first. `live`: those that have not ended."""
        ...

    async def under_way(
        self, tenant: str, journey: str, release: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[tuple[str, str, JsonObject | None]]:
        """(id, status, state) of the runs of one journey on one release that have not ended, by id."""
        ...

    async def counts(self, tenant: str) -> Sequence[tuple[str, str, str, int]]:
        """(journey, release, status, how many)."""
        ...

    async def task(self, tenant: str, id: str) -> TaskRow | None: ...

    async def tasks(
        self,
        tenant: str,
        *,
        team: str | None = None,
        status: str | None = None,
        run: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[TaskRow], str | None]: ...

    async def fire_timers(self, *, limit: int = 500, now: datetime | None = None) -> tuple[int, float | None]:
        """Turn times that have come, of all tenants, into mail of their runs: (how many, seconds until the next one).

        The store's clock says what the time is, the same for all workers; `now` is for tests.
        """
        ...

    async def revive(self, before: datetime, *, limit: int = 500) -> int:
        """Wake runs again that have been busy since before then with no job for them: nobody is at work there."""
        ...

    async def at_work(self, tenant: str, *, lease: timedelta, runs: Sequence[str] = ()) -> tuple[int, int]:
        """A sign of life of this worker, and what it has had at hand for a while (`NewRun.at_hand`). What workers have at hand
        that gave none for a lease goes into the queue: (how many others there are, how many runs went).
        """
        ...

    async def let_go(self, tenant: str, runs: Sequence[str], *, leaving: bool = False) -> int:
        """Put what this worker has at hand into the queue, unless it has come to rest; how many. `leaving`: it ends."""
        ...

    async def listeners(self, tenant: str, type: str, key: str) -> Sequence[str | None]:
        """Whose runs listen for such a signal: the subjects (`subject_of`) of the runs, each once."""
        ...

    async def depth(self, tenant: str, id: str) -> int:
        """How many runs, each started by the one before, led to a run; 0 for one that was started from outside."""
        ...

    async def requests(self, tenant: str, run: str) -> Sequence[str]:
        """Ids of what a run asked for, oldest first."""
        ...


class ErasureStore(Protocol):
    """Keys of customers, destroyed: what they sealed nobody reads any more, and the record's proofs still stand."""

    async def erase(
        self, tenant: str, customer: str, *, at: datetime, by: str, reason: str
    ) -> CustomerErased | UnderWay | None:
        """Destroy all keys of a customer, empty what is folded of them and say so on record, in one transaction; None where
        nothing was ever kept of them.
        """
        ...

    async def left(self, tenant: str, customer: str) -> Left:
        """Looks at every entry of the tenant."""
        ...

    async def retain(self, tenant: str, retention: Retention, *, now: datetime, by: str) -> int:
        """Destroy the keys whose time is over, except where something is under way or on hold; how many."""
        ...

    async def rewrap(self, tenant: str, *, limit: int = 1000) -> int:
        """Wrap the tenant's next keys by the newest operator key; how many. 0: all are."""
        ...


class Store(Protocol):
    """Opened for one tenant: what is asked about another is not there, what is written for another is a StoreError.

    Raises StoreUnavailable when Postgres does not answer.
    """

    @property
    def tenant(self) -> str: ...

    @property
    def runs(self) -> RunStore: ...

    @property
    def append_s(self) -> float:
        """Seconds from an append to its commit, as they are now; 0 while nothing is written."""
        ...

    @property
    def seals(self) -> Seals: ...

    @property
    def erasing(self) -> ErasureStore: ...

    async def append(self, write: Write) -> AppendResult:
        """Add entries and fold them, atomically; durable when it returns. Concurrent calls of one process share a commit.

        `private` is sealed with the key of its subject. Raises KeyDestroyed where the subject was erased meanwhile.
        """
        ...

    def keep(self, tenant: str, retention: Retention) -> None:
        """How long personal data of a tenant is kept, by class: what is written from now on is put away accordingly."""
        ...

    # what judging needs
    async def situation(self, tenant: str, customer: str | None, conversation: str | None) -> Situation: ...

    async def known(self, tenant: str, taken: TakenRun) -> Situation | None:
        """The situation of a run's customer and conversation as it was taken; None where it has neither. Not read anew."""
        ...

    async def claimed(self, tenant: str, action: str, key: str) -> KeyTaken | None: ...

    # requests and their entries
    async def request(self, tenant: str, id: str) -> RequestRow | None: ...

    async def requests(
        self,
        tenant: str,
        *,
        status: str | None = None,
        action: str | None = None,
        customer: str | None = None,
        caller: str | None = None,
        verdict: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[RequestRow], str | None]:
        """Newest first, with the cursor of the next page. `since` and `until` (exclusive) bound when it was asked."""
        ...

    async def disclosed(self, tenant: str, private: JsonObject) -> Sequence[tuple[tuple[str, ...], bytes, str]]:
        """(path, salt, JSON) of the values in an entry's `private` as it is sealed: what a third party needs to check them
        against their commitments. Values in lists, and those whose key was destroyed, are not among them."""
        ...

    async def stream(self, tenant: str, stream: str) -> Sequence[Entry]:
        """All entries of one stream, oldest first."""
        ...

    async def entries(
        self, tenant: str, *, after: int = 0, kind: str | None = None, stream: str | None = None, limit: int = 100
    ) -> Sequence[Entry]:
        """Settled entries after a position, in order: what is returned once never gets a smaller neighbour later."""
        ...

    async def settled(self) -> int:
        """The position below which nothing can appear any more, in any tenant."""
        ...

    async def last(self, tenant: str, upto: int) -> int:
        """The position of the last entry up to there; 0 if there is none."""
        ...

    async def lines(
        self, tenant: str, *, after: int, upto: int, wanted: Wanted = ALL, limit: int = 1000
    ) -> Sequence[Line]:
        """Entries past `after` up to `upto`, in order, as they are exported. Ask `settled` first: `upto` is at most that."""
        ...

    # work that waits
    async def take_due_intents(
        self, tenant: str, now: datetime, *, lease_until: datetime, limit: int = 50
    ) -> Sequence[OpenIntent]:
        """Intents that are due; their `due` moves to `lease_until`, so that one worker has them."""
        ...

    async def approval(self, tenant: str, id: str) -> ApprovalRow | None: ...

    async def approvals(
        self, tenant: str, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[ApprovalRow], str | None]: ...

    async def due_approvals(self, tenant: str, now: datetime, *, limit: int = 50) -> Sequence[ApprovalRow]:
        """Those that are open past their expiry."""
        ...

    # customers
    async def customer(self, tenant: str, id: str) -> Customer | None: ...

    async def customers(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[Customer], str | None]: ...

    # budgets, releases, keys
    async def budget_uses(self, tenant: str, *, since: str | None = None) -> Sequence[BudgetUse]: ...

    async def spent(
        self, tenant: str, counters: Sequence[tuple[str, str, str]], *, before: int, since: datetime | None = None
    ) -> Sequence[BudgetUse]:
        """What stood on these counters (budget, scope, window) just before a position, summed up from the entries.

        `since`: no entry from before then counts on any of them.
        """
        ...

    async def save_release(self, tenant: str, hash: str, files: Mapping[str, str]) -> None:
        """Keep the files of a release; the same hash again changes nothing. `release.made` and `release.live` entries tell the rest."""
        ...

    async def release_files(self, tenant: str, hash: str) -> Mapping[str, str] | None: ...

    async def releases(self, tenant: str) -> Sequence[ReleaseInfo]: ...

    async def live_release(self, tenant: str) -> str | None: ...

    async def key_by_hash(self, tenant: str, hash: str) -> KeyRow | None:
        """An API key of this tenant; None if unknown, as one of another tenant is. Revoked and expired ones are returned too."""
        ...

    async def keys(self, tenant: str) -> Sequence[KeyRow]: ...

    async def key_used(self, tenant: str, id: str, day: date) -> None:
        """Note that a key was used that day."""
        ...

    async def key_uses(self, tenant: str) -> Mapping[str, date]:
        """The day each key was last used, by id; those never used are missing."""
        ...

    # conformance evidence
    async def save_conformance(
        self, tenant: str, action: str, contract: str, result: Mapping[str, object], at: datetime
    ) -> None:
        """`contract`: hash of the entry as it was tested."""
        ...

    async def conformance(self, tenant: str) -> Mapping[tuple[str, str], Mapping[str, object]]:
        """(action, contract hash) -> result."""
        ...

    async def ping(self) -> None:
        """Raises StoreUnavailable."""
        ...

    async def now(self) -> datetime:
        """What the store's clock says, in UTC. Planes and workers go by it. Raises StoreUnavailable."""
        ...

    async def stats(self) -> Mapping[str, float]:
        """Gauges: entries, open intents, open approvals; connections and appends in use and at most."""
        ...

    async def figures(self) -> Figures:
        """What waits and how long, of all tenants. Not for every second."""
        ...

    async def aclose(self) -> None: ...
