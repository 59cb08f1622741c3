"""The record, exported: from the store, line by line, to where it is kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from cxplane.domain.errors import ExportFailed
from cxplane.domain.record import ALL, Line, Wanted
from cxplane.loop.following import Batch, Rest, follow, read
from cxplane.ports.export import LineSink
from cxplane.ports.store import Store

COMMIT_S = 1.0
MASK = "***"

Tell = Callable[[int, int], None]
"""(last position, the position up to which there is something)."""
Rewrite = Callable[[Sequence[Line]], Awaitable[Sequence[Line]]]


@dataclass
class Exported:
    """What one export wrote; `sha256` is that of its lines, each with its line end."""

    count: int = 0
    first: int | None = None
    last: int | None = None
    sha256: str = hashlib.sha256().hexdigest()


async def export(
    store: Store,
    tenant: str,
    sink: LineSink,
    *,
    wanted: Wanted = ALL,
    rest: Rest | None = None,
    rewrite: Rewrite | None = None,
    tell: Tell = lambda position, top: None,
) -> Exported:
    """Everything past the sink's position; with `rest`, what comes too, until it says stop. The sink is left committed."""
    after = sink.position
    last = (after, sink.last_sha256 if rewrite is None else None) if sink.last_sha256 else None

    async def same() -> None:
        if last is not None:
            await _same_record(store, tenant, *last)

    await same()
    batches: AsyncIterator[Batch] = (
        follow(store, tenant, rest, after=after, wanted=wanted, same=same)
        if rest is not None
        else read(store, tenant, after=after, wanted=wanted)
    )
    told, digest, since, open_lines = Exported(), hashlib.sha256(), time.monotonic(), False
    async with aclosing(batches):  # type: ignore[type-var]
        async for batch in batches:
            if batch.lines:
                lines = await rewrite(batch.lines) if rewrite is not None else batch.lines
                sink.put(lines)
                last = (batch.lines[-1].position, hashlib.sha256(batch.lines[-1].text).hexdigest())
                for line in lines:
                    digest.update(line.text + b"\n")
                told.first = lines[0].position if told.first is None else told.first
                told.last, told.count = lines[-1].position, told.count + len(lines)
                open_lines = True
            now = time.monotonic()
            if open_lines and (not batch.lines or now - since > COMMIT_S):
                sink.commit()
                since, open_lines = now, False
            tell(sink.position, max(batch.top, sink.position))
    if open_lines:
        sink.commit()
    told.sha256 = digest.hexdigest()
    return told


async def _same_record(store: Store, tenant: str, position: int, sha256: str | None) -> None:
    """Whether the entry that was exported last still is what it was. `sha256`: None where the line was rewritten."""
    found = await store.lines(tenant, after=position - 1, upto=position, limit=1)
    if not found or sha256 not in (None, hashlib.sha256(found[0].text).hexdigest()):
        raise ExportFailed(
            "the store",
            f"does not have the entry at position {position} that was exported last: it was set back, or changed",
            next="Find out why. After a restore: keep this export, give it to `cxplane store redo`, and begin another elsewhere.",
        )


class _Data(msgspec.Struct):
    actor: msgspec.Raw
    release: msgspec.Raw
    cause: msgspec.Raw
    takes: msgspec.Raw
    body: msgspec.Raw
    private: msgspec.Raw


class _Event(msgspec.Struct):
    specversion: msgspec.Raw
    id: msgspec.Raw
    source: msgspec.Raw
    type: msgspec.Raw
    subject: msgspec.Raw
    time: msgspec.Raw
    datacontenttype: msgspec.Raw
    data: _Data


_event = msgspec.json.Decoder(_Event)


def opener(store: Store, tenant: str, *, mask: bool = False) -> Rewrite:
    """Lines with personal data as the store opens it (null where it was erased); with `mask`, its shape without its values."""

    async def opened(lines: Sequence[Line]) -> list[Line]:
        private: dict[int, Any] = {}
        after, last = lines[0].position - 1, lines[-1].position
        while after < last and (page := await store.entries(tenant, after=after, limit=1000)):
            private |= {e.position: e.private for e in page}
            after = page[-1].position
        return [with_private(line, private[line.position], mask=mask) for line in lines]

    return opened


def with_private(line: Line, value: Any, *, mask: bool = False) -> Line:
    """The line with this in the place of its sealed values; all other bytes stay as they are."""
    event = _event.decode(line.text)
    event.data.private = msgspec.Raw(msgspec.json.encode(masked(value) if mask else value))
    return replace(line, text=msgspec.json.encode(event))


def masked(value: Any) -> Any:
    """The same names and the same number of items, with nothing in them."""
    if isinstance(value, dict):
        return {name: masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return None if value is None else MASK
