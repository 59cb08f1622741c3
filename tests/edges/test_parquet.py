"""`cxplane export-parquet`: tables that say the same as the store, read back with DuckDB."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cxplane.domain.errors import CxplaneError
from cxplane.domain.record import NewEntry, Write
from cxplane.domain.run_entries import run_started
from cxplane.record.tables import TABLES
from tests.loop.world import TENANT, World, world

duckdb = pytest.importorskip("duckdb")
CALL = [sys.executable, "-m", "cxplane.edges.cli"]
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)


def ask(folder: Path, sql: str) -> list[Any]:
    """SQL over the tables, by their names."""
    with duckdb.connect() as link:
        for table in TABLES:
            place = f"{folder}/{table.name}/**/*.parquet"
            link.execute(f"create view {table.name} as select * from read_parquet('{place}', hive_partitioning = true)")
        found: list[Any] = link.execute(sql).fetchall()
        return found


async def of_store(dsn: str, sql: str) -> list[Any]:
    link = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await link.fetch(sql)]
    finally:
        await link.close()


async def typed(dsn: str, *args: str, code: int = 0, **more: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(Path("src").absolute()), "CXPLANE_DSN": dsn, **more}
    process = await asyncio.create_subprocess_exec(
        *CALL, *args, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == code, out.decode()
    return out.decode()


async def cases(w: World) -> None:
    """Something of everything: allowed, refused, held and approved, held and open, runs, two months."""
    await w.know()
    for n in range(4):
        await w.ask(100 + n, dispute=f"small-{n}")
    await w.ask(10**9, dispute="too-much")
    for n in range(2):
        held = await w.ask(8000, dispute=f"held-{n}")
        assert held.approval is not None
        if n:
            await w.plane.approve(w.plane.caller("person:maria"), held.approval, comment="fine")
    for n in range(3):
        at = NOW + timedelta(days=20 * n)
        started = run_started(
            f"run_{n}",
            journey="dispute",
            key=f"k{n}",
            customer="c1",
            conversation=None,
            input={"secret": n},
            started_by="agent:fin",
            at=at,
            release="rel",
        )
        await w.plane.store.append(Write(TENANT, (started,)))
        for k in range(n):
            status, idle = ("waiting", True) if k == 0 else ("done", True)
            body = {"run": f"run_{n}", "status": status, "idle": idle}
            await w.plane.store.append(
                Write(TENANT, (NewEntry("run.advanced", f"run_{n}", at, "cxplane", body, {"state": {}}),))
            )


@pytest.mark.timeout(120)
async def test_tables_count_and_sum_what_the_store_does(dsn: str, tmp_path: Path) -> None:
    async with world(dsn) as w:
        await cases(w)
    to, record = tmp_path / "tables", tmp_path / "record"
    await typed(dsn, "export-parquet", str(to))

    (entries,) = await of_store(dsn, "select count(*), sum(position), count(private) from cxplane.entry")
    assert ask(to, "select count(*), sum(position), count(private) from entries") == [entries]
    for kind, table in (("request", "requests"), ("decision", "decisions"), ("outcome", "outcomes")):
        sql = "select count(*), sum(position), min(stream), max(stream) from {} where kind = '{}'"
        assert ask(to, f"select count(*), sum(position), min(request), max(request) from {table}") == await of_store(
            dsn, sql.format("cxplane.entry", kind)
        )
    assert ask(to, "select verdict, count(*) from decisions group by 1 order by 1") == await of_store(
        dsn, "select body->>'verdict', count(*) from cxplane.entry where kind = 'decision' group by 1 order by 1"
    )
    assert ask(to, "select sum(money), round(sum(took_ms), 2) from decisions") == [
        (money, float(took))
        for money, took in await of_store(
            dsn,
            "select sum((body->>'money')::bigint), round(sum((body->>'took_ms')::numeric), 2) from cxplane.entry"
            " where kind = 'decision'",
        )
    ]
    assert ask(
        to,
        "select r.id, o.status from (select request as id, max(position) as p from outcomes group by 1) r"
        " join outcomes o on o.position = r.p order by 1",
    ) == await of_store(dsn, "select id, status from cxplane.request where status = 'done' order by 1")
    assert ask(to, "select approval, status, decided_by, epoch_us(decided_at) from approvals order by 1") == [
        (id, status, by, at and round(at.timestamp() * 1e6))
        for id, status, by, at in await of_store(
            dsn, "select id, status, decided_by, decided_at from cxplane.approval order by 1"
        )
    ]
    assert ask(to, "select run, journey, customer, status, epoch_us(time) from runs order by 1") == [
        (id, journey, customer, status, round(at.timestamp() * 1e6))
        for id, journey, customer, status, at in await of_store(
            dsn, "select id, journey, customer, status, started_at from cxplane.run order by 1"
        )
    ]
    assert ask(to, "select list_sort(reasons), list_sort(facts) from decisions where verdict = 'hold' limit 1")[0][1]
    assert {month for (month,) in ask(to, "select distinct month from runs")} == {"2026-03", "2026-04"}
    names = ask(
        to,
        "select table_name, list(column_name order by column_index) from duckdb_columns() where not internal group by 1",
    )
    assert dict(names) == {t.name: [*(c.name for c in t.columns), "month"] for t in TABLES}

    await typed(dsn, "export", str(record), CXPLANE_TENANT=TENANT)
    again = tmp_path / "again"
    await typed("postgresql://nobody@127.0.0.1:9/none", "export-parquet", str(again), "--lines", str(record))
    for table in TABLES:
        assert ask(again, f"select * from {table.name} order by position") == ask(
            to, f"select * from {table.name} order by position"
        )


async def test_only_what_this_command_made_is_replaced(dsn: str, tmp_path: Path) -> None:
    lines = tmp_path / "some.jsonl"
    lines.write_text("")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for more in ((), ("--replace",)):
        told = await typed(dsn, "export-parquet", str(mine), "--lines", str(lines), *more, code=1)
        assert "Name another folder" in told
    assert (mine / "thesis.txt").read_text() == "years of work"
    to = tmp_path / "tables"
    await typed(dsn, "export-parquet", str(to), "--lines", str(lines))
    assert ask(to, "select count(*) from decisions") == [(0,)]
    assert "--replace" in await typed(dsn, "export-parquet", str(to), "--lines", str(lines), code=1)
    await typed(dsn, "export-parquet", str(to), "--lines", str(lines), "--replace")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "some.jsonl", "tables"]


def test_without_duckdb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cxplane.wiring import check_parquet

    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(CxplaneError) as told:
        check_parquet(tmp_path / "x", replace=False)
    assert "pip install 'cxplane[analytics]'" in told.value.next


async def test_lines_that_are_none_leave_what_was_there_and_are_not_quoted(dsn: str, tmp_path: Path) -> None:
    lines = tmp_path / "some.jsonl"
    lines.write_text('{"id":"1","secret":"Ada"} Ada\n')
    told = await typed(dsn, "export-parquet", str(tmp_path / "tables"), "--lines", str(lines), code=1)
    assert "cannot be made" in told
    assert "Ada" not in told
    assert [p.name for p in tmp_path.iterdir()] == ["some.jsonl"]
