"""The cheapest HTTP client and server that do the job: on two cores, whoever measures must not be what is measured."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Client:
    """One connection, one request at a time."""

    def __init__(self, port: int, headers: str = "") -> None:
        self._port, self._headers = port, headers
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{self._headers}"
        self._writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        reply = await self._reader.readuntil(b"\r\n\r\n")
        status = int(reply[9:12])
        length = 0
        for line in reply.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        told = await self._reader.readexactly(length)
        return status, json.loads(told) if told else None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


async def system(delay_s: float) -> asyncio.Server:
    """The business system: an effect takes `delay_s`, the same key does it once."""
    done: dict[bytes, bytes] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
                await reader.readexactly(int(fields.get(b"content-length", b"0")))
                key = fields.get(b"idempotency-key", b"")
                if key not in done:
                    await asyncio.sleep(delay_s)
                    done[key] = b'{"credit_id": "cr-%d"}' % len(done)
                reply = done[key]
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(reply) + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
