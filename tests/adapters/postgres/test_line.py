"""The line of an entry: the bytes that are sealed, exported and verified."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.record import Appended, NewEntry, Write
from tests.contracts.writes import T, allowed

AT = datetime(2026, 3, 5, 10, 0, 0, 1200, tzinfo=UTC)


async def lines(dsn: str, *settings: str) -> list[str]:
    link = await asyncpg.connect(dsn)
    try:
        for setting in settings:
            await link.execute(setting)
        rows = await link.fetch("select cxplane.line(e) as line from cxplane.entry e order by position")
        return [row["line"] for row in rows]
    finally:
        await link.close()


async def put(store: PostgresStore, **entry: Any) -> None:
    given = {"kind": "note", "stream": "s-1", "at": AT, "actor": "agent:fin", "body": {}} | entry
    assert isinstance(await store.append(Write(T, (NewEntry(**given),))), Appended)


async def test_a_line_is_exactly_these_bytes(store: PostgresStore, dsn: str) -> None:
    await put(store, body={"b": 1, "a": "ü"}, release="r" * 8, cause="sig_1")
    (line,) = await lines(dsn)
    assert line == (
        '{"specversion":"1.0","id":"1","source":"/cxplane/northwind","type":"cxplane.note","subject":"s-1",'
        '"time":"2026-03-05T10:00:00.001200Z","datacontenttype":"application/json","data":{"actor":"agent:fin",'
        '"release":"rrrrrrrr","cause":"sig_1","takes":null,"body":{"a": "ü", "b": 1},"private":null}}'
    )


async def test_what_is_not_there_is_null(store: PostgresStore, dsn: str) -> None:
    await put(store)
    data = json.loads((await lines(dsn))[0])["data"]
    assert data == {"actor": "agent:fin", "release": None, "cause": None, "takes": None, "body": {}, "private": None}


async def test_a_line_is_a_cloud_event(store: PostgresStore, dsn: str) -> None:
    await store.append(allowed("r1", "k1"))
    for line in await lines(dsn):
        event = json.loads(line)
        assert event["specversion"] == "1.0" and event["datacontenttype"] == "application/json"
        for name in ("id", "source", "type", "subject"):
            assert isinstance(event[name], str) and event[name]
        assert datetime.fromisoformat(event["time"]).tzinfo == UTC
        assert set(event) == {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}


@pytest.mark.parametrize(
    "value",
    [
        'quote " and \\ back',
        "lines\r\n\tand \x01 and \x7f",
        "\u2028 \u00e9 e\u0301 漢字 \U0001f9fe",
        2**63 - 1,
        -(2**53),
        0.1,
        1e-7,
        1e22,
        [[], {}, "", None, True, False],
        {"ü": {"": [{"deep": None}]}},
    ],
    ids=repr,
)
async def test_any_value_comes_back_as_it_was_on_one_line(store: PostgresStore, dsn: str, value: Any) -> None:
    name = value if isinstance(value, str) else "s-1"
    await put(store, stream=name, actor=name, cause=name, body={"v": value}, private={"v": "x"})
    (line,) = await lines(dsn)
    assert "\n" not in line and "\r" not in line
    event = json.loads(line)
    assert event["subject"] == event["data"]["actor"] == event["data"]["cause"] == name
    assert event["data"]["body"] == {"v": value}
    assert event["data"]["private"]["~"].startswith("cxe1:")


async def test_the_bytes_do_not_depend_on_who_asks(store: PostgresStore, dsn: str) -> None:
    await store.append(allowed("r1", "k1"))
    await put(store, at=AT.astimezone(timezone(timedelta(hours=-9))), body={"f": 1.5, "n": 10**20})
    plain = await lines(dsn)
    other = await lines(
        dsn,
        "set timezone to 'Asia/Kathmandu'",
        "set datestyle to 'German'",
        "set extra_float_digits to -5",
        "set bytea_output to 'escape'",
        "set intervalstyle to 'sql_standard'",
        "set standard_conforming_strings to off",
    )
    assert other == plain


async def test_a_leaf_is_the_hash_of_the_line(store: PostgresStore, dsn: str) -> None:
    await put(store, body={"name": "Müller"})
    (line,) = await lines(dsn)
    link = await asyncpg.connect(dsn)
    leaf = await link.fetchval("select cxplane.leaf(e) from cxplane.entry e")
    await link.close()
    assert leaf == hashlib.sha256(b"\x00" + line.encode()).digest()
