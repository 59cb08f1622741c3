"""Customers, how sure we are of them, what they allow; conversations and what was learnt in them."""

from __future__ import annotations

import msgspec

from cxplane.domain.customer import Customer
from cxplane.domain.erasure import CustomerErased
from cxplane.domain.errors import Malformed
from cxplane.domain.values import derived_id
from cxplane.edges.http.bodies import (
    AssuranceBody,
    ConsentBody,
    ConversationBody,
    ConversationOpened,
    CustomerBody,
    CustomerPage,
    EraseBody,
    ErasureReport,
    FactBody,
    FactRecorded,
    HoldBody,
    HoldSet,
)
from cxplane.edges.http.route import CURSOR, LIMIT, Answer, Call, Route


async def list_customers(call: Call) -> Answer:
    items, more = await call.plane.customers(call.caller, cursor=call.cursor, limit=call.limit)
    return Answer(CustomerPage(list(items), more))


async def show_customer(call: Call) -> Answer:
    return Answer(await call.plane.customer(call.caller, call.path["id"]))


async def put_customer(call: Call) -> Answer:
    body: CustomerBody = call.body
    identities = [msgspec.to_builtins(one) for one in body.identities]
    return Answer(
        await call.plane.put_customer(call.caller, call.path["id"], attributes=body.attributes, identities=identities)
    )


async def assure(call: Call) -> Answer:
    body: AssuranceBody = call.body
    return Answer(
        await call.plane.assure(
            call.caller, call.path["id"], level=body.level, method=body.method, lifetime=body.lifetime
        )
    )


async def consent(call: Call) -> Answer:
    body: ConsentBody = call.body
    return Answer(
        await call.plane.consent(
            call.caller,
            call.path["id"],
            purpose=body.purpose,
            granted=body.granted,
            source=body.source,
            channel=body.channel,
            data=tuple(body.data),
        )
    )


async def erase(call: Call) -> Answer:
    body: EraseBody = call.body
    return Answer(await call.plane.erase(call.caller, call.path["id"], reason=body.reason))


async def show_erasure(call: Call) -> Answer:
    left = await call.plane.left_of(call.caller, call.path["id"])
    return Answer(ErasureReport(left.nothing, left))


async def hold(call: Call) -> Answer:
    body: HoldBody = call.body
    await call.plane.hold(call.caller, call.path["id"], on=body.on, reason=body.reason)
    return Answer(HoldSet(call.path["id"], body.on))


async def open_conversation(call: Call) -> Answer:
    body: ConversationBody = call.body
    id = body.id
    if id is None and call.idempotency_key is not None:
        id = derived_id("con", call.plane.tenant, call.caller.name, call.idempotency_key)
    opened = await call.plane.open_conversation(call.caller, id=id, customer=body.customer, channel=body.channel)
    return Answer(ConversationOpened(opened), 201)


async def record_fact(call: Call) -> Answer:
    body: FactBody = call.body
    if body.value is msgspec.UNSET:
        raise Malformed(
            "missing field `value`", where="/value", next="Send the value that was learnt; null is one too."
        )
    await call.plane.record_fact(call.caller, call.path["id"], name=body.name, value=body.value)
    return Answer(FactRecorded(call.path["id"], body.name), 201)


ROUTES = (
    Route(
        "GET",
        "/v1/customers",
        "list_customers",
        "customers",
        "Customers",
        list_customers,
        CustomerPage,
        text="Needs the permission `customers`.",
        query=(CURSOR, LIMIT),
        errors=("forbidden",),
    ),
    Route(
        "GET",
        "/v1/customers/{id}",
        "show_customer",
        "customers",
        "One customer",
        show_customer,
        Customer,
        text="Needs the permission `customers`.",
        errors=("forbidden", "not-found"),
    ),
    Route(
        "PUT",
        "/v1/customers/{id}",
        "put_customer",
        "customers",
        "Create or change a customer",
        put_customer,
        Customer,
        text="Attributes are those that plane.yaml declares; a null removes one. Needs the permission `customers`.",
        body=CustomerBody,
        errors=("forbidden",),
        example={"attributes": {"segment": "gold"}, "identities": [{"kind": "account", "value": "a-1001"}]},
        scope="customers",
    ),
    Route(
        "POST",
        "/v1/customers/{id}/assurance",
        "assure",
        "customers",
        "Record that the customer proved who they are",
        assure,
        Customer,
        text="Needs the permission `assurance`.",
        body=AssuranceBody,
        errors=("forbidden", "not-found"),
        example={"level": 2, "method": "otp", "lifetime": "30m"},
        scope="assurance",
    ),
    Route(
        "POST",
        "/v1/customers/{id}/consents",
        "consent",
        "customers",
        "Record what the customer allows",
        consent,
        Customer,
        text="The newest statement that covers purpose, channel and data counts. Needs the permission `consents`.",
        body=ConsentBody,
        errors=("forbidden", "not-found"),
        example={"purpose": "service", "granted": True, "source": "said in chat"},
        scope="consents",
    ),
    Route(
        "POST",
        "/v1/customers/{id}/erasure",
        "erase_customer",
        "customers",
        "Erase a customer",
        erase,
        CustomerErased,
        text="Destroys the customer's keys: what they sealed nobody can read any more, and the proofs of the record still "
        "stand. Refused while runs, approvals or unsettled requests are under way. Needs the permission `erase`.",
        body=EraseBody,
        body_optional=True,
        errors=("forbidden", "not-found", "conflict"),
        example={"reason": "asked for by letter of 5 March"},
        scope="erase",
    ),
    Route(
        "GET",
        "/v1/customers/{id}/erasure",
        "show_erasure",
        "customers",
        "Whether anything of an erased customer can still be read",
        show_erasure,
        ErasureReport,
        text="Looks at every entry of the record. Needs the permission `erase`.",
        errors=("forbidden", "not-found"),
    ),
    Route(
        "PUT",
        "/v1/customers/{id}/hold",
        "hold_customer",
        "customers",
        "Keep a customer from being erased, or no longer",
        hold,
        HoldSet,
        text="While it is on, neither `erase` nor retention destroys anything of them. Needs the permission `erase`.",
        body=HoldBody,
        errors=("forbidden",),
        example={"on": True, "reason": "case 12 O 345/26"},
        scope="erase",
    ),
    Route(
        "POST",
        "/v1/conversations",
        "open_conversation",
        "conversations",
        "Open a conversation",
        open_conversation,
        ConversationOpened,
        text="Needs the permission `facts`.",
        body=ConversationBody,
        body_optional=True,
        statuses={201: "Open."},
        errors=("forbidden", "not-found"),
        example={"customer": "c-1001", "channel": "chat"},
        keyed=True,
        scope="facts",
    ),
    Route(
        "POST",
        "/v1/conversations/{id}/facts",
        "record_fact",
        "conversations",
        "Record something that was learnt in the talk",
        record_fact,
        FactRecorded,
        text="Evidence that policy may use, with who and when. Needs the permission `facts`.",
        body=FactBody,
        statuses={201: "On record."},
        errors=("forbidden", "not-found"),
        example={"name": "customer_confirmed", "value": True},
        scope="facts",
    ),
)
