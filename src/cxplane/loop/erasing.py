"""Erasing customers, keeping them from being erased, and putting away what has been kept long enough."""

from __future__ import annotations

import logging

from cxplane.domain.erasure import CustomerErased, Left, UnderWay, customer_hold
from cxplane.domain.errors import Conflict, Malformed, NotFound
from cxplane.domain.masking import mask
from cxplane.domain.people import Caller
from cxplane.domain.record import Write
from cxplane.loop.access import must
from cxplane.loop.live import Releases
from cxplane.ports.clock import Clock
from cxplane.ports.store import Store

log = logging.getLogger("cxplane.erasure")

SAID = 10  # things under way that an error names


class Erasing:
    """Needs the permission `erase`, whatever else the caller may do."""

    def __init__(self, tenant: str, store: Store, releases: Releases, clock: Clock) -> None:
        self._tenant, self._store, self._releases, self._clock = tenant, store, releases, clock

    async def erase(self, caller: Caller, customer: str, *, reason: str = "") -> CustomerErased:
        """Destroy the customer's keys. Conflict names what is still under way; NotFound where nothing is kept of them."""
        must(self._releases.need(), caller, "erase")
        _fit(reason)
        told = await self._store.erasing.erase(
            self._tenant, customer, at=self._clock.now(), by=caller.name, reason=reason
        )
        if told is None:
            raise NotFound(
                f"nothing was ever kept of a customer {customer}",
                next="Check the id: nobody was erased. Ids are those that your systems gave.",
            )
        if isinstance(told, UnderWay):
            raise Conflict(words(customer, told), next=_next(told))
        log.info("a customer was erased by %s: %d keys, %d entries", caller.name, len(told.keys), told.entries)
        return told

    async def left(self, caller: Caller, customer: str) -> Left:
        """What is left of a customer, by looking at every entry. NotFound where none of their keys was ever destroyed."""
        must(self._releases.need(), caller, "erase")
        left = await self._store.erasing.left(self._tenant, customer)
        if not left.keys:
            raise NotFound(f"customer {customer} was never erased", next="`cxplane erase` erases a customer.")
        return left

    async def hold(self, caller: Caller, customer: str, *, on: bool, reason: str) -> None:
        """Keep a customer from being erased, by hand or by time; or no longer."""
        must(self._releases.need(), caller, "erase")
        _fit(reason)
        entry = customer_hold(customer, on=on, reason=reason, at=self._clock.now(), actor=caller.name)
        await self._store.append(Write(self._tenant, (entry,)))

    async def retain(self) -> None:
        """Put away what has been kept long enough; nothing where the live release sets no `retention`."""
        live = self._releases.live
        retention = live.release.repo.plane.retention if live is not None else {}
        if retention:
            n = await self._store.erasing.retain(self._tenant, retention, now=self._clock.now(), by="cxplane")
            if n:
                log.info("retention: %d keys destroyed", n)


def _fit(reason: str) -> None:
    """A reason stays on record in the clear, for good: nothing that looks like personal data may be in it."""
    if len(reason) > 200:
        raise Malformed(
            "the reason is too long", where="/reason", next="Say it in 200 characters, without personal data."
        )
    if mask(reason) != reason:
        raise Malformed(
            f"the reason would stay on record for good, and looks as if it holds personal data: {mask(reason)}",
            where="/reason",
            next="Say it without personal data; name the case, not the person.",
        )


def words(customer: str, told: UnderWay) -> str:
    """What keeps a customer from being erased."""
    if told.on_hold:
        return f"customer {customer} is on hold"
    things = [f"run {id} ({journey}, {status})" for id, journey, status in told.runs]
    things += [f"request {id} ({action}, {status})" for id, action, status in told.requests]
    more = f" and {len(things) - SAID} more" if len(things) > SAID else ""
    return f"customer {customer} has work under way: {', '.join(things[:SAID])}{more}"


def _next(told: UnderWay) -> str:
    if told.on_hold:
        return "`cxplane hold CUSTOMER --release` lifts the hold, where the law allows it."
    return "End what is under way (cancel runs, decide or settle requests), then erase again."
