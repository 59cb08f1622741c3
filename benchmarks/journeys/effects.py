"""The business system, a process of its own: an effect takes a while, the same key does it once, and everything is counted.

    POST /effects         header idempotency-key; {"effect_id": "e-…"}, the same again for the same key
    GET /effects?key=K    the effect of that key, 404 where there is none
    GET /counts           {"asked": …, "effects": …, "repeated": …, "busiest": …}
    GET /first            the key of every effect with the time at which it was begun (Unix seconds)
    POST /clear           forget everything

`python -m benchmarks.journeys.effects --delay 0.005` prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from urllib.parse import unquote


class Ledger:
    """What was done. `begun` is the time of the first try of each key."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.clear()

    def clear(self) -> None:
        self.done: dict[str, bytes] = {}
        self.begun: dict[str, float] = {}
        self.asked = self.repeated = self.under_way = self.busiest = 0

    def counts(self) -> dict[str, int]:
        return {"asked": self.asked, "effects": len(self.done), "repeated": self.repeated, "busiest": self.busiest}


class Connection(asyncio.Protocol):
    """One request after the other, answered in order."""

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger, self._loop, self._had = ledger, loop, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, problem: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        had = self._had + data
        end = had.find(b"\r\n\r\n")
        if end < 0:
            self._had = had
            return
        head = had[:end]
        low = head.lower()
        length = _number(low, b"\r\ncontent-length:")
        if len(had) < end + 4 + length:
            self._had = had
            return
        self._had = had[end + 4 + length :]
        self._asked(head, low)

    def _asked(self, head: bytes, low: bytes) -> None:
        ledger = self._ledger
        if head.startswith(b"POST /effects"):
            key = _word(head, low, b"\r\nidempotency-key:")
            ledger.asked += 1
            if key in ledger.begun:
                ledger.repeated += 1
            else:
                ledger.begun[key] = time.time()
            ledger.under_way += 1
            ledger.busiest = max(ledger.busiest, ledger.under_way)
            self._loop.call_later(ledger.delay_s, self._effect, key)
        elif head.startswith(b"GET /effects?key="):
            found = ledger.done.get(unquote(head[17:].split(b" ", 1)[0].decode()))
            self._answer(found or b"{}", b"200 OK" if found else b"404 Not Found")
        elif head.startswith(b"GET /counts"):
            self._answer(json.dumps(ledger.counts()).encode())
        elif head.startswith(b"GET /first"):
            self._answer(json.dumps(ledger.begun).encode())
        elif head.startswith(b"POST /clear"):
            ledger.clear()
            self._answer(b"{}")
        else:
            self._answer(b"{}", b"404 Not Found")

    def _effect(self, key: str) -> None:
        ledger = self._ledger
        ledger.under_way -= 1
        if key not in ledger.done:
            ledger.done[key] = b'{"effect_id": "e-%d"}' % len(ledger.done)
        self._answer(ledger.done[key])

    def _answer(self, body: bytes, status: bytes = b"200 OK") -> None:
        if self._transport is not None:
            head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
            self._transport.write(head + body)


def _number(low: bytes, name: bytes) -> int:
    at = low.find(name)
    return int(low[at + len(name) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _word(head: bytes, low: bytes, name: bytes) -> str:
    at = low.find(name)
    return head[at + len(name) :].split(b"\r\n", 1)[0].strip().decode() if at >= 0 else ""


async def serve(delay_s: float, port: int = 0) -> None:
    loop = asyncio.get_running_loop()
    ledger = Ledger(delay_s)
    server = await loop.create_server(lambda: Connection(ledger, loop), "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.005, help="seconds for each effect")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(given.delay, given.port))
    else:
        uvloop.run(serve(given.delay, given.port))


if __name__ == "__main__":
    main()
