"""One case as a document that a third party can verify: everything on record about a request or a run."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from cxplane.domain.errors import NotFound
from cxplane.domain.record import Entry, RequestRow
from cxplane.domain.values import JsonObject
from cxplane.journeys.timeline import words
from cxplane.loop.audit import announced, prove_lines, sealed_of
from cxplane.ports.seal import Signer
from cxplane.ports.store import Store
from cxplane.record.about import About
from cxplane.record.evidence import FORMAT, Disclosed, opens_in, to_sign
from cxplane.record.explain import explain, plain
from cxplane.record.note import Key, sign

Words = Callable[[RequestRow, Sequence[Entry]], Awaitable[About]]


async def evidence(
    store: Store,
    tenant: str,
    case: str,
    *,
    at: datetime,
    signers: Sequence[Signer] = (),
    disclosed: Sequence[Disclosed] = (),
    shown: bool = False,
    about: Words | None = None,
) -> JsonObject:
    """The evidence file of a request or run. `shown`: whether private values are disclosed, each with what its commitment
    is checked by, and the explanation may use them; `disclosed`: more of them; `about`: the words of the releases. NotFound; NotSealed while an entry is not
    under a checkpoint.
    """
    streams = await _streams(store, tenant, case)
    sealed = await sealed_of(store, tenant)
    proven = await prove_lines(store, tenant, sealed, await store.seals.lines_of(tenant, streams, ["seal.key"]))
    by_position = {p.position: p.line for p in proven}
    if shown:
        disclosed = [*disclosed, *await _disclosed(store, tenant, by_position)]
    for value in disclosed:
        if not opens_in(by_position[value.position], value):
            raise ValueError(f"the value disclosed at position {value.position} is not the one that was sealed")
    document = {
        "format": FORMAT,
        "tenant": tenant,
        "case": case,
        "made_at": at.isoformat(),
        "checkpoint": sealed.note,
        "keys": await announced(store, tenant),
        "entries": [{"index": p.index, "line": p.line, "proof": list(p.proof)} for p in proven],
        "disclosed": [
            {"position": str(d.position), "path": list(d.path), "salt": _text(d.salt), "json": d.json}
            for d in disclosed
        ],
        "explanation": await _explained(store, tenant, streams, shown=shown, about=about),
    }
    keys = [(Key(s.name, s.public), s.sign) for s in signers]
    return {**document, "signature": str(sign(to_sign(document), keys)) if keys else None}


async def _disclosed(store: Store, tenant: str, lines: Mapping[int, str]) -> list[Disclosed]:
    found = []
    for position, line in lines.items():
        private = json.loads(line)["data"]["private"]
        for path, salt, text in await store.disclosed(tenant, private) if private else ():
            found.append(Disclosed(position, path, salt, text))
    return found


async def _streams(store: Store, tenant: str, case: str) -> list[str]:
    """The request or run; what a run asked for; requests that replaced one or took it back; signals that caused it."""
    request, run = await store.request(tenant, case), await store.runs.get(tenant, case)
    if request is None and run is None:
        raise NotFound(
            f"there is no request and no run {case}", next="`cxplane requests list` and `cxplane runs list`."
        )
    streams = [case, *(await store.runs.requests(tenant, case) if run is not None else ())]
    for stream in streams:  # it grows while it is gone through
        row = await store.request(tenant, stream)
        entries = await store.stream(tenant, stream)
        related = [row.replaced_by, row.undone_by] if row is not None else []
        related += [e.body.get(name) for e in entries if e.kind == "request" for name in ("replaces", "undoes")]
        related += [e.cause for e in entries if e.cause and e.cause.startswith("sig_")]
        streams += [one for one in dict.fromkeys(related) if one and one not in streams]
    return streams


async def _explained(store: Store, tenant: str, streams: Sequence[str], *, shown: bool, about: Words | None) -> str:
    def seen(entries: Sequence[Entry]) -> list[Entry]:
        return list(entries) if shown else [replace(entry, private=None) for entry in entries]

    parts = []
    for stream in streams:
        found = await store.stream(tenant, stream)
        entries = seen(found)
        if any(e.kind == "request" for e in entries):
            row = await store.request(tenant, stream) if about is not None else None
            parts.append(plain(explain(entries, await about(row, found) if about and row else About())))
        elif any(e.kind == "run.started" for e in entries):
            parts.append("\n".join(words(None, entries)))
    return "\n\n".join(parts)


def _text(data: bytes) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(data).rstrip(b"=").decode()
