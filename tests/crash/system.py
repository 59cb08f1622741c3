"""A business system as a process of its own, whose books outlive it.

`python -m tests.crash.system PORT BOOKS PAUSE_S [fault …]`: each write takes PAUSE_S, then meets the next of the faults (`-`: none; see
`tests.connectors.fake`). What it did is a line of BOOKS: the key, the path and the body.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.connectors.fake import FakeSystem, Seen


@dataclass
class Kept(FakeSystem):
    """A FakeSystem that writes down what it does as it does it, and knows it again when it comes back."""

    books: Path = field(default_factory=Path)

    def open(self) -> None:
        self.books.touch()
        for line in entries(self.books):
            self.credits[line["key"]] = line["credit"]

    def _work(self, call: Seen, *, lie: bool) -> tuple[int, Any]:
        key = call.headers.get("idempotency-key", "")
        fresh = call.method == "POST" and key not in self.credits
        answer = super()._work(call, lie=lie)
        if fresh and key in self.credits:
            with self.books.open("a") as out:
                print(json.dumps({"key": key, "path": call.path, "credit": self.credits[key]}), file=out, flush=True)
        return answer


def entries(books: Path) -> list[dict[str, Any]]:
    """What was really done, in order."""
    return [json.loads(line) for line in books.read_text().splitlines()] if books.exists() else []


class Outside:
    """The system, seen from the test: it comes, is killed, and comes back at the same address."""

    def __init__(self, books: Path, port: int, *, pause_s: float) -> None:
        self.books, self.port, self.pause_s = books, port, pause_s
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def up(self, *faults: str) -> None:
        """Answers when this returns."""
        command = [
            sys.executable,
            "-m",
            "tests.crash.system",
            str(self.port),
            str(self.books),
            str(self.pause_s),
            *faults,
        ]
        self._process = subprocess.Popen(command)
        for _ in range(300):
            if await self.answers():
                return
            assert self._process.poll() is None
            await asyncio.sleep(0.1)
        raise AssertionError("the system does not come up")

    def down(self) -> None:
        """Gone at once, in the middle of what it does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)

    async def answers(self) -> bool:
        """False: the connection is refused."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    def done(self) -> list[tuple[str, str]]:
        """(path, dispute) of each effect."""
        return [(line["path"], line["credit"]["dispute_id"]) for line in entries(self.books)]


async def main() -> None:
    port, books, pause_s, *faults = sys.argv[1:]
    system = Kept(books=Path(books), pause_s=float(pause_s))
    system.open()
    system.fail("write", *("" if fault == "-" else fault for fault in faults))
    await system.start(int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
