"""HTTP as cheap as it gets, with nothing but the standard library: every contender does its calls through this."""

from __future__ import annotations

import asyncio


class Effects:
    """The business system, asked over connections that stay open. `do(key)` raises when it is not answered with 200."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._port, self._host = port, host
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def do(self, key: str) -> str:
        """One effect under an idempotency key; the id that the system gave it."""
        told = await self.ask("POST", "/effects", b'{"key": "%s"}' % key.encode(), key)
        return told.decode()

    async def ask(self, method: str, path: str, body: bytes = b"", key: str = "") -> bytes:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        try:
            head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            head += f"idempotency-key: {key}\r\n" if key else ""
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            reply = await reader.readuntil(b"\r\n\r\n")
            told = await reader.readexactly(_length(reply))
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        if reply[9:12] not in (b"200", b"202"):
            raise RuntimeError(f"{method} {path} was answered {reply[9:12].decode()}: {told[:200].decode()}")
        return told

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0
