"""Personal data is sealed in the record, and plain to whoever has the key."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.adapters.operator_key import OperatorKey
from cxplane.adapters.postgres.sealing import Damaged, Salter, disclosed, key_id, opened, ready, sealed, sealed_private
from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.errors import Malformed, StoreError
from cxplane.domain.record import NewEntry, Write

T = "northwind"
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
KEY = ready(T, "k1", b"s" * 32)
OTHER = ready(T, "k2", b"o" * 32)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_what_is_sealed_is_opened_to_the_same(value: Any) -> None:
    text = sealed(KEY, value, "field")
    assert (key_id(text), opened(text, {"k1": KEY})) == ("k1", value)


@given(values)
def test_the_same_value_is_the_same_text_and_elsewhere_another(value: Any) -> None:
    assert sealed(KEY, value, "a") == sealed(KEY, value, "a")
    assert len({sealed(KEY, value, "a"), sealed(KEY, value, "b"), sealed(OTHER, value, "a")}) == 3


def test_a_third_party_checks_what_it_is_shown_with_a_hash_alone() -> None:
    text = sealed(KEY, {"amount": 5}, "input")
    salt, shown = disclosed(KEY, text)
    coded = text.split(":")[2]
    commitment = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))[:32]
    assert hashlib.sha256(salt + shown).digest() == commitment
    assert json.loads(shown) == {"amount": 5}
    assert hashlib.sha256(salt + b'{"amount":6}').digest() != commitment


@given(st.binary(max_size=64), st.binary(max_size=300))
def test_a_salt_is_a_plain_hmac_again_and_again(secret: bytes, text: bytes) -> None:
    salter = Salter(secret)
    assert [salter(text), salter(text)] == [hmac.digest(secret, text, "sha256")] * 2


@pytest.mark.parametrize("place", [12, 60, -3])
def test_a_changed_seal_is_found_out(place: int) -> None:
    text = sealed(KEY, {"a": "x" * 200}, "input")
    changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
    with pytest.raises(Damaged):
        opened(changed, {"k1": KEY})
    with pytest.raises(Damaged):
        opened(text, {"k1": OTHER})


def test_projections_find_the_names_they_fold() -> None:
    kept = sealed_private(
        "customer.changed", {"attributes": {"mail": "a@b", "gone": None}, "identities": [{"kind": "e"}]}, KEY
    )
    assert kept["attributes"].keys() == {"mail", "gone"}
    assert kept["attributes"]["gone"] is None
    assert key_id(kept["identities"][0]) == "k1"
    assert sealed_private("request", {"input": {"a": 1}}, KEY).keys() == {"~"}
    assert sealed_private("run.advanced", {"state": {}, "waits": ["a", "b"]}, KEY)["waits"][1].startswith("cxe1:k1:")


def test_long_texts_are_packed() -> None:
    assert len(sealed(KEY, {"context": {"facts": {"a": "late because of the storm " * 20}}})) < 300


async def kept(dsn: str) -> list[str]:
    link = await asyncpg.connect(dsn)
    try:
        return [r[0] for r in await link.fetch("select private::text from cxplane.entry where private is not null")]
    finally:
        await link.close()


def note(n: int, subject: str | None = "c1", **private: Any) -> Write:
    return Write(T, (NewEntry("note", f"s{n}", NOW, "person:m", {}, private or {"n": n}, subject=subject),))


async def test_the_record_holds_no_personal_data_in_the_clear(store: PostgresStore, dsn: str) -> None:
    await store.append(note(1, name="Ursula Marker"))
    assert [e.private for e in await store.stream(T, "s1")] == [{"name": "Ursula Marker"}]
    assert [("cxe1:" in one, "Ursula" in one) for one in await kept(dsn)] == [(True, False)]


async def test_planes_that_make_a_key_at_the_same_moment_agree_on_one(dsn: str) -> None:
    stores = [await open_store(dsn, tenant=T) for _ in range(3)]
    try:
        await asyncio.gather(*(stores[n % 3].append(note(n)) for n in range(30)))
        for n in range(30):
            assert [e.private for e in await stores[(n + 1) % 3].stream(T, f"s{n}")] == [{"n": n}]
        assert len({key_id(json.loads(one)["~"]) for one in await kept(dsn)}) == 1
    finally:
        await asyncio.gather(*(one.aclose() for one in stores))


async def test_each_customer_has_a_key_of_its_own(store: PostgresStore, dsn: str) -> None:
    await asyncio.gather(*(store.append(note(n, subject)) for n, subject in enumerate(("c1", "c2", None, "c1"))))
    assert len({key_id(json.loads(one)["~"]) for one in await kept(dsn)}) == 3


async def test_what_was_written_before_sealing_is_still_read(store: PostgresStore, dsn: str) -> None:
    await store.append(note(1))
    link = await asyncpg.connect(dsn)
    await link.execute(
        "insert into cxplane.entry (position, at, tenant, stream, kind, actor, body, private)"
        """ values (nextval('cxplane.entry_position'), $1, $2, 's1', 'note',
            'x', '{}', '{"old": "cxe1:like a seal"}')""",
        NOW,
        T,
    )
    await link.close()
    assert [e.private for e in await store.stream(T, "s1")] == [{"n": 1}, {"old": "cxe1:like a seal"}]


async def test_without_the_right_operator_key_the_store_does_not_open(store: PostgresStore, dsn: str) -> None:
    await store.append(note(1))
    with pytest.raises(StoreError, match="wrapped by the operator key") as told:
        await open_store(dsn, tenant=T, operator=OperatorKey([b"x" * 32]))
    assert "CXPLANE_DATA_KEY" in told.value.next


@pytest.mark.parametrize("value", ["\0", {"\0": 1}, ["a", {"b": "x\0"}], "\ud800", {1.5: object()}])
async def test_what_json_cannot_say_is_turned_away(store: PostgresStore, value: object) -> None:
    with pytest.raises(Malformed):
        await store.append(note(1, value=value))
    await store.append(note(2, value="\\u0000"))
    assert (await store.stream(T, "s2"))[0].private == {"value": "\\u0000"}
