"""A plane with marked personal data planted everywhere, and what it told to whom."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import asyncpg
import httpx

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from tests.edges.running import Running, until

MARK = "Zyx7Qv"  # in every marker, and in nothing else
CARE, CRM, BOT = "person:sam", "system:crm-sync", "agent:helper"

NOTE = """\
action: shop.leave_note
version: 1
summary: Leave a note with an order.
owner: service-team
effect: write
risk: low
data: [orders]
input:
  type: object
  required: [order_id, note]
  additionalProperties: false
  properties: {order_id: {type: string}, note: {type: string}, count: {type: integer, maximum: 10}, large: {type: boolean}}
output: {type: object, required: [receipt], properties: {receipt: {type: string}}}
key: [order_id]
facts:
  person: {read: shop.get_person, with: {order_id: input.order_id}}
  name: {cel: person.name, type: String}
  mood: {recorded: mood, type: String, optional: true}
confirm: {read: shop.get_person, with: {order_id: input.order_id}, expect: request.key in result.keys}
undo: {none: what was read cannot be unread}
via: {http: {system: shop, method: POST, path: "/orders/{order_id}/notes"}}
limits: {timeout: 2s, attempts: 2}
"""
PERSON = """\
action: shop.get_person
version: 1
summary: Whose order it is.
owner: service-team
effect: read
risk: low
data: [orders]
input: {type: object, required: [order_id], properties: {order_id: {type: string}}}
output:
  type: object
  required: [name]
  properties: {name: {type: string}, keys: {type: array, items: {type: string}}}
via: {http: {system: shop, method: GET, path: "/people/{order_id}"}}
limits: {timeout: 2s, attempts: 2}
"""
POLICIES = """
@id("people-may-be-read") @reason("Whoever serves customers may look")
permit (principal in Role::"service-agent", action == Action::"shop.get_person", resource);
@id("notes") @reason("Notes may be left")
permit (principal in Role::"service-agent", action == Action::"shop.leave_note", resource)
when { !(context.input has large) && context.facts.name != "" };
@id("large-notes") @reason("Large notes are looked at") @approvers("supervisor") @expires("1h")
permit (principal in Role::"service-agent", action == Action::"shop.leave_note:request", resource);
@id("supervisors-release") @reason("A supervisor may release a large note")
permit (principal in Role::"supervisor", action == Action::"shop.leave_note", resource);
"""
JOURNEY = """\
journey: telling
version: 1
summary: Somebody tells a story, and a note is left.
owner: service-team
input: {type: object, required: [order_id, story], properties: {order_id: {type: string}, story: {type: string}}}
do:
  - ask_them:
      ask:
        team: service-team
        fill: "'They said: ' + input.story"
        form: {type: object, required: [heard], properties: {heard: {type: string}}}
        show: {story: input.story}
        due: 2d
  - letter:
      listen: {signal: shop.letter, key: input.order_id, within: 30d}
  - note:
      try:
        - leave:
            call: shop.leave_note
            with: {order_id: input.order_id, note: steps.ask_them.values.heard + input.story}
      catch:
        errors: [refused, failed, rejected, expired]
        do:
          - hand:
              hand_over: {team: service-team, text: "'No note: ' + error.text + input.story"}
  - told:
      goal: {name: told, achieved: "input.story != ''", evidence: {story: input.story}}
"""
CHARTER = """\
---
journey: telling
owner: service-team
actions: [shop.leave_note]
data: [orders]
roles: [service-agent]
approvals: {shop.leave_note: large ones a supervisor}
exceptions: service-team
success: [{measure: stories_told, target: ">= 0.95"}]
counter: [{measure: stories_disputed, target: "<= 0.01"}]
---

For stories.
"""
FILES = {
    "catalog/shop/leave_note.yaml": NOTE,
    "catalog/shop/get_person.yaml": PERSON,
    "policies/notes.cedar": POLICIES,
    "journeys/telling/journey.yaml": JOURNEY,
    "journeys/telling/charter.md": CHARTER,
}


@dataclass
class Planted:
    """Markers by where they were planted."""

    names: set[str] = field(default_factory=set)

    def __call__(self, where: str) -> str:
        self.names.add(where)
        return f"{MARK}{where}"

    def found(self, text: str | bytes) -> set[str]:
        """Where the markers in a text were planted."""
        if isinstance(text, bytes):
            return {one.decode() for one in re.findall(MARK.encode() + rb"([a-z_]+)", text)}
        return set(re.findall(MARK + "([a-z_]+)", text))


class Talkative:
    """A system that puts personal data into everything it says, above all into its errors."""

    def __init__(self, mark: Planted) -> None:
        self.keys: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                order = self.path.rpartition("/")[2].partition("-")[0]
                if order == "nobody":
                    self._say(500, {"error": mark("read_failed")})
                elif order == "odd":
                    self._say(200, {"name": [mark("read_odd")]})
                else:
                    self._say(200, {"name": mark("fact_read"), "keys": [] if order == "lost" else outer.keys})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                order = self.path.split("/")[2].partition("-")[0]
                match order:
                    case "no":
                        self._say(422, {"error": mark("said_no"), "detail": mark("said_detail")})
                    case "down" | "lost":
                        self._say(500, {"error": mark("said_down")}, mark("header"))
                    case "bad":
                        self._say(200, {"receipt": [mark("said_bad")]})
                    case "junk":
                        self._send(200, (mark("said_junk") + "{").encode())
                    case _:
                        outer.keys.append(self.headers["Idempotency-Key"])
                        self._say(200, {"receipt": mark("output"), "more": mark("output_more")})

            def _say(self, status: int, value: Any, reason: str = "") -> None:
                self._send(status, json.dumps(value).encode(), reason)

            def _send(self, status: int, text: bytes, reason: str = "") -> None:
                self.send_response(status, reason or None)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Collector:
    """Takes traces, and keeps their bytes."""

    def __init__(self) -> None:
        self.taken = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.taken += gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Lived:
    """A plane after everything was done to it."""

    plane: Running
    mark: Planted
    collector: Collector
    errors: list[str] = field(default_factory=list)  # bodies of all answers that were errors
    heads: list[str] = field(default_factory=list)  # headers of all answers
    shown: list[str] = field(default_factory=list)  # answers to callers who may see them
    run: str = ""

    def ask(self, method: str, path: str, by: str = CARE, **more: Any) -> httpx.Response:
        with self.plane.http(by) as http:
            reply = http.request(method, path, **more)
        (self.errors if reply.status_code >= 400 else self.shown).append(reply.text)
        self.heads.append(str(reply.headers))
        return reply

    def note(self, order: str, conversation: str, by: str = BOT, **more: Any) -> dict[str, Any]:
        mark = self.mark
        whose = "" if more.get("customer", "c-1") == "c-1" else "_else"
        body = {
            "action": "shop.leave_note",
            "customer": "c-1",
            "conversation": conversation,
            "input": {"order_id": order, "note": mark("input" + whose), **more.pop("input", {})},
            "reason": mark("reason" + whose),
            "candidates": [{"action": "shop.refund_order", "why_not": mark("why_not" + whose)}],
            **more,
        }
        reply = self.ask("POST", "/v1/requests", by, json=body)
        return dict(reply.json())


def live(all: Lived) -> None:
    """Everything that can happen to personal data, well and badly."""
    mark, ask = all.mark, all.ask
    known = {"attributes": {"segment": mark("attribute")}, "identities": [{"kind": "email", "value": mark("identity")}]}
    assert ask("PUT", "/v1/customers/c-1", CRM, json=known).status_code == 200
    talk = ask("POST", "/v1/conversations", BOT, json={"customer": "c-1", "channel": "chat"}).json()["id"]
    fact = {"name": "mood", "value": mark("recorded")}
    assert ask("POST", f"/v1/conversations/{talk}/facts", BOT, json=fact).status_code == 201
    unknown = ask("POST", "/v1/conversations", BOT, json={"channel": "chat"}).json()["id"]
    ask("POST", f"/v1/conversations/{unknown}/facts", BOT, json={"name": "mood", "value": mark("recorded_early")})

    assert all.note("ok-1", talk)["status"] == "done"
    assert all.note("ok-2", talk, dry_run=True)["status"] == "previewed"
    for order in ("no-1", "bad-1", "junk-1", "down-1", "lost-1", "nobody-1", "odd-1"):
        all.note(order, talk)
    all.note("ok-3", talk, by=CRM)  # refused: not a service-agent
    all.note("ok-4", talk, customer="c-404")  # refused: nobody knows the customer
    for wrong in (
        {"note": [mark("bad_list")]},
        {"count": mark("bad_type")},
        {"count": 11},
        {"other": mark("bad_extra")},
    ):
        all.note("ok-5", talk, input=wrong)
    bodies: tuple[bytes, ...] = (
        b'{"action": "' + mark("not_json").encode(),
        json.dumps({"action": "shop.leave_note", "input": mark("not_object")}).encode(),
        json.dumps({"action": "shop.leave_note", "input": {}, "confidence": mark("not_number")}).encode(),
        f'{{"action": "shop.leave_note", "input": {{"a": "{mark("twice")}", "a": 1}}}}'.encode(),
        json.dumps({"action": "shop.leave_note", "input": {"note": mark("nul") + "\0"}}).encode(),
    )
    for raw in bodies:
        assert ask("POST", "/v1/requests", BOT, content=raw, headers={"Content-Type": "application/json"}).status_code
    ask("PUT", "/v1/customers/c-1", CRM, json={"attributes": {"segment": [mark("bad_attribute")]}})
    ask("PUT", "/v1/customers/c-1", CRM, json={"attributes": {}, "identities": [{"kind": mark("bad_kind")}]})

    for n, (how, body) in enumerate(
        (
            ("approve", {"comment": mark("approved")}),
            ("reject", {"comment": mark("rejected")}),
            ("approve", {"comment": mark("edited"), "input": {"order_id": "ok-edit", "note": mark("edit_input")}}),
        )
    ):
        held = all.note(f"ok-held{n}", talk, input={"large": True})
        assert held["status"] == "held", held
        ask("POST", f"/v1/approvals/{held['approval']}/{how}", json=body)
    stuck = [r for r in ask("GET", "/v1/requests?limit=100").json()["items"] if r["status"] in ("unknown", "stuck")]
    for one in stuck:
        ask("POST", f"/v1/requests/{one['id']}/settle", json={"done": False, "comment": mark("settled")})
    for one in ask("GET", "/v1/requests?limit=100").json()["items"]:
        ask("GET", f"/v1/decisions/{one['id']}/explain")

    for order in ("ok-run", "no-run", "down-run"):
        run_a_journey(all, order)
    event = {"specversion": "1.0", "id": "e9", "source": "/shop", "type": "shop.letter", "subject": "nobody"}
    ask("POST", "/v1/signals", CRM, json=event | {"data": {"text": mark("signal_unheard")}},
        headers={"Content-Type": "application/cloudevents+json"})  # fmt: skip
    ask("POST", "/v1/signals", CRM, json=event | {"id": 7, "data": {"text": mark("signal_bad")}},
        headers={"Content-Type": "application/cloudevents+json"})  # fmt: skip


def run_a_journey(all: Lived, order: str) -> None:
    mark, ask = all.mark, all.ask
    begun = ask(
        "POST",
        "/v1/runs",
        json={"journey": "telling", "customer": "c-1", "input": {"order_id": order, "story": mark("run_input")}},
    )
    assert begun.status_code == 201, begun.text
    run = all.run = begun.json()["run"]["id"]

    def open_tasks() -> list[dict[str, Any]]:
        found = [t for t in ask("GET", f"/v1/runs/{run}").json()["tasks"] if t["status"] == "open"]
        return list(found)

    until(open_tasks)
    task = open_tasks()[0]["id"]
    ask("POST", f"/v1/tasks/{task}/answer", json={"answer": {"values": {"heard": [mark("bad_answer")]}}})
    said = {"answer": {"values": {"heard": mark("answer")}}, "comment": mark("answer_comment")}
    assert ask("POST", f"/v1/tasks/{task}/answer", json=said).status_code == 200
    ask("POST", f"/v1/runs/{run}/suspend", json={"comment": mark("suspended")})
    ask("POST", f"/v1/runs/{run}/resume", json={"comment": mark("resumed")})
    until(lambda: ask("GET", f"/v1/runs/{run}").json()["run"]["at"] == ["letter"])
    event = {"specversion": "1.0", "id": f"e-{order}", "source": "/shop", "type": "shop.letter", "subject": order}
    ask("POST", "/v1/signals", CRM, json=event | {"data": {"text": mark("signal_data")}},
        headers={"Content-Type": "application/cloudevents+json"})  # fmt: skip

    def goes_on() -> bool:
        told = ask("GET", f"/v1/runs/{run}").json()
        return told["run"]["status"] in ("done", "failed", "stuck") or bool(told["tasks"]) or order == "down-run"

    until(goes_on)
    ask("GET", f"/v1/runs/{run}/timeline")
    if open_tasks():
        ask("POST", f"/v1/runs/{run}/cancel", json={"comment": mark("cancelled")})
        until(lambda: ask("GET", f"/v1/runs/{run}").json()["run"]["status"] in ("done", "failed", "cancelled", "stuck"))


def dumped(plane: Running) -> bytes:
    """Every table of the database as text, also what the planner remembers of values."""

    async def dump() -> bytes:
        out = io.BytesIO()
        async with EmbeddedPostgres(plane.data / "store") as dsn:
            link = await asyncpg.connect(dsn)
            try:
                tables = await link.fetch(
                    "select format('%I.%I', n.nspname, c.relname) as name from pg_class c"
                    " join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r'"
                )
                for table in tables:
                    await link.copy_from_query(f"select * from {table['name']}", output=out)
            finally:
                await link.close()
        return out.getvalue()

    return asyncio.run(dump())
