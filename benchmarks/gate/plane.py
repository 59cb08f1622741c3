"""`cxplane` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gate.wire import Client

ROOT = Path(__file__).resolve().parents[2]


class Plane:
    """`cxplane` as a user runs it, on the store given."""

    def __init__(self, home: Path, dsn: str, billing: int) -> None:
        self._home = home
        self._env = os.environ | {
            "CXPLANE_DSN": dsn,
            "CXPLANE_SYSTEM_BILLING_URL": f"http://127.0.0.1:{billing}",
            "CXPLANE_HTTP_RATE": "100000",
            "CXPLANE_HTTP_BURST": "200000",
            "CXPLANE_HTTP_PATIENCE": "30",  # these callers ask for more than there is, and want to wait for it
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        }
        self._process: subprocess.Popen[str] | None = None

    def tell(self, *words: str) -> Any:
        command = [sys.executable, "-m", "cxplane.edges.cli", *words, "--json"]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"cxplane {words[0]} failed: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def start(self) -> tuple[int, float]:
        """The port, and the seconds until it is ready."""
        command = [sys.executable, "-m", "cxplane.edges.cli", "serve", "--port", "0", "--json", "--log", "error"]
        began = time.perf_counter()
        log = (self._home / "plane.log").open("a")
        self._process = subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the plane did not start: {(self._home / 'plane.log').read_text()[-2000:]}")
        url = next(v for v in json.loads(line).values() if isinstance(v, str) and v.startswith("http"))
        return int(url.rsplit(":", 1)[1]), time.perf_counter() - began

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


async def customer(port: int, key: str) -> None:
    """The one customer of the bench, known well enough for anything."""
    crm = Client(port, f"authorization: Bearer {key}\r\n")
    await crm.ask("PUT", "/v1/customers/c1", {})
    await crm.ask("POST", "/v1/customers/c1/assurance", {"level": 2, "method": "otp", "lifetime": "8h"})
    await crm.ask("POST", "/v1/customers/c1/consents", {"purpose": "service", "granted": True, "source": "bench"})
    crm.close()
