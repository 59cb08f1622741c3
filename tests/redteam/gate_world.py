"""A plane to attack at its gate, over real sockets: two actions, a caller with fewer rights, and raw bytes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from joserfc.jwk import ECKey

from tests.edges.running import Running, set_up

HELPER, SAM, PAT, CRM, SCOUT = "agent:helper", "person:sam", "person:pat", "system:crm-sync", "agent:scout"
ISSUER_KEY = ECKey.generate_key("P-256", {"kid": "k-1"})

PEOPLE = """\
roles:
  - {role: service-agent, summary: serves customers}
  - {role: supervisor, summary: decides what was held}
  - {role: integration, summary: another system of ours}
  - {role: visitor, summary: may ask and nothing else}
teams:
  - {team: service-team, lead: sam}
persons:
  - {id: sam, roles: [supervisor, service-agent], team: service-team}
  - {id: pat, roles: [supervisor, service-agent], team: service-team}
services:
  - {id: crm-sync, roles: [integration]}
"""
SCOUT_FILE = """\
---
agent: scout
version: 1
owner: service-team
roles: [visitor]
data: [orders]
---
Looks around.
"""
SYSTEM = """\
system: shop
owner: service-team
http:
  base_url: http://127.0.0.1:9100
  auth: {bearer: SHOP_TOKEN}
  key_header: Idempotency-Key
  health: /health
limits: {rate: 500/s, concurrency: 10}
breaker: {failures: 10000, open_for: 1s} # it is lied to often here
"""
LINE = """\
action: shop.refund_line
version: 1
summary: Give back one line of an order.
owner: service-team
effect: write
risk: high
data: [orders]
input:
  type: object
  required: [order_id, line, amount]
  properties:
    order_id: {type: string, minLength: 1}
    line: {type: string}
    amount: {type: integer, minimum: 1}
    items: {type: array, items: {type: integer}}
output: {type: object, properties: {refund_id: {type: string}}}
key: [order_id, line]
facts:
  order: {read: shop.get_order, with: {order_id: input.order_id}}
  own_order: {cel: order.customer_id == customer, type: Bool}
  pairs: {cel: "has(input.items) ? input.items.map(a, input.items.map(b, input.items.map(c, a + b + c))).size() : 0", type: Long}
money: input.amount
confirm: {read: shop.get_order, with: {order_id: input.order_id}, expect: request.key in result.refund_keys}
undo: {none: money that was paid out comes back only if the customer sends it}
via: {http: {system: shop, method: POST, path: "/orders/{order_id}/refunds"}}
limits: {timeout: 5s, attempts: 2}
"""
POLICY = """\
@id("line-refund")
@reason("A line of the customer's own order is given back")
permit (principal in Role::"service-agent", action == Action::"shop.refund_line", resource)
when { context.facts.own_order && context.facts.pairs >= 0 && context.input.amount <= 5000 };

@id("large-line-asks")
@reason("A large line waits for another supervisor")
@approvers("supervisor")
@require("four-eyes")
permit (principal in Role::"service-agent", action == Action::"shop.refund_line:request", resource)
when { context.facts.own_order && context.input.amount > 5000 };

@id("shown-receipt")
@reason("With the receipt seen, whoever visits may be helped")
permit (principal in Role::"visitor", action == Action::"shop.refund_line", resource)
when { context.facts.own_order && context.assurance.level >= 3 };
"""


@dataclass
class Gate:
    plane: Running

    def call(self, method: str, path: str, by: str | None = HELPER, **more: Any) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {self.plane.keys[by]}"} if by else {}), **more.pop("headers", {})}
        return httpx.request(method, self.plane.url + path, headers=headers, timeout=60, **more)

    def ask(self, order: str, amount: Any = 1000, by: str | None = HELPER, **more: Any) -> httpx.Response:
        headers = more.pop("headers", {})
        body = {
            "action": "shop.refund_order",
            "customer": "c-1",
            "input": {"order_id": order, "amount": amount},
            **more,
        }
        return self.call("POST", "/v1/requests", by, json=body, headers=headers)

    def line(self, order: str, line: str, by: str = HELPER, **more: Any) -> dict[str, Any]:
        input = {"order_id": order, "line": line, "amount": 100, **more}
        body = {"action": "shop.refund_line", "customer": "c-1", "input": input}
        told: dict[str, Any] = self.call("POST", "/v1/requests", by, json=body).json()
        return told

    def order(self, id: str, **more: Any) -> str:
        """An order of the shop, under any id."""
        name = quote(id, safe="")
        self.plane.shop.order(name)
        self.plane.shop.orders[name].update({"order_id": id, **more})
        return id

    def done(self, order: str) -> list[int]:
        return self.plane.shop.done(quote(order, safe=""))

    def held(self, order: str) -> str:
        """The approval of a refund that waits for a supervisor."""
        told = self.ask(self.order(order), 9000).json()
        assert told["decision"] == "hold", told
        approval: str = told["approval"]
        return approval

    def on_record(self, id: str) -> list[str]:
        entries = self.call("GET", f"/v1/entries?stream={id}", SAM).json()["items"]
        return [entry["kind"] for entry in entries]

    def raw(self, *lines: str | bytes, body: bytes = b"") -> list[int]:
        """The statuses that a sequence of bytes is answered with, on one connection."""
        where = urlsplit(self.plane.url)
        head = b"\r\n".join(line if isinstance(line, bytes) else line.encode("latin-1") for line in lines)
        got = b""
        with socket.create_connection((where.hostname, where.port or 80), timeout=3) as link, suppress(OSError):
            link.sendall(head + b"\r\n\r\n" + body)
            link.settimeout(1.5)
            while piece := link.recv(65536):
                got += piece
        parts = got.split(b"HTTP/1.1 ")[1:]
        return [int(part[:3]) for part in parts]

    def bearer(self, by: str = HELPER) -> str:
        return f"Authorization: Bearer {self.plane.keys[by]}"


@contextmanager
def gate(root: Path) -> Iterator[Gate]:
    files = {
        "people/people.yaml": PEOPLE,
        "agents/scout.md": SCOUT_FILE,
        "systems/shop.yaml": SYSTEM,
        "catalog/shop/refund_line.yaml": LINE,
        "policies/lines.cedar": POLICY,
    }
    plane = set_up(root, {"keys": [ISSUER_KEY.as_dict(private=False)]}, files)
    try:
        for caller in (PAT, SCOUT):
            made = plane.cx("keys", "create", caller, "--json")
            assert made.code == 0, made.err
            plane.keys[caller] = made.json["key"]
        yield Gate(plane)
    finally:
        if plane.process is not None:
            plane.stop()
        plane.shop.close()


def accounted_for(here: Gate) -> None:
    """Every effect has its decision, and the plane did not fail."""
    entries: list[dict[str, Any]] = []
    after = 0
    while page := here.call("GET", f"/v1/entries?after={after}&limit=200", SAM).json()["items"]:
        entries += page
        after = page[-1]["position"]
    keys = {entry["stream"]: entry["body"].get("key") for entry in entries if entry["kind"] == "request"}
    intents = {
        entry["body"].get("key", keys[entry["stream"]])
        for entry in entries
        if entry["kind"] == "decision" and "due" in entry["body"]
    }
    assert {key for _, _, key in here.plane.shop.effects} <= intents
    log = (here.plane.root / "serve.log").read_text()
    assert " failed with " not in log
    assert "Traceback" not in log
