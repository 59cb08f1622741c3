"""A fake with a test bench: faults and effects over HTTP, and faults of character that conformance must find."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.connectors.fake import FakeSystem, Seen


@dataclass
class BenchFake(FakeSystem):
    forgets_keys: bool = False  # does it again whenever asked
    hides: bool = False  # its read finds nothing
    keeps: bool = False  # says it took back, and does not
    effects: list[dict[str, Any]] = field(default_factory=list)
    reversals: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def _answer(self, call: Seen, writer: Any) -> bool:
        if not call.path.startswith("/_"):
            return await super()._answer(call, writer)
        if call.path == "/_faults":
            self.faults["write"].clear()
            if call.body["fault"] == "timeout_after_commit":
                self.fail("write", "hang_after_commit")
        reply = json.dumps({"effects": self.effects}).encode()
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(reply)}\r\n\r\n".encode() + reply)
        await writer.drain()
        return True

    def _work(self, call: Seen, *, lie: bool) -> tuple[int, Any]:
        split = urlsplit(call.path)
        key = call.headers.get("idempotency-key") or dict(parse_qsl(split.query)).get("key", "")
        if call.method == "GET":
            rows = self.reversals if split.path == "/reversals" else self.credits
            return (404, {}) if self.hides or key not in rows else (200, rows[key])
        rows = self.reversals if split.path.endswith("/reverse") else self.credits
        if key in rows and not self.forgets_keys:
            return 200, rows[key]
        self.effects.append({"key": key})
        row = {"reversal_id": "rv-1"} if rows is self.reversals else {"credit_id": f"cr-{len(rows) + 1}", **call.body}
        if not (rows is self.reversals and self.keeps):
            rows[key] = row
        return 200, row
