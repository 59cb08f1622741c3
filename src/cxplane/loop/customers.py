"""What is known of customers and conversations: recorded by those whom the control repo trusts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxplane.domain.customer import Customer
from cxplane.domain.customer_entries import (
    conversation_opened,
    customer_assured,
    customer_changed,
    customer_consented,
    fact_recorded,
)
from cxplane.domain.errors import Malformed, NotFound
from cxplane.domain.people import Caller
from cxplane.domain.record import NewEntry, Write
from cxplane.domain.values import Json, canonical, new_id, span
from cxplane.loop.access import must
from cxplane.loop.live import Releases
from cxplane.ports.clock import Clock
from cxplane.ports.store import Store

_TYPES: dict[str, tuple[type, ...]] = {"String": (str,), "Long": (int,), "Bool": (bool,)}


class Customers:
    def __init__(self, tenant: str, store: Store, releases: Releases, clock: Clock) -> None:
        self._tenant, self._store, self._releases, self._clock = tenant, store, releases, clock

    async def put(
        self, caller: Caller, id: str, *, attributes: Mapping[str, Json], identities: Sequence[Mapping[str, str]]
    ) -> Customer:
        """Create or change; a null attribute removes it."""
        live = self._releases.need()
        must(live, caller, "customers")
        declared = live.release.repo.plane.customer_attributes
        for name, value in attributes.items():
            if name not in declared:
                known = ", ".join(sorted(declared)) or "none"
                raise Malformed(
                    f"customers have no attribute {name!r}",
                    where=f"/attributes/{name}",
                    next=f"Declare it under customer.attributes in plane.yaml; declared: {known}.",
                )
            wanted = _TYPES.get(declared[name], (str,))
            if value is not None and (
                not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)
            ):
                raise Malformed(f"{name} must be a {declared[name]}", where=f"/attributes/{name}")
        self._plain(attributes, "/attributes")
        now = self._clock.now()
        entry = customer_changed(id, attributes=attributes, identities=identities, at=now, actor=caller.name)
        await self._add(entry)
        return await self._get(id)

    async def get(self, caller: Caller, id: str) -> Customer:
        must(self._releases.need(), caller, "customers")
        return await self._get(id)

    async def list(
        self, caller: Caller, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[Customer], str | None]:
        must(self._releases.need(), caller, "customers")
        return await self._store.customers(self._tenant, cursor=cursor, limit=limit)

    async def assure(self, caller: Caller, id: str, *, level: int, method: str, lifetime: str) -> Customer:
        """Record that the customer proved who they are: to this level, by this method, for this long (`30m`)."""
        must(self._releases.need(), caller, "assurance")
        await self._get(id)
        try:
            lasts = span(lifetime)
        except ValueError as problem:
            raise Malformed(str(problem), where="/lifetime") from None
        if not 0 <= level <= 9:
            raise Malformed("level is a whole number from 0 to 9", where="/level")
        now = self._clock.now()
        until = self._clock.business_now() + lasts
        await self._add(customer_assured(id, level=level, method=method, until=until, at=now, actor=caller.name))
        return await self._get(id)

    async def consent(
        self,
        caller: Caller,
        id: str,
        *,
        purpose: str,
        granted: bool,
        source: str,
        channel: str | None = None,
        data: Sequence[str] = (),
    ) -> Customer:
        """Record what the customer allows, or no longer allows. It counts from the next decision on."""
        must(self._releases.need(), caller, "consents")
        await self._get(id)
        entry = customer_consented(
            id,
            purpose=purpose,
            granted=granted,
            source=source,
            at=self._clock.now(),
            actor=caller.name,
            channel=channel,
            data=data,
        )
        await self._add(entry)
        return await self._get(id)

    async def open_conversation(self, caller: Caller, *, id: str | None, customer: str | None, channel: str) -> str:
        """Open one, or name its customer later on. Its id comes back."""
        must(self._releases.need(), caller, "facts")
        if customer is not None:
            await self._get(customer)
        conversation = id or new_id("con")
        await self._add(
            conversation_opened(
                conversation, customer=customer, channel=channel, at=self._clock.now(), actor=caller.name
            )
        )
        return conversation

    async def record_fact(self, caller: Caller, conversation: str, *, name: str, value: Json) -> None:
        """Attach evidence to a conversation. Who recorded it and when is part of every decision that uses it."""
        must(self._releases.need(), caller, "facts")
        situation = await self._store.situation(self._tenant, None, conversation)
        if not situation.conversation_known:
            raise NotFound(f"no conversation {conversation}", next="Open it with POST /v1/conversations.")
        self._plain(value, "/value")
        entry = fact_recorded(
            conversation,
            name=name,
            value=value,
            at=self._clock.business_now(),
            actor=caller.name,
            customer=situation.conversation_customer,
        )
        await self._add(entry)

    async def _add(self, entry: NewEntry) -> None:
        await self._store.append(Write(self._tenant, (entry,)))

    async def _get(self, id: str) -> Customer:
        if (customer := await self._store.customer(self._tenant, id)) is None:
            raise NotFound(f"no customer {id}", next=f"Create it with PUT /v1/customers/{id}.")
        return customer

    @staticmethod
    def _plain(value: Any, where: str) -> None:
        try:
            canonical(value)
        except ValueError as problem:
            raise Malformed(str(problem), where=where) from None
