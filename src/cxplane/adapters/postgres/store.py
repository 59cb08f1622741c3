"""The store on Postgres: one journal, its projections, and nothing else."""
# ruff: noqa: S608 -- only names of our own columns are put into SQL; values are always parameters

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg

from cxplane.adapters.operator_key import OperatorKey, from_vault
from cxplane.adapters.postgres import rows
from cxplane.adapters.postgres.access import Access, open_access
from cxplane.adapters.postgres.api_keys import ApiKeys
from cxplane.adapters.postgres.budgets import Budgets
from cxplane.adapters.postgres.connect import (
    COMMAND_S,
    CONNECT_S,
    as_it_was,
    asking,
    connecting,
    prepare,
    session,
)
from cxplane.adapters.postgres.erasing import Erasing
from cxplane.adapters.postgres.figures import figures
from cxplane.adapters.postgres.private import Private
from cxplane.adapters.postgres.releases import Releases
from cxplane.adapters.postgres.runs import Runs
from cxplane.adapters.postgres.seals import PostgresSeals
from cxplane.adapters.postgres.subject_keys import SubjectKeys
from cxplane.adapters.postgres.together import Together
from cxplane.adapters.postgres.writer import WAITING, Writer
from cxplane.domain.customer import Customer, Situation
from cxplane.domain.errors import KeyDestroyed
from cxplane.domain.record import (
    ALL,
    AppendResult,
    ApprovalRow,
    Entry,
    KeyTaken,
    Line,
    OpenIntent,
    RequestRow,
    TakenRun,
    Wanted,
    Write,
)
from cxplane.domain.retention import Retention
from cxplane.domain.values import JsonObject
from cxplane.ports.seal import Seals
from cxplane.ports.store import ErasureStore, Figures, RunStore

READERS = 8


async def open_store(
    dsn: str, *, tenant: str, readers: int = READERS, operator: OperatorKey | None = None
) -> PostgresStore:
    """The store at this address for one tenant, its schema brought forward. Of other tenants it sees and writes nothing.

    `operator`: the operator's key; None: from the environment.
    Raises StoreError (wrong version, newer schema, no access, no key) or StoreUnavailable (nobody answers).
    """
    operator = operator or from_vault()
    access = await open_access(dsn, tenant)
    with connecting():
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=readers,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            init=prepare,
            reset=as_it_was,
            server_settings=session("cxplane reader", access),
        )
    store = PostgresStore(dsn, pool, access, operator)
    try:
        await store.subject_keys.check(tenant)
    except BaseException:
        await store.aclose()
        raise
    return store


class PostgresStore(Budgets, Releases, ApiKeys):
    """Made by `open_store`. Readers have connections of their own, so that no question waits for a commit."""

    def __init__(self, dsn: str, pool: Any, access: Access, operator: OperatorKey) -> None:
        super().__init__(dsn, pool, access)
        self.subject_keys = SubjectKeys(self._rows, operator)
        self._private = Private(self.subject_keys)
        worker = uuid4().hex  # this process, for what it has at hand
        self._writer = Writer(dsn, access, worker)
        self._sealing = 0  # writes that are on their way to the writer
        self.runs: RunStore = Runs(self, self._private, worker)
        self.seals: Seals = PostgresSeals(self._rows)
        self.erasing: ErasureStore = Erasing(self._rows, self._slow, self.subject_keys)
        self._situations = Together(self._ask_situations, links=2)
        self._claims = Together(self._ask_claims, links=2)

    @property
    def append_s(self) -> float:
        return self._writer.append_s

    @property
    def tenant(self) -> str:
        return self.access.tenant

    async def append(self, write: Write) -> AppendResult:
        self._sealing += 1
        try:
            kept, keys = await self._private.seal(write)
        finally:
            self._sealing -= 1
        try:
            return await self._writer.append(write, kept, keys)
        except KeyDestroyed as problem:
            self.subject_keys.forget(write.tenant, problem.keys)
            raise

    def keep(self, tenant: str, retention: Retention) -> None:
        self._private.retention[tenant] = retention

    # what judging needs -------------------------------------------------------------------------------

    async def situation(self, tenant: str, customer: str | None, conversation: str | None) -> Situation:
        if customer is None and conversation is None:
            return Situation(None)
        return await self._situation(tenant, conversation, await self._situations(tenant, customer, conversation))

    async def known(self, tenant: str, taken: TakenRun) -> Situation | None:
        run = taken.row
        if isinstance(taken.known, Situation):
            return taken.known
        if taken.known is None or (run.customer is None and run.conversation is None):
            return None
        return await self._situation(tenant, run.conversation, taken.known)

    async def _situation(self, tenant: str, conversation: str | None, row: Any) -> Situation:
        """From a row as `rows.KNOWN` lists it."""
        if row["wrapped"] is not None:
            self.subject_keys.learn(tenant, row["key_id"], row["wrapped"], row["wrapped_by"])
        kept = [row["attributes"], row["identities"], row["recorded"]]
        attributes, identities, recorded = await self._private.open_all(tenant, kept)
        return Situation(
            customer=rows.customer(row, attributes, identities) if row["id"] is not None else None,
            conversation_known=conversation is None or row["known"],
            conversation_customer=row["talks_to"],
            recorded=rows.recorded(recorded or {}),
            version=row["version"],
        )

    async def _ask_situations(self, wanted: Sequence[tuple[str, str | None, str | None]]) -> list[Any]:
        return await self._rows(
            f"select {rows.KNOWN} from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (tenant, customer,"
            f" conversation, n){rows.KNOWN_OF} order by w.n",
            *([one[n] for one in wanted] for n in range(3)),
        )

    async def claimed(self, tenant: str, action: str, key: str) -> KeyTaken | None:
        row = await self._claims(tenant, action, key)
        return KeyTaken(*row) if row["request"] is not None else None

    async def _ask_claims(self, wanted: Sequence[tuple[str, str, str]]) -> list[Any]:
        return await self._rows(
            "select q.id as request, q.input_hash"
            " from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (tenant, action, key, n)"
            # one by one by their key (offset 0): a join would hash every claim there is
            " left join lateral (select request from cxplane.claim where tenant = w.tenant"
            " and id = cxplane.claim_id(w.tenant, w.action, w.key) offset 0) c on true"
            " left join lateral (select id, input_hash from cxplane.request where tenant = w.tenant and id = c.request"
            " offset 0) q on true order by w.n",
            *([one[n] for one in wanted] for n in range(3)),
        )

    # requests and their entries -----------------------------------------------------------------------

    async def request(self, tenant: str, id: str) -> RequestRow | None:
        row = await self._row(f"select {rows.REQUEST} from cxplane.request where tenant = $1 and id = $2", tenant, id)
        return rows.request_row(row) if row else None

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
        wanted = {"status": status, "action": action, "customer": customer, "caller": caller, "verdict": verdict}
        where: list[str] = ["tenant = $1"]
        values: list[Any] = [tenant]
        for name, value in wanted.items():
            if value is not None:
                values.append(value)
                where.append(f"{name} = ${len(values)}")
        for word, moment in ((">=", since), ("<", until)):
            if moment is not None:
                values.append(moment)
                where.append(f"at {word} ${len(values)}")
        found, after = await self._newest("cxplane.request", rows.REQUEST, "at", where, values, cursor, limit)
        return [rows.request_row(r) for r in found], after

    async def disclosed(self, tenant: str, private: JsonObject) -> Sequence[tuple[tuple[str, ...], bytes, str]]:
        return await self._private.disclosed(tenant, private)

    async def stream(self, tenant: str, stream: str) -> Sequence[Entry]:
        found = await self._rows(
            f"select {rows.ENTRY} from cxplane.entry where stream = $2 and tenant = $1 order by position",
            tenant,
            stream,
        )
        return await self._private.entries(tenant, found)

    async def entries(
        self, tenant: str, *, after: int = 0, kind: str | None = None, stream: str | None = None, limit: int = 100
    ) -> Sequence[Entry]:
        found = await self._rows(
            f"select {rows.ENTRY} from cxplane.entries_after($1, $2, $3, $4, $5)", tenant, after, kind, stream, limit
        )
        return await self._private.entries(tenant, found)

    async def settled(self) -> int:
        row = await self._row("select cxplane.settled() as top")
        return int(row["top"])

    async def last(self, tenant: str, upto: int) -> int:
        row = await self._row(
            "select max(position) as last from cxplane.entry where tenant = $1 and position <= $2", tenant, upto
        )
        return int(row["last"] or 0)

    async def lines(
        self, tenant: str, *, after: int, upto: int, wanted: Wanted = ALL, limit: int = 1000
    ) -> Sequence[Line]:
        values: list[Any] = [tenant, after, upto, limit]
        where = rows.wanted(wanted, values)
        found = await self._rows(
            "select e.position, e.at, e.kind, convert_to(cxplane.line(e), 'UTF8') from cxplane.entry e"
            f" where e.tenant = $1 and e.position > $2 and e.position <= $3{where} order by e.position limit $4",
            *values,
        )
        return [Line(*r) for r in found]

    # work that waits ----------------------------------------------------------------------------------

    async def take_due_intents(
        self, tenant: str, now: datetime, *, lease_until: datetime, limit: int = 50
    ) -> Sequence[OpenIntent]:
        found = await self._rows(
            "with due as (select tenant, request from cxplane.intent where tenant = $4 and due <= $1"
            " order by due limit $3"
            " for update skip locked)"
            " update cxplane.intent i set due = $2 from due where i.tenant = due.tenant and i.request = due.request"
            " returning i.request, i.action, i.key, i.due, i.tries",
            now,
            lease_until,
            limit,
            tenant,
            patience_s=0.0,  # an answer that was lost has moved the lease already
        )
        return [rows.intent(r) for r in found]

    async def approval(self, tenant: str, id: str) -> ApprovalRow | None:
        row = await self._row(f"select {rows.APPROVAL} from cxplane.approval where tenant = $1 and id = $2", tenant, id)
        return rows.approval_row(row, await self._private.open(tenant, row["comment"])) if row else None

    async def approvals(
        self, tenant: str, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[ApprovalRow], str | None]:
        where, values = ["tenant = $1"], [tenant]
        if status is not None:
            values.append(status)
            where.append("status = $2")
            if status == "open":
                where.append("status = 'open'")  # said in so many words, so that the index of open ones serves
        found, after = await self._newest("cxplane.approval", rows.APPROVAL, "opened_at", where, values, cursor, limit)
        comments = await self._private.open_all(tenant, [r["comment"] for r in found])
        return [rows.approval_row(r, c) for r, c in zip(found, comments, strict=True)], after

    async def due_approvals(self, tenant: str, now: datetime, *, limit: int = 50) -> Sequence[ApprovalRow]:
        found = await self._rows(
            f"select {rows.APPROVAL} from cxplane.approval where tenant = $1 and status = 'open' and expires_at <= $2"
            " order by expires_at limit $3",
            tenant,
            now,
            limit,
        )
        return [rows.approval_row(r, None) for r in found]  # open: nobody has said anything yet

    # customers ----------------------------------------------------------------------------------------

    async def customer(self, tenant: str, id: str) -> Customer | None:
        row = await self._row(f"select {rows.CUSTOMER} from cxplane.customer where tenant = $1 and id = $2", tenant, id)
        return (await self._customers(tenant, [row]))[0] if row else None

    async def customers(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[Customer], str | None]:
        after = rows.from_cursor(cursor, 1)[0] if cursor else ""
        found = await self._rows(
            f"select {rows.CUSTOMER} from cxplane.customer where tenant = $1 and id > $2 order by id limit $3",
            tenant,
            after,
            limit + 1,
        )
        page = await self._customers(tenant, found[:limit])
        return page, rows.cursor(page[-1].id) if len(found) > limit else None

    async def _customers(self, tenant: str, found: Sequence[Any]) -> list[Customer]:
        kept = await self._private.open_all(tenant, [(r["attributes"], r["identities"]) for r in found])
        return [
            rows.customer(r, attributes, identities) for r, (attributes, identities) in zip(found, kept, strict=True)
        ]

    # the store itself ---------------------------------------------------------------------------------

    async def ping(self) -> None:
        await self._rows("select 1", patience_s=0.0)

    async def now(self) -> datetime:
        found = await self._rows("select clock_timestamp() as now", patience_s=0.0)
        at: datetime = found[0]["now"]
        return at

    async def stats(self) -> Mapping[str, float]:
        """`entries` is the last position given, which a crash may leave a little ahead of the count."""
        row = await self._row(
            "select (select case when is_called then last_value else 0 end from cxplane.entry_position) as entries,"
            " (select count(*) from cxplane.intent) as open_intents,"
            " (select count(*) from cxplane.approval where status = 'open') as open_approvals"
        )
        used = self._pool.get_size() - self._pool.get_idle_size()
        return {
            **{name: float(value) for name, value in row.items()},
            "connections_in_use": float(used + 1),
            "connections_most": float(self._pool.get_max_size() + 1),
            "appends_waiting": float(self._writer.waiting),
            "appends_most": float(WAITING),
            "append_seconds": self.append_s,
        }

    async def figures(self) -> Figures:
        return await figures(self._rows)

    async def rebuild(self, tenant: str) -> int:
        """Fold all projections of a tenant again from its entries; how many there were. No plane may serve it meanwhile."""
        with asking():
            async with self._pool.acquire() as link:
                return int(await link.fetchval("select cxplane.rebuild($1)", tenant, timeout=None))

    async def aclose(self) -> None:
        """What waits to be written is written first."""
        while self._sealing:  # noqa: ASYNC110 -- a moment at the very end
            await asyncio.sleep(0.001)
        await self._writer.aclose()
        self._pool.terminate()
