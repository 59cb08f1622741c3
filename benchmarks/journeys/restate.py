"""A Restate server and one service, doing the same three calls with no policy and no record of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.journeys import cache
from benchmarks.journeys.cache import NotToBeHad
from benchmarks.journeys.hosts import ROOT, cpu_s
from benchmarks.journeys.loads import closed_loop
from benchmarks.journeys.wire import Effects

PATIENCE_S = 60.0


class Restate:
    """A server with a service behind it. `cell` measures."""

    def __init__(self, ingress: int, server: int, service: int) -> None:
        self._ingress, self.server, self.service = ingress, server, service

    async def cell(self, in_flight: int, seconds: float, mark: str, warm: float = 1.0) -> dict[str, Any]:
        callers = Effects(self._ingress)

        async def one(n: int) -> None:
            body = b'"%s.%d.%d"' % (mark.encode(), in_flight, n)
            await asyncio.wait_for(callers.ask("POST", "/leg/run", body), PATIENCE_S)

        server, service = cpu_s(self.server), cpu_s(self.service)
        try:
            told = await closed_loop(in_flight, seconds, one, warm=warm)
        finally:
            callers.close()
        legs = max(1, int(told["all"]))
        told["cpu_ms"] = round((cpu_s(self.service) - service) * 1000 / legs, 2)
        return told | {"server_cpu_ms": round((cpu_s(self.server) - server) * 1000 / legs, 2)}


@asynccontextmanager
async def restate(home: Path, system: int) -> AsyncIterator[Restate]:
    """Both processes, on free ports. NotToBeHad where one of them cannot be installed or does not start."""
    program, python = cache.restate_server(), cache.python_with(cache.RESTATE)
    home.mkdir(parents=True, exist_ok=True)
    node, ingress, admin, port = _ports(4)
    env = os.environ | {
        "RESTATE_BASE_DIR": str(home / "data"),
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_LOG_FILTER": "warn",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }
    service = [str(python), str(ROOT / "benchmarks/journeys/restate_service.py"), str(port), str(system)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        with (home / "server.log").open("ab") as log:
            running.append(subprocess.Popen([str(program)], env=env, stdout=log, stderr=log, cwd=home))
        with (home / "service.log").open("ab") as log:
            running.append(subprocess.Popen(service, stdout=log, stderr=log))
        await _answers(port, "", running, home)
        await _answers(admin, "/health", running, home)
        asked = Effects(admin)
        await _register(asked, port)
        asked.close()
        await _answers(ingress, "/restate/health", running, home)
        yield Restate(ingress, running[0].pid, running[1].pid)
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _register(admin: Effects, port: int) -> None:
    body = b'{"uri": "http://127.0.0.1:%d/", "force": true}' % port
    reader, writer = await asyncio.open_connection("127.0.0.1", admin._port)
    writer.write(
        b"POST /deployments HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n" % len(body) + body
    )
    told = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    if told[9:12] not in (b"200", b"201"):
        raise NotToBeHad(f"Restate would not take the service: {told[:300].decode(errors='replace')}")


async def _answers(port: int, path: str, running: list[subprocess.Popen[bytes]], home: Path) -> None:
    """Wait until something listens there, and (with a path) answers 200."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for process in running:
            if process.poll() is not None:
                said = "".join((home / n).read_text(errors="replace")[-300:] for n in ("server.log", "service.log"))
                raise NotToBeHad(f"Restate ended by itself: {said}")
        with contextlib.suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
            if path:
                asked = Effects(port)
                await asked.ask("GET", path)
                asked.close()
            else:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
            return
        await asyncio.sleep(0.1)
    raise NotToBeHad(f"Restate did not answer on port {port} within a minute; see {home}")


def _ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return found
