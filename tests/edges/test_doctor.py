"""`cxplane doctor` finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from cxplane.adapters.clock import SystemClock
from cxplane.adapters.postgres.doctor import examine
from cxplane.adapters.postgres.store import PostgresStore
from cxplane.edges.cli.doctor import _waiting, doctor
from tests.conftest import run_sql
from tests.edges.running import Running, set_up


def told(ended: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(ended.output)["checks"]}


def look(*args: str) -> Any:
    return CliRunner().invoke(doctor, [*args, "--json"], standalone_mode=False, catch_exceptions=False)


def test_a_healthy_installation_is_ok_in_every_line_and_nothing_secret_is_shown(tmp_path: Path) -> None:
    running = set_up(tmp_path, {"keys": []})
    try:
        ended = running.cx("doctor", "--systems", "--json")
        shown = running.cx("doctor")
    finally:
        running.stop()
        running.shop.close()
    assert ended.code == 0, ended.out + ended.err
    checks = {check["name"]: check for check in ended.json["checks"]}
    wrong = {name: check for name, check in checks.items() if check["status"] != "ok" and name != "disk"}
    assert not wrong
    assert {
        "python",
        "store",
        "schema",
        "clock",
        "durability",
        "connections",
        "release of northwind",
        "secrets",
    } <= set(checks)
    assert {"system shop", "stuck runs", "approvals past their time"} <= set(checks)
    assert "shop-secret" not in ended.out + shown.out
    assert "\x1b" not in shown.out  # colours are for terminals
    missing = Running(running.root, running.shop).cx("doctor", "--json", SHOP_TOKEN="")
    (secret,) = [check for check in missing.json["checks"] if check["name"] == "secret SHOP_TOKEN"]
    assert secret["status"] == "warn" and "SHOP_TOKEN" in secret["next"]


def test_a_store_that_cannot_be_reached_is_3_and_says_what_to_do(tmp_path: Path) -> None:
    ended = look("--dsn", "postgresql://nobody@127.0.0.1:9/none", "--data", str(tmp_path))
    assert ended.return_value == 3
    assert told(ended)["store"]["status"] == "fail"
    assert told(ended)["store"]["next"]


def test_a_store_without_a_schema_is_looked_at_and_left_as_it_is(empty_dsn: str, tmp_path: Path) -> None:
    ended = look("--dsn", empty_dsn, "--data", str(tmp_path))
    assert told(ended)["schema"]["status"] == "warn"
    _, known = asyncio.run(examine(empty_dsn, SystemClock()))
    assert not known


def test_secrets_that_everybody_may_read_are_found(dsn: str, tmp_path: Path) -> None:
    key = tmp_path / "keys" / "data.key"
    key.parent.mkdir()
    key.write_text("x")
    key.chmod(0o644)
    ended = look("--dsn", dsn, "--data", str(tmp_path))
    assert ended.return_value == 1
    assert told(ended)["file modes"]["next"] == f"chmod 600 {key}"
    key.chmod(0o600)
    assert told(look("--dsn", dsn, "--data", str(tmp_path)))["file modes"]["status"] == "ok"


def test_a_commit_that_does_not_wait_for_the_disk_is_found(dsn: str) -> None:
    name = urlsplit(dsn).path.lstrip("/")
    asyncio.run(run_sql(dsn, f"alter database {name} set synchronous_commit to off"))
    checks, known = asyncio.run(examine(dsn, SystemClock()))
    assert known
    (found,) = [check for check in checks if check.name == "durability"]
    assert found.status == "fail" and "synchronous_commit off" in found.said


@pytest.mark.parametrize(("ago", "status"), [(0, "ok"), (100, "warn"), (1000, "fail")])
async def test_outcomes_that_nobody_finds_out_are_found(store: PostgresStore, dsn: str, ago: int, status: str) -> None:
    due = datetime.now(UTC) - timedelta(seconds=ago)
    await run_sql(
        dsn,
        "insert into cxplane.intent (tenant, request, action, due, tries)"
        f" values ('{store.tenant}', 'req_1', 'a.b', '{due.isoformat()}', 0)",
    )
    found = {check.name: check for check in _waiting(await store.figures())}
    assert found["outcomes to be found out"].status == status
    assert bool(found["outcomes to be found out"].next) == (status != "ok")
