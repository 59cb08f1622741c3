"""The shop of the first control repo: orders, and refunds that are done once for each key."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Shop:
    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.effects: list[tuple[str, int, str]] = []  # order, amount, key
        self.tokens: set[str | None] = set()
        self.pause_s = 0.0  # that a refund takes
        self.headers: list[dict[str, str]] = []  # of refunds
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                order = {} if self.path == "/health" else outer.orders.get(self.path.rpartition("/")[2])
                self._say(404, {"error": "no such order"}) if order is None else self._say(200, order)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.tokens.add(self.headers["Authorization"])
                outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                time.sleep(outer.pause_s)
                order, key = self.path.split("/")[2], self.headers["Idempotency-Key"]
                with outer._lock:
                    if not any(effect[2] == key for effect in outer.effects):
                        outer.effects.append((order, body["amount"], key))
                        outer.orders[order]["refunded"] += body["amount"]
                        outer.orders[order]["refund_keys"].append(key)
                self._say(200, {"refund_id": f"r-{key[:8]}"})

            def _say(self, status: int, value: Any) -> None:
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def order(self, id: str, customer: str = "c-1", paid: int = 20_000) -> str:
        self.orders[id] = {
            "order_id": id,
            "customer_id": customer,
            "paid": paid,
            "refunded": 0,
            "status": "shipped",
            "refund_keys": [],
        }
        return id

    def done(self, order: str) -> list[int]:
        """The amounts that were given back for an order."""
        return [amount for its, amount, _ in self.effects if its == order]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
