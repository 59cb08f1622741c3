"""Writes as the append function reads them (see migrations/sql), with the names of all that each may change."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from cxplane.adapters.postgres.connect import malformed
from cxplane.domain.errors import Malformed
from cxplane.domain.record import AppendResult, NewEntry, Write
from cxplane.domain.values import JsonObject

_encode = msgspec.json.Encoder().encode
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NOT_REQUESTS = ("release.", "customer.", "key.")
_NO_NEWS = ("outcome", "approval.decided", "task.answered")  # to the run, where its own leg writes them
_MORE_THAN_ADVANCED = frozenset({"timers", "listens", "parent"})  # what else `run.advanced` may change


@dataclass(slots=True)
class Waiting:
    """One write, encoded, and the caller who waits for it."""

    raw: bytes
    names: list[str]
    settling: list[tuple[str, str]]
    calling: list[tuple[str, str, str]]
    months: set[tuple[int, int]]  # year and month
    releases: set[str]
    sealing: list[tuple[str, str]]
    at_hand: bool
    answer: asyncio.Future[AppendResult] = field(repr=False)
    since: float = field(default_factory=time.monotonic)


def encode(
    write: Write,
    answer: asyncio.Future[AppendResult],
    kept: Sequence[JsonObject | None],
    keys: Sequence[str] = (),
) -> Waiting:
    """A write as the append function reads it, with the names of all that it may change. Raises Malformed."""
    tenant = write.tenant
    entries: list[dict[str, Any]] = []
    names: list[str] = []
    settling: list[tuple[str, str]] = []
    calling: list[tuple[str, str, str]] = []
    months: set[tuple[int, int]] = set()
    releases: set[str] = set()
    for new, private in zip(write.entries, kept, strict=True):
        kind, stream, body = new.kind, new.stream, new.body
        entries.append(
            {
                "k": kind,
                "s": stream,
                "a": _timed(new.at, months),
                "r": new.actor,
                "l": new.release,
                "c": new.cause,
                "b": body,
                "p": private,
            }
        )
        if new.release is not None:
            releases.add(new.release)
        if kind.startswith(_NOT_REQUESTS):
            names.append(f"{kind[:3]}|{tenant}|{'' if kind.startswith('release.') else stream}")
        else:
            names.append(f"r|{tenant}|{stream}")
        if stream != write.new_request and _settles(new):
            settling.append((tenant, stream))
        if kind == "signal":
            calling.append((tenant, body["type"], body["key"]))
            names.append(f"s|{tenant}|{body['type']}|{body['key']}")
        elif kind == "run.advanced":
            names += [f"s|{tenant}|{type}|{key}" for type, key in body.get("listens", ())]
            names += [f"r|{tenant}|{body['parent']}"] if "parent" in body else []
    whole: dict[str, Any] = {"t": tenant, "e": entries}
    if keys:
        whole["y"] = keys
    if write.fence is not None:
        whole["f"] = (write.fence.run, write.fence.epoch)
        names.append(f"r|{tenant}|{write.fence.run}")
        for sent, new in zip(entries, write.entries, strict=True):
            if new.kind in _NO_NEWS:
                sent["t"] = {"leg": True}
        if any(new.kind == "run.advanced" and new.body.get("idle") for new in write.entries):
            whole["i"] = True
    if (seen := write.as_seen) is not None:
        whole["v"] = (seen.customer, seen.conversation, seen.version)
    if write.new_signal is not None:
        whole["g"] = write.new_signal
        names.append(f"r|{tenant}|{write.new_signal}")
    if (run := write.new_run) is not None:
        if run.at_hand is not None:
            whole["h"] = run.at_hand
        whole["u"] = (run.id, run.journey, run.key)
        names += (
            [f"r|{tenant}|{run.id}", f"j|{tenant}|{run.journey}|{run.key or ''}"]
            if run.key
            else [f"r|{tenant}|{run.id}"]
        )
    if write.new_request is not None:
        whole["n"] = write.new_request
        names.append(f"r|{tenant}|{write.new_request}")
    if write.expect is not None:
        whole["x"] = write.expect
        names.append(f"r|{tenant}|{write.expect[0]}")
    if decided := [new.body["approval"] for new in write.entries if new.kind == "approval.decided"]:
        whole["o"] = decided
    if (claim := write.claim) is not None:
        whole["c"] = (claim.action, claim.key, claim.request)
        names.append(f"k|{tenant}|{claim.action}|{claim.key}")
    if write.reservations:
        whole["r"] = [
            (r.budget, r.scope, r.window, r.money, r.count, r.risk, r.limit_money, r.limit_count, r.limit_risk, r.force)
            for r in write.reservations
        ]
        names += [f"b|{tenant}|{r.budget}|{r.scope}|{r.window}" for r in write.reservations]
    takes = _takes(write)
    if _of_leg(write, takes):
        whole["l"] = True
    if takes:
        taker = entries[_taker(write)]
        taker["t"] = {**takes, **(taker.get("t") or {})}
    try:
        raw = _encode(whole)
        "".join(names).encode()
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError) as problem:
        raise malformed(problem) from None
    if b"\\u0000" in raw and _NUL.search(raw):
        raise Malformed("a text holds a NUL character", next="Send text without NUL characters.")
    return Waiting(
        raw, names, settling, calling, months, releases, [(tenant, key) for key in keys], "h" in whole, answer
    )


def ends(batch: Sequence[Waiting]) -> list[int]:
    """Where groups end, counted from 1: the writes of one change nothing in common, so they can be checked and added together."""
    ends: list[int] = []
    touched: set[str] = set()
    for n, item in enumerate(batch):
        if not touched.isdisjoint(item.names):
            ends.append(n)
            touched = set()
        touched.update(item.names)
    return [*ends, len(batch)]


def _timed(at: datetime, months: set[tuple[int, int]]) -> datetime:
    """When it was, in UTC; the month whose partition it goes to is added to `months`. Raises Malformed without a time zone."""
    if at.tzinfo is None:
        raise malformed(ValueError("an entry's time needs a time zone"))
    try:
        day = at if at.tzinfo is UTC else at.astimezone(UTC)
    except OverflowError as problem:
        raise malformed(problem) from None
    months.add((day.year, day.month))
    return day


def _settles(new: NewEntry) -> bool:
    """Whether it may give back what its request holds, or change the request that it undoes."""
    return new.kind in ("outcome", "approval.decided") or (new.kind == "decision" and new.body["verdict"] == "refuse")


def _taker(write: Write) -> int:
    """The entry that tells what its write took: the decision on the request that takes, else the last."""
    wanted = write.claim.request if write.claim else None
    for n in reversed(range(len(write.entries))):
        e = write.entries[n]
        if e.kind == "decision" and wanted in (None, e.stream):
            return n
    return len(write.entries) - 1


def _of_leg(write: Write, takes: Mapping[str, Any]) -> bool:
    """Whether a leg says nothing out of the ordinary, so that many are folded at once (see migrations/sql)."""
    if write.fence is None or takes not in ({}, {"claim": True}):
        return False
    before: NewEntry | None = None  # a request, until the decision on it
    streams: set[str] = set()
    for new in write.entries:
        body = new.body
        match new.kind:
            case "decision":
                if before is None or before.stream != new.stream or body["verdict"] != "allow" or "due" not in body:
                    return False
                before = None
                continue
            case "request" if before is None and new.stream == write.new_request:
                before = new
            case "outcome" if before is None and body["status"] == "done":
                pass
            case "run.advanced" if before is None and body.keys().isdisjoint(_MORE_THAN_ADVANCED):
                pass
            case _:
                return False
        if new.stream in streams:
            return False
        streams.add(new.stream)
    return before is None


def _takes(write: Write) -> dict[str, Any]:
    """What the journal keeps of claim and reservations, so that they can be folded again; `true` where the entries say it."""
    takes: dict[str, Any] = {}
    if (claim := write.claim) is not None:
        said = any(
            e.kind == "request"
            and (e.body.get("id"), e.body.get("action"), e.body.get("key")) == (claim.request, claim.action, claim.key)
            for e in write.entries
        )
        same = said and bool(write.entries) and write.entries[_taker(write)].stream == claim.request
        takes["claim"] = same or (claim.action, claim.key, claim.request)
    if write.reservations:
        takes["reserve"] = [(r.budget, r.scope, r.window, r.money, r.count, r.risk) for r in write.reservations]
    return takes
