"""What was spent of budgets: as it is counted now, and as it was at a position."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cxplane.adapters.postgres.questions import Questions
from cxplane.domain.record import BudgetUse

_SPENT = """
select v ->> 0, v ->> 1, v ->> 2, sum((v ->> 3)::bigint)::bigint, sum((v ->> 4)::bigint)::bigint, sum((v ->> 5)::bigint)::bigint
from cxplane.entry e cross join lateral jsonb_array_elements(e.takes -> 'reserve') v
where e.tenant = $1 and e.position < $2 and ($6::timestamptz is null or e.at >= $6) and e.takes ? 'reserve'
    and (v ->> 0, v ->> 1, v ->> 2) in (select * from unnest($3::text[], $4::text[], $5::text[]))
    and not exists (
        select from cxplane.entry f
        where f.stream = case jsonb_typeof(e.takes -> 'claim') when 'array' then e.takes -> 'claim' ->> 2 else e.stream end
            and f.tenant = $1 and f.position > e.position and f.position < $2 and cxplane.frees(f.kind, f.body))
group by 1, 2, 3
"""


class Budgets(Questions):
    """The part of the store about budgets. See `ports.store`."""

    async def budget_uses(self, tenant: str, *, since: str | None = None) -> Sequence[BudgetUse]:
        found = await self._rows(
            "select budget, scope, span, money, count, risk from cxplane.budget_use"
            " where tenant = $1 and ($2::text is null or span >= $2) order by budget, span, scope",
            tenant,
            since,
        )
        return [BudgetUse(*r) for r in found]

    async def spent(
        self, tenant: str, counters: Sequence[tuple[str, str, str]], *, before: int, since: datetime | None = None
    ) -> Sequence[BudgetUse]:
        if not counters:
            return []
        budgets, scopes, spans = (list(column) for column in zip(*counters, strict=True))
        found = await self._rows(_SPENT, tenant, before, budgets, scopes, spans, since)
        return [BudgetUse(*r) for r in found]
