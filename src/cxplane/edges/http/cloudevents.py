"""CloudEvents 1.0 over HTTP: structured, binary and batched, with JSON data."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from msgspec import UNSET

from cxplane.domain.errors import Malformed
from cxplane.edges.http.run_bodies import SignalBody
from cxplane.edges.http.strict_json import NotTaken, parse, shaped

EVENT = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
BATCH_MOST = 100
_ATTRIBUTES = frozenset(SignalBody.__struct_fields__) - {"data", "data_base64"}
_JSON = re.compile(r"^(?:application/json|text/json|[\w.+-]+/[\w.+-]+\+json)$")
_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})$")


class SomeNotTaken(Malformed):
    """Part of a batch was turned away. `mistakes`: each {where, what, next}; the rest is on record."""

    def __init__(self, mistakes: Sequence[Mapping[str, str]], of: int) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(
            f"{len(self.mistakes)} of {of} events were not taken",
            where=self.mistakes[0]["where"],
            next="Mend those under `mistakes`. The others are on record: sending the whole batch again is safe.",
        )


def events(media: str, headers: Mapping[str, str], sent: Any) -> list[tuple[str, SignalBody]]:
    """The events of a request, each with its JSON pointer. `headers`: lower-case names.

    With `ce-…` headers the body is the data (binary mode), else the event (structured), or a list of them (batch).
    """
    if media == BATCH:
        if not isinstance(sent, list):
            raise Malformed("a batch is a JSON array of events", next=f"One event is sent as {EVENT}.")
        if len(sent) > BATCH_MOST:
            raise Malformed(f"a batch holds at most {BATCH_MOST} events", next="Send several batches.")
        return [(f"/{n}", event(one, f"/{n}")) for n, one in enumerate(sent)]
    if media == EVENT or "ce-specversion" not in headers:
        return [("", event(sent, ""))]
    return [("", event(_from_headers(headers, sent), "", header="ce-"))]


def event(value: Any, place: str, *, header: str = "") -> SignalBody:
    """One event, checked. Malformed says where; `header`: what comes before an attribute's name in binary mode."""

    def wrong(name: str, what: str, next: str) -> Malformed:
        return Malformed(what, where=f"{header}{name}" if header else f"{place}/{name}", next=next)

    if not isinstance(value, Mapping):
        raise Malformed("an event is a JSON object", where=place, next="See the example in /openapi.json.")
    kept = {name: value[name] for name in SignalBody.__struct_fields__ if name in value}
    for name in ("specversion", "id", "source", "type"):
        if name not in kept:
            raise wrong(name, f"the event has no {name}", "CloudEvents 1.0 asks for specversion, id, source and type.")
    if kept["specversion"] != "1.0":
        raise wrong("specversion", "this is not CloudEvents 1.0", "Send `specversion` 1.0, as a text.")
    try:
        found = shaped(kept, SignalBody)
    except Malformed as problem:
        raise Malformed(
            str(problem),
            where=f"{header}{problem.where.lstrip('/')}" if header else f"{place}{problem.where}",
            next=problem.next,
        ) from None
    if found.time is not None and not _is_time(found.time):
        raise wrong("time", "time is no RFC 3339 time", "Write it like 2026-01-05T10:00:00Z, or leave it out.")
    if not found.subject.isprintable():
        raise wrong("subject", "control characters have no place here", "Send a printable subject.")
    if found.data_base64 is not UNSET:
        found.data = _decoded(found, place)
    media = (found.datacontenttype or "application/json").partition(";")[0].strip().lower()
    if not _JSON.match(media):
        raise NotTaken("the data is not JSON", next="Send JSON data: journeys read it as `signal.data`.")
    return found


def is_json(media: str) -> bool:
    return _JSON.match(media) is not None


def _from_headers(headers: Mapping[str, str], data: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        name[3:]: _text(name, value) for name, value in headers.items() if name[:3] == "ce-" and name[3:] in _ATTRIBUTES
    }
    found["datacontenttype"] = headers.get("content-type", "application/json")
    if data is not None:
        found["data"] = data
    return found


def _text(name: str, value: str) -> str:
    """A header's value: percent-encoded UTF-8, perhaps in quotes."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise Malformed(f"{name} is not UTF-8", where=name, next="Percent-encode it as UTF-8.") from None


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper()))
    except ValueError:
        return False
    return _TIME.match(text) is not None


def _decoded(found: SignalBody, place: str) -> Any:
    where = f"{place}/data_base64"
    if found.data is not UNSET:
        raise Malformed("an event holds data or data_base64, not both", where=where, next="Leave one of them out.")
    try:
        raw = base64.b64decode(str(found.data_base64), validate=True)
    except (ValueError, binascii.Error):
        raise Malformed("this is not base64", where=where, next="Send JSON as `data`.") from None
    return parse(raw)


EXAMPLE = {
    "specversion": "1.0",
    "id": "8f2c-17",
    "source": "/crm",
    "type": "billing.dispute_opened",
    "subject": "d-7",
    "time": "2026-01-05T10:00:00Z",
    "data": {"customer_id": "c-1001", "account_id": "a-1001", "dispute_id": "d-7", "amount": 1500},
}
