"""The store on Postgres: one journal, its projections, and nothing else."""
# ruff: noqa: S608 -- only names of our own columns are put into SQL; values are always parameters

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from cxplane.adapters.postgres import rows
from cxplane.adapters.postgres.connect import (
    COMMAND_S,
    CONNECT_S,
    PATIENCE_S,
    as_it_was,
    asking,
    connect,
    connecting,
    prepare,
    session,
)
from cxplane.adapters.postgres.migrate import ensure_schema
from cxplane.adapters.postgres.runs import Runs
from cxplane.adapters.postgres.together import Together
from cxplane.adapters.postgres.writer import Writer
from cxplane.domain.customer import Customer, Situation
from cxplane.domain.errors import StoreUnavailable
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
    Wanted,
    Write,
)
from cxplane.domain.release import ReleaseInfo
from cxplane.ports.store import RunStore

READERS = 8


async def open_store(dsn: str, *, readers: int = READERS) -> PostgresStore:
    """The store at this address, its schema brought forward.

    Raises StoreError (wrong version, newer schema, no access) or StoreUnavailable (nobody answers).
    """
    link = await connect(dsn)
    try:
        with asking():
            await ensure_schema(link)
    finally:
        link.terminate()
    with connecting():
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=readers,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            init=prepare,
            reset=as_it_was,
            server_settings=session("cxplane reader"),
        )
    return PostgresStore(dsn, pool)


class PostgresStore:
    """Made by `open_store`. Readers have connections of their own, so that no question waits for a commit."""

    def __init__(self, dsn: str, pool: Any) -> None:
        self._dsn, self._pool = dsn, pool
        self._writer = Writer(dsn)
        self.runs: RunStore = Runs(self)
        self._situations = Together(self._ask_situations, links=2)
        self._claims = Together(self._ask_claims, links=2)

    async def append(self, write: Write) -> AppendResult:
        return await self._writer.append(write)

    # what judging needs -------------------------------------------------------------------------------

    async def situation(self, tenant: str, customer: str | None, conversation: str | None) -> Situation:
        row = await self._situations(tenant, customer, conversation)
        return Situation(
            customer=rows.customer(row) if row["id"] is not None else None,
            conversation_known=conversation is None or row["known"],
            conversation_customer=row["talks_to"],
            recorded=rows.recorded(row["recorded"] or {}),
        )

    async def _ask_situations(self, wanted: Sequence[tuple[str, str | None, str | None]]) -> list[Any]:
        return await self._rows(
            "select c.id, c.attributes, c.identities, c.assurances, c.consents,"
            " v.id is not null as known, v.customer as talks_to, v.recorded"
            " from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (tenant, customer, conversation, n)"
            " left join cxplane.customer c on c.tenant = w.tenant and c.id = w.customer"
            " left join cxplane.conversation v on v.tenant = w.tenant and v.id = w.conversation order by w.n",
            *([one[n] for one in wanted] for n in range(3)),
        )

    async def claimed(self, tenant: str, action: str, key: str) -> KeyTaken | None:
        row = await self._claims(tenant, action, key)
        return KeyTaken(*row) if row["request"] is not None else None

    async def _ask_claims(self, wanted: Sequence[tuple[str, str, str]]) -> list[Any]:
        return await self._rows(
            "select q.id as request, q.input_hash"
            " from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (tenant, action, key, n)"
            " left join cxplane.claim c on c.id = cxplane.claim_id(w.tenant, w.action, w.key) and c.tenant = w.tenant"
            " left join cxplane.request q on q.tenant = c.tenant and q.id = c.request order by w.n",
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
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[RequestRow], str | None]:
        wanted = {"status": status, "action": action, "customer": customer, "caller": caller, "verdict": verdict}
        where, values = ["tenant = $1"], [tenant]
        for name, value in wanted.items():
            if value is not None:
                values.append(value)
                where.append(f"{name} = ${len(values)}")
        return await self._newest("cxplane.request", rows.REQUEST, "at", where, values, cursor, limit, rows.request_row)

    async def stream(self, tenant: str, stream: str) -> Sequence[Entry]:
        found = await self._rows(
            f"select {rows.ENTRY} from cxplane.entry where stream = $2 and tenant = $1 order by position",
            tenant,
            stream,
        )
        return [rows.entry(r) for r in found]

    async def entries(
        self, tenant: str, *, after: int = 0, kind: str | None = None, stream: str | None = None, limit: int = 100
    ) -> Sequence[Entry]:
        found = await self._rows(
            f"select {rows.ENTRY} from cxplane.entries_after($1, $2, $3, $4, $5)", tenant, after, kind, stream, limit
        )
        return [rows.entry(r) for r in found]

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
        self, now: datetime, *, lease_until: datetime, limit: int = 50
    ) -> Sequence[tuple[str, OpenIntent]]:
        found = await self._rows(
            "with due as (select tenant, request from cxplane.intent where due <= $1 order by due limit $3"
            " for update skip locked)"
            " update cxplane.intent i set due = $2 from due where i.tenant = due.tenant and i.request = due.request"
            " returning i.tenant, i.request, i.action, i.key, i.due, i.tries",
            now,
            lease_until,
            limit,
            patience_s=0.0,  # an answer that was lost has moved the lease already
        )
        return [(r["tenant"], rows.intent(r)) for r in found]

    async def approval(self, tenant: str, id: str) -> ApprovalRow | None:
        row = await self._row(f"select {rows.APPROVAL} from cxplane.approval where tenant = $1 and id = $2", tenant, id)
        return rows.approval_row(row) if row else None

    async def approvals(
        self, tenant: str, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[ApprovalRow], str | None]:
        where, values = ["tenant = $1"], [tenant]
        if status is not None:
            values.append(status)
            where.append("status = $2")
            if status == "open":
                where.append("status = 'open'")  # said in so many words, so that the index of open ones serves
        return await self._newest(
            "cxplane.approval", rows.APPROVAL, "opened_at", where, values, cursor, limit, rows.approval_row
        )

    async def due_approvals(self, now: datetime, *, limit: int = 50) -> Sequence[tuple[str, ApprovalRow]]:
        found = await self._rows(
            f"select tenant, {rows.APPROVAL} from cxplane.approval where status = 'open' and expires_at <= $1"
            " order by expires_at limit $2",
            now,
            limit,
        )
        return [(r["tenant"], rows.approval_row(tuple(r)[1:])) for r in found]

    # customers ----------------------------------------------------------------------------------------

    async def customer(self, tenant: str, id: str) -> Customer | None:
        row = await self._row(f"select {rows.CUSTOMER} from cxplane.customer where tenant = $1 and id = $2", tenant, id)
        return rows.customer(row) if row else None

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
        page = [rows.customer(r) for r in found[:limit]]
        return page, rows.cursor(page[-1].id) if len(found) > limit else None

    # budgets, releases, keys --------------------------------------------------------------------------

    async def budget_uses(self, tenant: str, *, since: str | None = None) -> Sequence[BudgetUse]:
        found = await self._rows(
            "select budget, scope, span, money, count, risk from cxplane.budget_use"
            " where tenant = $1 and ($2::text is null or span >= $2) order by budget, span, scope",
            tenant,
            since,
        )
        return [BudgetUse(*r) for r in found]

    async def save_release(self, tenant: str, hash: str, files: Mapping[str, str]) -> None:
        await self._rows(
            "insert into cxplane.release_files (tenant, hash, files) values ($1, $2, $3) on conflict do nothing",
            tenant,
            hash,
            dict(files),
        )

    async def release_files(self, tenant: str, hash: str) -> Mapping[str, str] | None:
        row = await self._row("select files from cxplane.release_files where tenant = $1 and hash = $2", tenant, hash)
        files: Mapping[str, str] | None = row["files"] if row else None
        return files

    async def releases(self, tenant: str) -> Sequence[ReleaseInfo]:
        found = await self._rows(
            "select hash, at, by, note, live, gates from cxplane.release where tenant = $1 order by at desc, hash",
            tenant,
        )
        return [ReleaseInfo(*r) for r in found]

    async def live_release(self, tenant: str) -> str | None:
        row = await self._row("select hash from cxplane.release where tenant = $1 and live", tenant)
        return str(row["hash"]) if row else None

    async def tenants(self) -> Sequence[str]:
        return [r["tenant"] for r in await self._rows("select tenant from cxplane.release where live order by tenant")]

    async def key_by_hash(self, hash: str) -> tuple[str, KeyRow] | None:
        row = await self._row(f"select tenant, {rows.KEY} from cxplane.api_key where hash = $1", hash)
        return (row["tenant"], rows.key_row(tuple(row)[1:])) if row else None

    async def keys(self, tenant: str) -> Sequence[KeyRow]:
        found = await self._rows(
            f"select {rows.KEY} from cxplane.api_key where tenant = $1 order by created_at, id", tenant
        )
        return [rows.key_row(r) for r in found]

    # conformance evidence -----------------------------------------------------------------------------

    async def save_conformance(
        self, tenant: str, action: str, contract: str, result: Mapping[str, object], at: datetime
    ) -> None:
        await self._rows(
            "insert into cxplane.conformance (tenant, action, contract, result, at) values ($1, $2, $3, $4, $5)"
            " on conflict (tenant, action, contract) do update set result = excluded.result, at = excluded.at",
            tenant,
            action,
            contract,
            dict(result),
            at,
        )

    async def conformance(self, tenant: str) -> Mapping[tuple[str, str], Mapping[str, object]]:
        found = await self._rows("select action, contract, result from cxplane.conformance where tenant = $1", tenant)
        return {(r["action"], r["contract"]): r["result"] for r in found}

    # the store itself ---------------------------------------------------------------------------------

    async def ping(self) -> None:
        await self._rows("select 1", patience_s=0.0)

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
            "appends_waiting": float(self._writer.waiting),
        }

    async def rebuild(self, tenant: str) -> int:
        """Fold all projections of a tenant again from its entries; how many there were. No plane may serve it meanwhile."""
        with asking():
            async with self._pool.acquire() as link:
                return int(await link.fetchval("select cxplane.rebuild($1)", tenant, timeout=None))

    async def aclose(self) -> None:
        """What waits to be written is written first."""
        await self._writer.aclose()
        self._pool.terminate()

    # -------------------------------------------------------------------------------------------------

    async def _rows(self, sql: str, *values: Any, patience_s: float = PATIENCE_S) -> list[Any]:
        """One round trip. While Postgres restarts, a question is asked again for a moment."""
        until = time.monotonic() + patience_s
        while True:
            try:
                with asking():
                    found: list[Any] = await self._pool.fetch(sql, *values)
                    return found
            except StoreUnavailable:
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(0.05)

    async def _row(self, sql: str, *values: Any) -> Any:
        found = await self._rows(sql, *values)
        return found[0] if found else None

    async def _newest(
        self,
        table: str,
        columns: str,
        by: str,
        where: list[str],
        values: list[Any],
        cursor: str | None,
        limit: int,
        read: Any,
    ) -> tuple[list[Any], str | None]:
        """A page of a list, newest first, and where the next one starts."""
        if cursor is not None:
            values += rows.time_cursor(cursor)
            where.append(f"({by}, id) < (${len(values) - 1}, ${len(values)})")
        values.append(limit + 1)
        found = await self._rows(
            f"select {columns} from {table} where {' and '.join(where)} order by {by} desc, id desc limit ${len(values)}",
            *values,
        )
        page = [read(r) for r in found[:limit]]
        return page, rows.cursor(found[limit - 1][by], found[limit - 1]["id"]) if len(found) > limit else None
