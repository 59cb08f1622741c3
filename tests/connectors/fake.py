"""A small business system on loopback, with faults that no polite HTTP server has. Credits by idempotency key."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

BROKEN = {
    "garbage": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnot json!",
    "not_http": b"SSH-2.0-hello\r\n",
    "cut": b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"credit_id": ',
    "huge": b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n" + b"[" + b"1," * 2_400_000,
    "redirect": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/steal\r\ncontent-length: 0\r\n\r\n",
    "nan": b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"credit_id": NaN}',
    "off_contract": b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"credit_id": 7}',
    "a_list": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    "gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
}


@dataclass
class Seen:
    method: str
    path: str  # as it came, with query
    headers: dict[str, str]
    body: Any


@dataclass
class FakeSystem:
    """`faults` are used up one a call; those for "read" or "write" only by such calls.

    A fault is a status ("500"), one of BROKEN, "slow" (0.5 s, then done), "hang" (never answers, nothing done), "twice"
    (done, and answered two times), "hang_after_commit", "drop_before", "drop_after_commit", or "lie" (says done, does nothing).
    """

    faults: dict[str, deque[str]] = field(default_factory=lambda: {"read": deque(), "write": deque()})
    seen: list[Seen] = field(default_factory=list)
    credits: dict[str, dict[str, Any]] = field(default_factory=dict)
    extra_headers: str = ""  # of an error reply, each line ended
    most_at_once: int = 0
    keys_at_once: int = 0  # calls of one idempotency key that came while another of it was under way
    pause_s: float = 0.0  # each write takes so long
    _at_once: int = 0
    _under_way: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    url: str = ""

    async def start(self, port: int = 0) -> FakeSystem:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fail(self, kind: str, *faults: str) -> None:
        self.faults[kind].extend(faults)

    def calls(self, method: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        call = Seen(method, path, headers, json.loads(raw) if raw else None)
        self.seen.append(call)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        key = call.headers.get("idempotency-key", "") if call.method != "GET" else ""
        if key:
            self.keys_at_once += key in self._under_way
            self._under_way.append(key)
        try:
            if key and self.pause_s:
                await asyncio.sleep(self.pause_s)
            return await self._answer(call, writer)
        finally:
            self._at_once -= 1
            if key:
                self._under_way.remove(key)

    async def _answer(self, call: Seen, writer: asyncio.StreamWriter) -> bool:
        queue = self.faults["read" if call.method == "GET" else "write"]
        fault = queue.popleft() if queue else ""
        if fault in BROKEN:
            writer.write(BROKEN[fault])
            with suppress(ConnectionError):
                await writer.drain()
            return False
        if fault == "drop_before":
            return False
        if fault == "hang":
            await asyncio.sleep(60)
        if fault == "slow":
            await asyncio.sleep(0.5)
        if fault.isdigit():
            writer.write(
                f"HTTP/1.1 {fault} X\r\n{self.extra_headers}content-length: 17\r\n\r\n".encode() + b'{"who": "secret"}'
            )
            await writer.drain()
            return True
        status, body = self._work(call, lie=fault == "lie")
        if fault == "hang_after_commit":
            await asyncio.sleep(60)
        if fault == "drop_after_commit":
            return False
        reply = json.dumps(body).encode()
        answer = f"HTTP/1.1 {status} OK\r\ncontent-length: {len(reply)}\r\n\r\n".encode() + reply
        writer.write(answer * 2 if fault == "twice" else answer)
        await writer.drain()
        return True

    def _work(self, call: Seen, *, lie: bool) -> tuple[int, Any]:
        split = urlsplit(call.path)
        if call.method == "GET" and split.path == "/credits":
            key = dict(parse_qsl(split.query)).get("key", "")
            return (200, self.credits[key]) if key in self.credits else (404, {"code": "none"})
        if call.method == "GET":
            return 200, {"account_id": unquote(split.path.rsplit("/", 1)[1]), "balance": 5}
        key = call.headers.get("idempotency-key", "")
        if key in self.credits:
            return 200, self.credits[key]
        credit = {"credit_id": f"cr-{len(self.credits) + 1}", **(call.body or {})}
        if not lie:
            self.credits[key] = credit
        return 200, credit
