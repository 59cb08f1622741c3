"""A store, a system of record and a plane as real processes, for the time of a replay."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.tau2.domain import Domain

ROOT = Path(__file__).parents[2]
RECORDER = "system:recorder"


def agent_id(model: str) -> str:
    """The name of the agent that stands for a model in the control repo."""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:60] or "unknown"
    return name if name[0].isalpha() else f"model-{name}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """Where everything answers, and the keys of those who ask."""

    url: str
    system_url: str
    keys: dict[str, str] = field(repr=False)

    def client(self, caller: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.keys[caller]}"}, timeout=60, trust_env=False
        )


def _agents(control: Path, models: Iterable[str]) -> list[str]:
    """An agent for each model named in the recordings, alike in everything but the name."""
    pattern = (control / "agents" / "assistant.md").read_text()
    names = sorted({agent_id(model) for model in models})
    for name in names:
        text = re.sub(r"(?m)^agent: .*$", f"agent: {name}", pattern)
        (control / "agents" / f"{name}.md").write_text(text)
    return [f"agent:{name}" for name in names]


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer; the end of its log:\n{log.read_text()[-3000:]}")


@contextmanager
def running(domain: Domain, data: Path, models: Iterable[str]) -> Iterator[Running]:
    """Start all of it, release the control repo, make the keys; stop all of it at the end."""
    with tempfile.TemporaryDirectory(prefix="cxplane-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        control = home / "control"
        shutil.copytree(domain.control, control)
        callers = [*_agents(control, models), RECORDER]
        system_port, port = free_port(), free_port()
        system_url = f"http://127.0.0.1:{system_port}"
        env = os.environ | {
            f"CXPLANE_SYSTEM_{domain.name.upper()}_URL": system_url,
            "CXPLANE_DATA": str(home / "data"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        }
        env.pop("CXPLANE_DSN", None)
        cxplane = [sys.executable, "-m", "cxplane.edges.cli"]

        def start(name: str, command: list[str], health: str) -> subprocess.Popen[bytes]:
            log = home / f"{name}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
            started.append(process)
            _answers(health, process, log)
            return process

        def tell(*words: str) -> str:
            done = subprocess.run([*cxplane, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"cxplane {' '.join(words[:2])} failed:\n{done.stdout}{done.stderr}")
            return done.stdout

        started: list[subprocess.Popen[bytes]] = []
        try:
            serve_system = [sys.executable, "-m", "benchmarks.tau2.serve", domain.name]
            serve_system += ["--data", str(data), "--port", str(system_port)]
            start("system", serve_system, f"{system_url}/_health")
            tell("release", str(control))
            serve = [*cxplane, "serve", "--port", str(port), "--now", domain.now]
            start("plane", serve, f"http://127.0.0.1:{port}/health/ready")
            keys = {caller: json.loads(tell("keys", "create", caller, "--json"))["key"] for caller in callers}
            yield Running(f"http://127.0.0.1:{port}", system_url, keys)
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGTERM)
            for process in reversed(started):
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
