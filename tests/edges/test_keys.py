"""API keys: shown once, kept as a hash, limited, rotated, revoked; the same for whoever holds one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from cxplane.adapters import identity as adapter
from cxplane.domain.key_entries import key_created, key_revoked
from cxplane.domain.keys import SCOPES
from cxplane.domain.record import Write
from cxplane.edges.cli.app import cli
from cxplane.edges.http.routes import ROUTES
from tests.tenants.world import Side, two

CREDIT = {"action": "billing.issue_credit", "customer": "c1", "channel": "chat"}


@pytest.fixture
async def acme(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Side]:
    async with two(dsn) as (side, _):
        yield side


async def cx(dsn: str, *args: str) -> Any:
    env = {"CXPLANE_DSN": dsn, "CXPLANE_TENANT": "acme"}
    return await asyncio.to_thread(CliRunner(env=env).invoke, cli, ["keys", *args])


async def made(dsn: str, *args: str) -> dict[str, Any]:
    result = await cx(dsn, *args, "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


async def status(side: Side, key: str, path: str = "/v1/actions", body: Any = None) -> int:
    auth = {"Authorization": f"Bearer {key}"}
    reply = await (side.http.post(path, json=body, headers=auth) if body else side.http.get(path, headers=auth))
    return reply.status_code


def credit(dispute: str) -> dict[str, Any]:
    return CREDIT | {"input": {"account_id": "a1", "dispute_id": dispute, "amount": 1000}}


def test_every_route_says_what_a_limited_key_must_be_for() -> None:
    assert {r.needs for r in ROUTES if not r.open} == set(SCOPES)


async def test_a_limited_key_can_do_less_than_its_caller_and_never_more(acme: Side, dsn: str) -> None:
    asks = (await made(dsn, "create", "agent:fin", "--scope", "ask"))["key"]
    reads = (await made(dsn, "create", "agent:fin", "--scope", "read"))["key"]
    assert await status(acme, asks, "/v1/requests", credit("d1")) == 200
    assert await status(acme, asks, "/v1/requests") == 403
    assert await status(acme, reads, "/v1/requests") == 200
    assert await status(acme, reads, "/v1/requests", credit("d2")) == 403
    changes = (await made(dsn, "create", "agent:fin", "--scope", "consents", "--scope", "read"))["key"]
    said = {"purpose": "ads", "granted": True, "source": "x"}
    assert await status(acme, changes, "/v1/customers/c1/consents", said) == 403  # fin itself may not


async def test_a_key_for_some_actions_asks_for_no_other(acme: Side, dsn: str) -> None:
    key = (await made(dsn, "create", "agent:fin", "--action", "billing.get_account"))["key"]
    looks = {"action": "billing.get_account", "input": {"account_id": "a1"}, "channel": "chat"}
    assert await status(acme, key, "/v1/requests", looks) == 200
    assert await status(acme, key, "/v1/requests", credit("d1")) == 403
    assert (await acme.country.plane.store.request("acme", "req_request")) is not None
    assert await status(acme, key, "/v1/requests/req_request/undo", {"reason": "x"}) == 403
    unknown = await cx(dsn, "create", "agent:fin", "--action", "billing.nothing")
    assert unknown.exit_code == 1


async def test_a_rotated_key_keeps_its_limits_and_the_old_one_ends_after_the_overlap(
    acme: Side, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "KEY_TTL_S", 0.0)
    old = await made(dsn, "create", "agent:fin", "--scope", "read", "--expires", "90d")
    new = await made(dsn, "rotate", old["id"], "--overlap", "1h")
    assert (new["caller"], new["scope"], new["replaces"]) == ("agent:fin", ["read"], old["id"])
    assert new["key"] != old["key"]
    lasts = datetime.fromisoformat(new["expires_at"]) - datetime.now(UTC)
    assert 89 <= lasts.days <= 90
    assert [await status(acme, k["key"]) for k in (old, new)] == [200, 200]
    last = await made(dsn, "rotate", new["id"], "--overlap", "0s")
    assert [await status(acme, k["key"]) for k in (old, new, last)] == [200, 401, 200]
    assert (await cx(dsn, "rotate", new["id"])).exit_code == 1  # it has ended
    rows = {r.id: r for r in await acme.country.plane.store.keys("acme")}
    assert rows[old["id"]].expires_at is not None
    assert (rows[old["id"]].expires_at - datetime.now(UTC)).total_seconds() <= 3600  # type: ignore[operator]
    await acme.country.plane.store.rebuild("acme")  # type: ignore[attr-defined]
    assert {r.id: r for r in await acme.country.plane.store.keys("acme")} == rows


async def test_a_revoked_key_stops_within_the_time_that_is_promised(acme: Side, dsn: str) -> None:
    key = await made(dsn, "create", "agent:fin")
    assert await status(acme, key["key"]) == 200
    await made(dsn, "revoke", key["id"])
    await asyncio.sleep(adapter.KEY_TTL_S)
    assert await status(acme, key["key"]) == 401


async def test_a_key_is_found_in_no_table_log_or_list(acme: Side, dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "cxplane"):
        key = (await made(dsn, "create", "agent:fin"))["key"]
        assert await status(acme, key) == 200
        listed = (await cx(dsn, "list")).output
    secret = key.rsplit("_", 1)[1]
    link = await asyncpg.connect(dsn)
    names = await link.fetch(
        "select relname from pg_class where relnamespace = 'cxplane'::regnamespace and relkind in ('r', 'p')"
    )
    for (name,) in names:
        assert not await link.fetchval(f"select count(*) from cxplane.{name} t where t::text like $1", f"%{secret}%")
    await link.close()
    assert secret not in caplog.text + listed


async def test_the_list_shows_the_day_of_the_last_use(acme: Side, dsn: str) -> None:
    key = await made(dsn, "create", "agent:fin")
    other = await made(dsn, "create", "agent:fin")
    assert await status(acme, key["key"]) == 200
    for _ in range(50):
        used = {i["id"]: i["last_used"] for i in json.loads((await cx(dsn, "list", "--json")).stdout)["items"]}
        if used[key["id"]]:
            break
        await asyncio.sleep(0.1)
    assert (used[key["id"]], used[other["id"]]) == (datetime.now(UTC).date().isoformat(), None)


async def test_a_key_cannot_be_given_again_the_id_of_another(acme: Side) -> None:
    store, now = acme.country.plane.store, datetime.now(UTC)
    by: dict[str, Any] = {"expires_at": None, "at": now, "actor": "x"}
    await store.append(Write("acme", (key_created("k1", caller="agent:fin", hash="h1", scope=["read"], **by),)))
    await store.append(Write("acme", (key_revoked("k1", at=now, actor="x"),)))
    await store.append(Write("acme", (key_created("k1", caller="person:maria", hash="h2", **by),)))
    found = await store.key_by_hash("acme", "h1")
    assert found is not None and found.revoked_at is not None and found.scope == {"read"}
    assert await store.key_by_hash("acme", "h2") is None
