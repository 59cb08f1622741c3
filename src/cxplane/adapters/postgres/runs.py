"""What the store knows of runs, tasks and times to come."""
# ruff: noqa: S608 -- only names of our own columns are put into SQL; values are always parameters

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cxplane.adapters.postgres import rows
from cxplane.adapters.postgres.private import Private
from cxplane.adapters.postgres.questions import Questions
from cxplane.adapters.postgres.together import Together
from cxplane.domain.record import TakenRun, subject_of
from cxplane.domain.run import RunRow, TaskRow
from cxplane.domain.values import JsonObject

# a run, and what is known of its customer: what a leg asks first
_TAKE = (
    f"select a.t, {rows.KNOWN} from cxplane.take_runs($1::text[], $2::text[]) with ordinality as a (t, n) cross join lateral"
    " (select ($1::text[])[a.n] as tenant, a.t ->> 'c' as customer, a.t ->> 'v' as conversation offset 0) w"
    f"{rows.KNOWN_OF} order by a.n"
)
_LIVE = "status not in ('done', 'failed', 'cancelled')"


class Runs:
    """The part of the store that journeys use. See `ports.store`."""

    def __init__(self, asking: Questions, private: Private, worker: str) -> None:
        self._ask, self._private, self._worker = asking, private, worker
        self._taker = Together(self._take)

    async def take(self, tenant: str, id: str) -> TakenRun | None:
        row = await self._taker(tenant, id)
        found = row["t"]
        if found is None:
            return None
        kept = [found["n"], found["x"], *(private for _, _, private in found["m"])]
        input, state, *privates = await self._private.open_all(tenant, kept)
        return rows.taken_run(tenant, found, input, state, privates, known=row)

    async def _take(self, wanted: Sequence[tuple[str, str]]) -> list[Any]:
        # not asked again by itself: an answer that was lost has moved the epoch, and the job comes again
        tenants, ids = [t for t, _ in wanted], [i for _, i in wanted]
        return await self._ask._rows(_TAKE, tenants, ids, patience_s=0.0)

    async def get(self, tenant: str, id: str) -> tuple[RunRow, JsonObject, JsonObject | None] | None:
        found = await self._ask._rows(
            f"select {rows.RUN}, input, state from cxplane.run where tenant = $1 and id = $2", tenant, id
        )
        if not found:
            return None
        row = found[0]
        waits, input, state = await self._private.open_all(tenant, [row["waits"], row["input"], row["state"]])
        return rows.run_row(row, waits), input or {}, state

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
        where, values = ["tenant = $1"], [tenant]
        for name, value in {"status": status, "journey": journey, "customer": customer, "parent": parent}.items():
            if value is not None:
                values.append(value)
                where.append(f"{name} = ${len(values)}")
        if status == "stuck":
            where.append("status = 'stuck'")  # said in so many words, so that the index of stuck ones serves
        if live:
            where.append(_LIVE)
        found, after = await self._ask._newest("cxplane.run", rows.RUN, "started_at", where, values, cursor, limit)
        waits = await self._private.open_all(tenant, [r["waits"] for r in found])
        return [rows.run_row(r, w) for r, w in zip(found, waits, strict=True)], after

    async def under_way(
        self, tenant: str, journey: str, release: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[tuple[str, str, JsonObject | None]]:
        found = await self._ask._rows(
            "select id, status, state from cxplane.run where tenant = $1 and journey = $2 and id > $4"
            f" and release = (select id from cxplane.release_name where hash = $3) and {_LIVE} order by id limit $5",
            tenant,
            journey,
            release,
            after,
            limit,
        )
        states = await self._private.open_all(tenant, [r["state"] for r in found])
        return [(r["id"], r["status"], state) for r, state in zip(found, states, strict=True)]

    async def counts(self, tenant: str) -> Sequence[tuple[str, str, str, int]]:
        found = await self._ask._rows(
            "select journey, coalesce((select n.hash from cxplane.release_name n where n.id = release), '') as hash, status,"
            " count(*) from cxplane.run where tenant = $1 group by 1, 2, 3 order by 1, 2, 3",
            tenant,
        )
        return [(r["journey"], r["hash"], r["status"], r["count"]) for r in found]

    async def task(self, tenant: str, id: str) -> TaskRow | None:
        found = await self._ask._rows(f"select {rows.TASK} from cxplane.task where tenant = $1 and id = $2", tenant, id)
        return (await self._tasks(tenant, found))[0] if found else None

    async def tasks(
        self,
        tenant: str,
        *,
        team: str | None = None,
        status: str | None = None,
        run: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[TaskRow], str | None]:
        where, values = ["tenant = $1"], [tenant]
        for name, value in {"team": team, "status": status, "run": run}.items():
            if value is not None:
                values.append(value)
                where.append(f"{name} = ${len(values)}")
        if status == "open":
            where.append("status = 'open'")
        found, after = await self._ask._newest("cxplane.task", rows.TASK, "opened_at", where, values, cursor, limit)
        return await self._tasks(tenant, found), after

    async def _tasks(self, tenant: str, found: Sequence[Any]) -> Sequence[TaskRow]:
        kept = await self._private.open_all(tenant, [(r["told"], r["answer"]) for r in found])
        return [rows.task_row(r, told, answer) for r, (told, answer) in zip(found, kept, strict=True)]

    async def fire_timers(self, *, limit: int = 500, now: datetime | None = None) -> tuple[int, float | None]:
        found = await self._ask._rows("select * from cxplane.fire_timers($1, $2)", now, limit, patience_s=0.0)
        fired, next_due, at = found[0]
        return fired, None if next_due is None else (next_due - at).total_seconds()

    async def revive(self, before: datetime, *, limit: int = 500) -> int:
        found = await self._ask._rows("select cxplane.revive_runs($1, $2) as n", before, limit, patience_s=0.0)
        return int(found[0]["n"])

    async def at_work(self, tenant: str, *, lease: timedelta, runs: Sequence[str] = ()) -> tuple[int, int]:
        found = await self._ask._rows(
            "select others, woken from cxplane.at_work($1, $2, $3, $4)",
            tenant,
            self._worker,
            lease,
            list(runs),
            patience_s=0.0,
        )
        return found[0]["others"], found[0]["woken"]

    async def let_go(self, tenant: str, runs: Sequence[str], *, leaving: bool = False) -> int:
        values = [tenant, [self._worker], list(runs)]
        found = await self._ask._rows("select cxplane.let_go($1, $2, $3) as n", *values, patience_s=0.0)
        if leaving:
            gone = "delete from cxplane.worker where tenant = $1 and id = $2"
            await self._ask._rows(gone, tenant, self._worker, patience_s=0.0)
        return int(found[0]["n"])

    async def listeners(self, tenant: str, type: str, key: str) -> Sequence[str | None]:
        found = await self._ask._rows(
            "select distinct r.customer, case when r.customer is null then r.conversation end as conversation"
            " from cxplane.listen l join cxplane.run r on r.tenant = l.tenant and r.id = l.run"
            " where l.tenant = $1 and l.type = $2 and l.key = $3 limit 3",
            tenant,
            type,
            key,
        )
        return [subject_of(r["customer"], r["conversation"]) for r in found]

    async def depth(self, tenant: str, id: str) -> int:
        found = await self._ask._rows(
            "select coalesce((e.body ->> 'depth')::int, 0) as depth from cxplane.run r"
            " join cxplane.entry e on e.tenant = r.tenant and e.position = r.began and e.stream = r.id"
            " where r.tenant = $1 and r.id = $2",
            tenant,
            id,
        )
        return int(found[0]["depth"]) if found else 0

    async def requests(self, tenant: str, run: str) -> Sequence[str]:
        found = await self._ask._rows(
            "select id from cxplane.request where tenant = $1 and run = $2 order by at, id", tenant, run
        )
        return [r["id"] for r in found]
