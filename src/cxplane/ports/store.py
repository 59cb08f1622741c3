"""The store: one journal, its projections, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from cxplane.domain.customer import Customer, Situation
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
from cxplane.domain.run import RunRow, TaskRow
from cxplane.domain.values import JsonObject


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

    async def requests(self, tenant: str, run: str) -> Sequence[str]:
        """Ids of what a run asked for, oldest first."""
        ...


class Store(Protocol):
    """Everything is per tenant. Raises StoreUnavailable when Postgres does not answer."""

    @property
    def runs(self) -> RunStore: ...

    async def append(self, write: Write) -> AppendResult:
        """Add entries and fold them, atomically; durable when it returns. Concurrent calls of one process share a commit."""
        ...

    # what judging needs
    async def situation(self, tenant: str, customer: str | None, conversation: str | None) -> Situation: ...

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
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[RequestRow], str | None]:
        """Newest first, with the cursor of the next page."""
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
        self, now: datetime, *, lease_until: datetime, limit: int = 50
    ) -> Sequence[tuple[str, OpenIntent]]:
        """(tenant, intent) pairs that are due; their `due` moves to `lease_until`, so that one worker has them."""
        ...

    async def approval(self, tenant: str, id: str) -> ApprovalRow | None: ...

    async def approvals(
        self, tenant: str, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[ApprovalRow], str | None]: ...

    async def due_approvals(self, now: datetime, *, limit: int = 50) -> Sequence[tuple[str, ApprovalRow]]:
        """(tenant, approval) pairs that are open past their expiry."""
        ...

    # customers
    async def customer(self, tenant: str, id: str) -> Customer | None: ...

    async def customers(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[Customer], str | None]: ...

    # budgets, releases, keys
    async def budget_uses(self, tenant: str, *, since: str | None = None) -> Sequence[BudgetUse]: ...

    async def save_release(self, tenant: str, hash: str, files: Mapping[str, str]) -> None:
        """Keep the files of a release; the same hash again changes nothing. `release.made` and `release.live` entries tell the rest."""
        ...

    async def release_files(self, tenant: str, hash: str) -> Mapping[str, str] | None: ...

    async def releases(self, tenant: str) -> Sequence[ReleaseInfo]: ...

    async def live_release(self, tenant: str) -> str | None: ...

    async def tenants(self) -> Sequence[str]:
        """Tenants that have a live release."""
        ...

    async def key_by_hash(self, hash: str) -> tuple[str, KeyRow] | None:
        """(tenant, key) of an API key in any tenant; None if unknown. Revoked and expired ones are returned too."""
        ...

    async def keys(self, tenant: str) -> Sequence[KeyRow]: ...

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

    async def stats(self) -> Mapping[str, float]:
        """Gauges: entries, open intents, open approvals, connections in use, appends waiting."""
        ...

    async def aclose(self) -> None: ...
