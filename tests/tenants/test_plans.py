"""Policies must not cost the index: what is asked often is found by its key, under a policy as without one."""

from __future__ import annotations

import pytest

from cxplane.adapters.postgres.access import open_access
from cxplane.adapters.postgres.connect import connect

ROWS = """
insert into cxplane.request (tenant, id, action, caller, status, input_hash, at, updated_at)
    select 'northwind', 'r' || n, 'a', 'c', 'done', '', now(), now() from generate_series(1, 20000) n;
insert into cxplane.customer (tenant, id) select 'northwind', 'c' || n from generate_series(1, 20000) n;
insert into cxplane.mailbox (tenant, stream) select 'northwind', 'r' || n from generate_series(1, 20000) n;
insert into cxplane.timer (tenant, run, name, due)
    select 'northwind', 'r' || n, '1:due', now() + n * interval '1 second' from generate_series(1, 20000) n;
select cxplane.ensure_month('2026-11-01');
insert into cxplane.entry (position, at, tenant, stream, kind, actor, body)
    select n, '2026-11-05', 'northwind', 'r' || n, 'request', 'x', '{}' from generate_series(1, 20000) n;
analyze cxplane.request, cxplane.customer, cxplane.mailbox, cxplane.timer, cxplane.entry;
"""
ASKED = {
    "select status from cxplane.request where tenant = 'northwind' and id = 'r7'": "(id = 'r7'",
    "select 1 from cxplane.customer where tenant = 'northwind' and id = 'c7'": "(id = 'c7'",
    "update cxplane.mailbox set busy = false where tenant = 'northwind' and stream = 'r7'": "(stream = 'r7'",
    "select min(due) from cxplane.timer where not fired": "(tenant = current_setting",
    "select run from cxplane.timer where not fired and due <= now() order by due limit 9": "(due <= now())",
    "select * from cxplane.entry where stream = 'r7' and tenant = 'northwind' order by position": "(stream = 'r7'",
    "select * from cxplane.entry where tenant = 'northwind' and position > 5 and position <= 900 order by position limit 9": (
        '("position" > 5)'
    ),
    "select id from cxplane.api_key where hash = 'h' and tenant = 'northwind'": "(hash = 'h'",
}


@pytest.mark.parametrize("sql", ASKED)
async def test_what_is_asked_often_is_found_by_an_index(dsn: str, sql: str) -> None:
    owner = await connect(dsn)
    await owner.execute(ROWS)
    await owner.close()
    link = await connect(dsn, "plans", await open_access(dsn, "northwind"))
    plan = [row[0] for row in await link.fetch(f"explain (costs off) {sql}")]
    await link.close()
    assert any("Index Cond" in line and ASKED[sql] in line for line in plan), "\n".join(plan)
    assert not any("Seq Scan" in line for line in plan)
