"""The insurer as real processes: systems, a store, a plane; and copies of its control repo that point at them."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONTROL = HERE / "control"
SYSTEMS = ("policy_admin", "claims", "letters", "complaints")
CALLERS = (
    "agent:wren",
    "person:tilda",
    "person:ruth",
    "person:bruno",
    "person:emil",
    "person:vera",
    "person:opal",
    "system:portal",
)
_SPAN = re.compile(r"(?<=[a-z]: )(\d+)(d|h)\b")


class Failed(Exception):
    """A part did not come up; the text says which, and the end of its log."""


def shortened(text: str, day_ms: int) -> str:
    """The text of a journey in which a day is so many milliseconds: `within: 2d` becomes `within: 6000ms`."""
    hour_ms = day_ms / 24
    return _SPAN.sub(lambda m: f"{round(int(m[1]) * (day_ms if m[2] == 'd' else hour_ms))}ms", text)


def control_copy(target: Path, urls: Mapping[str, str], *, day_ms: int | None = None) -> Path:
    """A copy of the control repo whose systems are at `urls`, and in whose journeys a day is shorter."""
    shutil.copytree(CONTROL, target)
    for name, url in urls.items():
        file = target / "systems" / f"{name}.yaml"
        file.write_text(re.sub(r"base_url: \S+", f"base_url: {url}", file.read_text()))
    if day_ms is not None:
        for file in target.glob("journeys/*/journey.yaml"):
            file.write_text(shortened(file.read_text(), day_ms))
    return target


class Services:
    """The systems as processes. `stop()` ends what was started here, and nothing else."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.urls: dict[str, str] = {}
        self.tokens = {name: secrets.token_urlsafe(24) for name in SYSTEMS}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CXPLANE_")}
        self.env = kept | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "NO_COLOR": "1",
            **{f"{name.upper()}_TOKEN": token for name, token in self.tokens.items()},
        }

    def start_system(self, name: str) -> str:
        """Its address."""
        words = ["-m", "examples.insurer.systems", name, "--token-env", f"{name.upper()}_TOKEN"]
        words += ["--state", str(self.home / f"{name}.json")]
        self.urls[name] = self._start(name, [sys.executable, *words], "listens on ").rsplit(" ", 1)[1]
        return self.urls[name]

    def _start(self, name: str, command: list[str], sign: str) -> str:
        """Run it and wait for the line that says where it listens."""
        log = (self.home / f"{name}.log").open("a")
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        self._processes[name] = process
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            if sign in line:
                threading.Thread(target=_drain, args=(process.stdout, log), daemon=True).start()
                return line.strip()
        raise Failed(f"{name} did not start; {self.log(name)}")

    def end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, name: str) -> None:
        """SIGKILL: it has no moment to put anything in order."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for name in reversed(list(self._processes)):
            self.end(name)

    def log(self, name: str) -> str:
        return f"the end of its log:\n{(self.home / f'{name}.log').read_text()[-3000:]}"

    def system(self, name: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        return httpx.Client(base_url=self.urls[name], headers=headers, timeout=10, trust_env=False)

    def reset(self) -> None:
        """As on the first day: what the conformance tests did is gone."""
        for name in self.urls:
            with self.system(name) as system:
                system.post("/_reset").raise_for_status()

    def fault(self, name: str, fault: str, **more: Any) -> None:
        with self.system(name) as system:
            system.post("/_faults", json={"fault": fault, **more}).raise_for_status()

    def effects(self, name: str) -> list[dict[str, Any]]:
        with self.system(name) as system:
            found: list[dict[str, Any]] = system.get("/_effects").raise_for_status().json()["effects"]
            return found

    def did(self, name: str, *, about: str = "") -> list[str]:
        """The operations that a system did, in their order; `about`: only those in which that id stands."""
        found = self.effects(name)
        return [e["operation"] for e in found if f'"{about}' in json.dumps([*e["path"].split("/"), e["body"], e["id"]])]

    def letters(self, customer: str) -> list[str]:
        """The texts of what was written to a customer."""
        return [e["body"]["text"] for e in self.effects("letters") if e["body"]["customer_id"] == customer]

    def claim(self, claim_id: str) -> dict[str, Any]:
        return self.row("claims", f"/claims/{claim_id}")

    def row(self, name: str, path: str) -> dict[str, Any]:
        with self.system(name) as system:
            found: dict[str, Any] = system.get(path).raise_for_status().json()
            return found

    def upload(self, claim_id: str, document: str) -> None:
        """The customer sends a document through the portal."""
        with self.system("claims") as system:
            key = {"Idempotency-Key": uuid.uuid4().hex}
            answer = system.post(f"/claims/{claim_id}/documents", json={"document": document}, headers=key)
            answer.raise_for_status()


class Estate(Services):
    """The systems, a plane of its own, and how to reach it."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.keys: dict[str, str] = {}
        self.plane_url = ""
        self.env |= {"CXPLANE_DATA": str(home / "data"), "CXPLANE_OPERATOR": "person:nora"}

    def cxplane(self, *words: str) -> str:
        """A command of the command line; its output. Failed if it says no."""
        command = [sys.executable, "-m", "cxplane.edges.cli", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`cxplane {' '.join(words)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def conform(self, control: Path) -> None:
        """All systems at the same time; Failed if one does not conform."""
        command = [sys.executable, "-m", "cxplane.edges.cli", "conform"]
        running = {
            name: subprocess.Popen(
                [*command, name, "--control", str(control)],
                cwd=ROOT,
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for name in SYSTEMS
        }
        said = {name: (process.communicate()[0], process.returncode) for name, process in running.items()}
        for name, (out, code) in said.items():
            if code != 0:
                raise Failed(f"{name} does not conform:\n{out[-3000:]}")

    def start_plane(self, port: int = 0) -> int:
        """Its port; the same one again after a kill, so that callers find it where it was."""
        words = ["serve", "--port", str(port), "--tenant", "aldermoor", "--json", "--log", "warning"]
        said = self._start("plane", [sys.executable, "-m", "cxplane.edges.cli", *words], "{")
        self.plane_url = next(v for v in json.loads(said).values() if isinstance(v, str) and v.startswith("http"))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.plane_url}/health/ready", trust_env=False).status_code == 200:
                    return int(self.plane_url.rsplit(":", 1)[1])
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise Failed(f"the plane is not ready; {self.log('plane')}")

    def make_keys(self) -> None:
        for caller in CALLERS:
            self.keys[caller] = json.loads(self.cxplane("keys", "create", caller, "--json"))["key"]

    def call(self, caller: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The plane's answer to a caller. Failed with its words if it says no."""
        headers = {"Authorization": f"Bearer {self.keys[caller]}"}
        with httpx.Client(base_url=self.plane_url, headers=headers, timeout=30, trust_env=False) as client:
            answer = client.request(method, path, json=body)
        if answer.status_code >= 400:
            raise Failed(f"{caller}: {method} {path} gave {answer.status_code}: {answer.text}")
        return answer.json()


def _drain(out: Any, log: Any) -> None:
    for line in out:
        log.write(line)
        log.flush()
