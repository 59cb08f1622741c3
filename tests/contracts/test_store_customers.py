"""What a store owes its callers: customers are what was said of them."""

from __future__ import annotations

from datetime import timedelta

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.customer import Assurance, Identity
from cxplane.domain.customer_entries import (
    conversation_opened,
    customer_assured,
    customer_changed,
    customer_consented,
    fact_recorded,
)
from cxplane.domain.record import Appended, AsSeen, Changed, NewEntry, Write
from tests.contracts.writes import (
    NOW,
    T,
    about,
)


async def test_a_customer_is_what_was_said_of_them(store: PostgresStore) -> None:
    said = {"at": NOW, "actor": "system:crm"}
    await store.append(
        about(
            customer_changed(
                "c1", attributes={"segment": "gold", "old": 1}, identities=[{"kind": "email", "value": "a@b.c"}], **said
            )
        )
    )
    await store.append(
        about(
            customer_changed(
                "c1",
                attributes={"old": None, "vip": True},
                identities=[{"kind": "email", "value": "a@b.c"}, {"kind": "phone", "value": "1"}],
                **said,
            )
        )
    )
    customer = await store.customer(T, "c1")
    assert customer is not None
    assert customer.attributes == {"segment": "gold", "vip": True}
    assert customer.identities == (Identity("email", "a@b.c"), Identity("phone", "1"))
    assert await store.customer("other", "c1") is None
    assert await store.customer(T, "c2") is None


async def test_assurance_and_consent_are_kept_by_their_last_word(store: PostgresStore) -> None:
    until = NOW + timedelta(minutes=30)
    said = {"actor": "system:crm"}
    await store.append(about(customer_changed("c1", attributes={}, identities=[], at=NOW, **said)))
    await store.append(about(customer_assured("c1", level=1, method="otp", until=until, at=NOW, **said)))
    await store.append(about(customer_assured("c1", level=2, method="otp", until=until, at=NOW, **said)))
    await store.append(about(customer_assured("c1", level=2, method="otp", until=until + timedelta(1), at=NOW, **said)))
    for n, (granted, channel, data) in enumerate(
        [(True, None, []), (False, "chat", []), (True, "chat", ["billing"]), (False, None, [])]
    ):
        at = NOW + timedelta(seconds=n)
        await store.append(
            about(
                customer_consented(
                    "c1", purpose="service", granted=granted, source="form", at=at, channel=channel, data=data, **said
                )
            )
        )
    customer = await store.customer(T, "c1")
    assert customer is not None
    assert customer.assurances == (Assurance(1, "otp", until), Assurance(2, "otp", until + timedelta(1)))
    assert [(c.granted, c.channel, sorted(c.data), c.at) for c in customer.consents] == [
        (False, None, [], NOW + timedelta(seconds=3)),
        (True, "chat", ["billing"], NOW + timedelta(seconds=2)),
        (False, "chat", [], NOW + timedelta(seconds=1)),
    ]


async def test_customers_are_listed_page_by_page(store: PostgresStore) -> None:
    for n in range(5):
        await store.append(about(customer_changed(f"c{n}", attributes={}, identities=[], at=NOW, actor="x")))
    first, cursor = await store.customers(T, limit=3)
    rest, end = await store.customers(T, limit=3, cursor=cursor)
    assert ([c.id for c in [*first, *rest]], end) == ([f"c{n}" for n in range(5)], None)


async def test_the_situation_is_read_at_once(store: PostgresStore) -> None:
    nothing = await store.situation(T, "c1", None)
    assert (nothing.customer, nothing.conversation_known) == (None, True)
    assert not (await store.situation(T, None, "con1")).conversation_known
    await store.append(about(customer_changed("c1", attributes={"segment": "gold"}, identities=[], at=NOW, actor="x")))
    await store.append(about(conversation_opened("con1", customer=None, channel="chat", at=NOW, actor="x")))
    await store.append(about(conversation_opened("con1", customer="c1", channel="chat", at=NOW, actor="x")))
    await store.append(
        about(fact_recorded("con1", name="reason", value="late", at=NOW, actor="agent:fin", customer=None))
    )
    await store.append(
        about(fact_recorded("con1", name="reason", value={"x": [1]}, at=NOW, actor="agent:pia", customer=None))
    )
    there = await store.situation(T, "c1", "con1")
    assert there.customer is not None
    assert (there.customer.attributes, there.conversation_known, there.conversation_customer) == (
        {"segment": "gold"},
        True,
        "c1",
    )
    assert (there.recorded["reason"].value, there.recorded["reason"].by, there.recorded["reason"].at) == (
        {"x": [1]},
        "agent:pia",
        NOW,
    )
    assert (await store.situation("other", "c1", "con1")).customer is None


async def test_what_was_decided_by_a_customer_as_seen_is_kept_only_while_it_is_so(store: PostgresStore) -> None:
    by = {"actor": "system:crm", "at": NOW}
    await store.append(Write(T, (customer_changed("c1", attributes={"a": 1}, identities=[], **by),)))
    await store.append(Write(T, (conversation_opened("talk", customer="c1", channel="chat", **by),)))

    async def seen(conversation: str | None) -> AsSeen:
        situation = await store.situation(T, "c1", conversation)
        assert situation.version is not None
        return AsSeen("c1", conversation, situation.version)

    alone, talking = await seen(None), await seen("talk")
    note = NewEntry("note", "s1", NOW, "x", {})
    for known in (alone, talking):
        assert isinstance(await store.append(Write(T, (note,), as_seen=known)), Appended)
    recorded = fact_recorded("talk", name="confirmed", value=True, customer="c1", **by)
    await store.append(Write(T, (recorded,)))
    assert isinstance(await store.append(Write(T, (note,), as_seen=alone)), Appended)
    assert await store.append(Write(T, (note,), as_seen=talking)) == Changed("c1")
    await store.append(Write(T, (customer_changed("c1", attributes={"a": 1}, identities=[], **by),)))
    before = len(await store.stream(T, "s1"))
    for known in (alone, talking, alone.changed(customer="nobody"), alone.changed(version="")):
        assert await store.append(Write(T, (note,), as_seen=known)) == Changed(known.customer)
    assert len(await store.stream(T, "s1")) == before
    assert isinstance(await store.append(Write(T, (note,), as_seen=await seen("talk"))), Appended)
    assert (await store.situation(T, None, None)).version is None
