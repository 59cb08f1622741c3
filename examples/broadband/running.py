"""The example business as real processes: four systems, a store, a plane; started, killed, stopped."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONTROL = HERE / "control"
SYSTEMS = ("crm", "billing", "cases", "field_service")
CALLERS = (
    "agent:fin",
    "agent:juno",
    "agent:harbor",
    "person:tomas",
    "person:maria",
    "person:henrik",
    "person:britt",
    "person:lena",
    "system:crm-sync",
)


class Failed(Exception):
    """A part of the demonstration did not come up; the text says which, and the end of its log."""


class Estate:
    """Everything that runs, and how to reach it. `stop()` ends what was started here, and nothing else."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.urls: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.plane_url = ""
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._env = os.environ | {
            "CXPLANE_DATA": str(home / "data"),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "CXPLANE_OPERATOR": "person:ines",
            "NO_COLOR": "1",
        }
        self._env.pop("CXPLANE_DSN", None)
        self.tokens = {name: secrets.token_urlsafe(24) for name in SYSTEMS}
        for name, token in self.tokens.items():
            self._env[f"{name.upper()}_TOKEN"] = token

    # starting -----------------------------------------------------------------------------------------

    def start_system(self, name: str) -> str:
        words = ["-m", "examples.broadband.systems", name, "--token-env", f"{name.upper()}_TOKEN"]
        words += ["--state", str(self.home / f"{name}.json")]
        said = self._start(name, [sys.executable, *words], "listens on ")
        self.urls[name] = said.rsplit(" ", 1)[1]
        self._env[f"CXPLANE_SYSTEM_{name.upper()}_URL"] = self.urls[name]
        return self.urls[name]

    def start_plane(self, port: int = 0) -> str:
        """The address; the same port again after a kill, so that callers find it where it was."""
        words = ["serve", "--port", str(port), "--tenant", "northwind", "--json", "--log", "warning"]
        said = self._start("plane", [sys.executable, "-m", "cxplane.edges.cli", *words], "{")
        self.plane_url = next(v for v in json.loads(said).values() if isinstance(v, str) and v.startswith("http"))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.plane_url}/health/ready", trust_env=False).status_code == 200:
                    return self.plane_url
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise Failed(f"the plane is not ready; {self._log('plane')}")

    def _start(self, name: str, command: list[str], sign: str) -> str:
        """Run it and wait for the line that says where it listens."""
        log = (self.home / f"{name}.log").open("a")
        process = subprocess.Popen(
            command, cwd=ROOT, env=self._env, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        self._processes[name] = process
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            if sign in line:
                threading.Thread(target=_drain, args=(process.stdout, log), daemon=True).start()
                return line.strip()
        raise Failed(f"{name} did not start; {self._log(name)}")

    def cxplane(self, *words: str) -> str:
        """A command of the command line; its output. Failed if it says no."""
        command = [sys.executable, "-m", "cxplane.edges.cli", *words]
        done = subprocess.run(command, cwd=ROOT, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`cxplane {' '.join(words)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def conform(self) -> dict[str, Any]:
        """All systems at the same time; how many writes passed of each."""
        running = {
            name: subprocess.Popen(
                [sys.executable, "-m", "cxplane.edges.cli", "conform", name, "--control", str(CONTROL), "--json"],
                cwd=ROOT,
                env=self._env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in SYSTEMS
        }
        told: dict[str, Any] = {}
        for name, process in running.items():
            out, err = process.communicate()
            if process.returncode != 0:
                raise Failed(f"{name} does not conform:\n{out[-2000:]}{err[-2000:]}")
            told[name] = json.loads(out)
        return told

    def make_keys(self) -> None:
        for caller in CALLERS:
            self.keys[caller] = json.loads(self.cxplane("keys", "create", caller, "--json"))["key"]

    # in the middle --------------------------------------------------------------------------------------

    def kill_plane(self) -> int:
        """SIGKILL; the port it listened on."""
        process = self._processes.pop("plane")
        process.send_signal(signal.SIGKILL)
        process.wait()
        return int(self.plane_url.rsplit(":", 1)[1])

    def client(self, caller: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.plane_url,
            headers={"Authorization": f"Bearer {self.keys[caller]}"},
            timeout=30,
            trust_env=False,
        )

    def system(self, name: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.urls[name],
            headers={"Authorization": f"Bearer {self.tokens[name]}"},
            timeout=10,
            trust_env=False,
        )

    def fault(self, name: str, fault: str, **more: Any) -> None:
        with self.system(name) as system:
            system.post("/_faults", json={"fault": fault, **more}).raise_for_status()

    def effects(self, name: str) -> list[dict[str, Any]]:
        with self.system(name) as system:
            found: list[dict[str, Any]] = system.get("/_effects").raise_for_status().json()["effects"]
            return found

    # the end ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        for name in ("plane", *SYSTEMS):
            process = self._processes.pop(name, None)
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _log(self, name: str) -> str:
        text = (self.home / f"{name}.log").read_text()
        return f"the end of its log:\n{text[-3000:]}"


def _drain(out: Any, log: Any) -> None:
    for line in out:
        log.write(line)
        log.flush()
