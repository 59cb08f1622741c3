"""After a store was set back: do again what took something away in the time that was lost, and say so on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cxplane.domain.customer_entries import customer_consented
from cxplane.domain.erasure import UnderWay, customer_hold, store_redone
from cxplane.domain.errors import ExportFailed
from cxplane.domain.key_entries import key_revoked
from cxplane.domain.record import Entry, NewEntry, Write
from cxplane.loop.erasing import words
from cxplane.ports.store import Store
from cxplane.record.lost import Lost, Span, position_of, same_line

REASON = "done again after the store was set back"


@dataclass(slots=True)
class Redone:
    """In words, one a line: what was done, and what could not be done yet."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


async def set_back(store: Store) -> Sequence[Entry]:
    """Where the store was set back and nobody has looked after what was lost yet, oldest first."""
    done = await store.entries(store.tenant, kind="store.redone", limit=1000)
    after = done[-1].position if done else 0
    return await store.entries(store.tenant, after=after, kind="store.restored", limit=1000)


def spans(restored: Sequence[Entry]) -> list[Span]:
    """The positions that were lost each time."""
    return [(int(entry.body["position"]), entry.position) for entry in restored]


async def must_be_of_this_store(store: Store, place: str, lost: Lost) -> None:
    """ExportFailed unless the export begins as this record does, and holds something of the time that was lost."""
    if lost.common is not None:
        position = position_of(lost.common)
        mine = await store.lines(store.tenant, after=position - 1, upto=position, limit=1)
        if not mine or not same_line(mine[0].text, lost.common):
            raise ExportFailed(
                place,
                f"is not of this store: the entry at position {position} is another one",
                next="Name an export of the store that was lost.",
            )
    if lost.common is None or not lost.count:
        what = "nothing of the time that was lost" if lost.common is not None else "nothing from before it was lost"
        raise ExportFailed(
            place,
            f"holds {what}",
            next="Name a newer and whole one; if there is none, do it by hand, then `cxplane store redo --by-hand`.",
        )


async def redo(store: Store, lost: Lost, restored: Sequence[Entry], *, by: str, now: datetime) -> Redone:
    """All that is not done yet. Where something is left, do it again later: nothing is done twice."""
    told, tenant = Redone(), store.tenant
    entries: list[NewEntry] = []
    for customer, reason in lost.held.items():
        if not await _said(store, customer, "customer.hold", restored):
            entries.append(customer_hold(customer, on=True, reason=reason, at=now, actor=by))
            told.done.append(f"held      {customer}")
    for (customer, purpose, channel, data), source in lost.withdrawn.items():
        if customer in lost.erased or await store.customer(tenant, customer) is None:
            continue
        said = await _said(store, customer, "customer.consent", restored)
        if not any((e.body["purpose"], e.body.get("channel")) == (purpose, channel) for e in said):
            entry = customer_consented(
                customer, purpose=purpose, granted=False, source=source, at=now, actor=by, channel=channel, data=data
            )
            entries.append(entry)
            told.done.append(f"withdrawn {purpose} of {customer}")
    for key in await store.keys(tenant):
        if key.id in lost.revoked and key.revoked_at is None:
            entries.append(key_revoked(key.id, at=now, actor=by))
            told.done.append(f"revoked   key {key.id} of {key.caller}")
    for entry in entries:
        await store.append(Write(tenant, (entry,)))
    for customer in lost.erased:
        if await _said(store, customer, "customer.erased", restored):
            continue
        answer = await store.erasing.erase(tenant, customer, at=now, by=by, reason=REASON)
        if isinstance(answer, UnderWay):
            told.left.append(words(customer, answer))
        else:
            told.done.append(f"erased    {customer}")
    return told


async def _said(store: Store, stream: str, kind: str, restored: Sequence[Entry]) -> Sequence[Entry]:
    """What was said of this since the store came back: it is newer than what was lost."""
    return await store.entries(store.tenant, after=restored[-1].position, stream=stream, kind=kind, limit=1000)


async def looked_after(store: Store, restored: Sequence[Entry], lost: Lost | None, *, by: str, now: datetime) -> None:
    """Put on record that somebody has looked after what was lost. `lost`: None where it was done by hand."""
    entry = store_redone(restored[-1].position, upto=lost.last if lost else None, at=now, actor=by)
    await store.append(Write(store.tenant, (entry,)))
