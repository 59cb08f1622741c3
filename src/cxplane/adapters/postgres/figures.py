"""What waits in the store, counted. Each count is over what is under way, never over what has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cxplane.ports.store import Figures

_LATE = (
    "select extract(epoch from now() - (select min(due) from cxplane.intent))::float8 as intent,"
    " extract(epoch from now() - (select min(expires_at) from cxplane.approval where status = 'open'))::float8 as approval,"
    " extract(epoch from now() - (select min(due) from cxplane.timer where not fired))::float8 as timer,"
    " extract(epoch from now() - (select min(execute_after) from cxplane.pgqueuer where status = 'queued'))::float8 as job,"
    " (select count(*) from cxplane.task where status = 'open') as tasks"
)
_RUNS = (
    "select status, count(*) as n from cxplane.run where status not in ('done', 'failed', 'cancelled') group by status"
)
_JOBS = "select entrypoint, status::text, count(*) as n from cxplane.pgqueuer group by 1, 2"


async def figures(rows: Callable[[str], Awaitable[list[Any]]]) -> Figures:
    (late,) = await rows(_LATE)
    return Figures(
        late_s={what: max(0.0, late[what] or 0.0) for what in ("intent", "approval", "timer", "job")},
        runs={row["status"]: row["n"] for row in await rows(_RUNS)},
        jobs={(row["entrypoint"], row["status"]): row["n"] for row in await rows(_JOBS)},
        open_tasks=late["tasks"],
    )
