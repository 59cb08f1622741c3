"""A system of record over HTTP: one process, one world, loopback only.

GET  /operations/NAME?argument=…      a read
POST /operations/NAME  {…}            a write; the same Idempotency-Key gives the same answer
POST /_reset · GET /_fingerprint · GET /_health
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

from benchmarks.tau2.world import Refusal, System


class Service:
    def __init__(self, system: System) -> None:
        self._system = system
        self._answers: dict[str, tuple[int, Any]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        status, answer = self._answer(scope, body, headers.get("idempotency-key"))
        content = json.dumps(answer).encode()
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": content})

    def _answer(self, scope: Any, body: bytes, key: str | None) -> tuple[int, Any]:
        path, method = scope["path"], scope["method"]
        if path == "/_health":
            return 200, {"ok": True}
        if path == "/_fingerprint":
            return 200, {"fingerprint": self._system.world.fingerprint()}
        if path == "/_reset" and method == "POST":
            self._system.world.reset()
            self._answers.clear()
            return 200, {"ok": True}
        name = path.removeprefix("/operations/")
        reads = name in self._system.reads
        if name not in self._system.operations or reads != (method == "GET"):
            return 404, {"error": "no such operation"}
        if key and key in self._answers:
            return self._answers[key]
        arguments = dict(parse_qsl(scope["query_string"].decode())) if reads else json.loads(body or b"{}")
        arguments.pop("call_id", None)
        try:
            result = self._system.call(name, arguments)
            answer = 200, result if isinstance(result, dict) else {"result": result}
        except Refusal as refusal:
            return (404 if refusal.missing else 422), {"error": refusal.said}
        if key and not reads:
            self._answers[key] = answer
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", choices=["airline", "retail"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    domain = importlib.import_module(f"benchmarks.{given.domain}.domain").DOMAIN
    uvicorn.run(Service(domain.system(given.data)), host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
