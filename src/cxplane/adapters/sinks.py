"""Where checkpoints are kept apart from the store: a folder, or an address that takes PUT."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from cxplane.domain.errors import SinkFailure

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 10.0
TORN = 8192  # bytes: more than one checkpoint takes
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class FolderSink:
    """`checkpoints` gets one after the other, never changed; `latest` holds the last. Both are on disk when `put` returns.

    Put the folder on another machine's disk, or copy it there: who can write both store and sink can rewrite both.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    async def latest(self) -> str | None:
        try:
            return await asyncio.to_thread(self._read)
        except (OSError, UnicodeDecodeError) as problem:
            raise SinkFailure(str(self), f"cannot be read ({type(problem).__name__})") from None

    async def put(self, size: int, note: str) -> None:
        try:
            await asyncio.to_thread(self._write, note)
        except OSError as problem:
            raise SinkFailure(str(self), f"cannot be written ({type(problem).__name__})") from None

    def _read(self) -> str | None:
        try:
            return (self._folder / "latest").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _write(self, note: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "checkpoints").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _forget_torn(file, (self._read() or "").encode())
            file.write((("\n" if file.tell() else "") + note).encode())
            file.flush()
            os.fsync(file.fileno())
            partial = self._folder / f"latest.{os.getpid()}"
            with partial.open("wb") as fresh:
                fresh.write(note.encode())
                fresh.flush()
                os.fsync(fresh.fileno())
            partial.replace(self._folder / "latest")


def _forget_torn(file: BinaryIO, latest: bytes) -> None:
    """Cut away what a machine that died left of its last write: it is sent again. `latest` was written after the last whole one."""
    end = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, end - len(latest) - TORN))
    tail = file.read()
    found = tail.rfind(latest)
    if found >= 0 and (latest or end <= TORN):
        file.truncate(start + found + len(latest) if latest else 0)
    file.seek(0, os.SEEK_END)


class HttpSink:
    """`PUT URL/<size>`, then `PUT URL/latest`; `GET URL/latest` is 404 while there is none. An object store will do."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise SinkFailure(parts.hostname or url, "must be reached by https")
        self._url, self._token = url.rstrip("/"), token

    def __str__(self) -> str:
        return urlsplit(self._url).hostname or "?"

    async def latest(self) -> str | None:
        reply = await self._send("GET", "latest")
        if reply.status_code == 404:
            return None
        return str(reply.text)

    async def put(self, size: int, note: str) -> None:
        for name in (str(size), "latest"):
            await self._send("PUT", name, note.encode())

    async def _send(self, method: str, name: str, body: bytes | None = None) -> httpx.Response:
        import httpx

        headers = {"Content-Type": "text/plain; charset=utf-8"} if body is not None else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
                reply = await client.request(method, f"{self._url}/{name}", content=body, headers=headers)
        except httpx.HTTPError as problem:
            raise SinkFailure(str(self), f"does not answer ({type(problem).__name__})") from None
        if reply.status_code >= 300 and not (method == "GET" and reply.status_code == 404):
            raise SinkFailure(str(self), f"said HTTP {reply.status_code}")
        return reply


def sink_for(where: str, tenant: str, token: str | None = None) -> FolderSink | HttpSink:
    """The sink of one tenant: a folder in that folder, or a path under that address."""
    if "://" in where:
        return HttpSink(f"{where.rstrip('/')}/{tenant}", token)
    return FolderSink(Path(where) / tenant)
