"""The outfitter as real processes: services, a store, a plane; and copies of its control repo that point at them."""

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONTROL = HERE / "control"
VERSION_2 = HERE / "payment_agent_v2"  # what of the control repo is other with version 2 of the payment agent
SYSTEMS = ("order_agent", "payment_agent", "warehouse")
CALLERS = (
    "agent:piper",
    "person:olga",
    "person:sven",
    "person:petra",
    "person:wim",
    "system:webshop",
    "system:carrier",
)


class Failed(Exception):
    """A part did not come up; the text says which, and the end of its log."""


def control_copy(
    target: Path, urls: Mapping[str, str], *, spans: Mapping[str, str] | None = None, version_2: bool = False
) -> Path:
    """A copy of the control repo whose systems are at `urls`. `spans`: {"within: 14d": "within: 5s"} in its journeys."""
    shutil.copytree(CONTROL, target)
    if version_2:
        shutil.copytree(VERSION_2, target, dirs_exist_ok=True)
    for name, url in urls.items():
        file = target / "systems" / f"{name}.yaml"
        file.write_text(re.sub(r"base_url: \S+", f"base_url: {url}", file.read_text()))
    for file in target.glob("journeys/*/journey.yaml"):
        text = file.read_text()
        for long, short in (spans or {}).items():
            text = text.replace(long, short)
        file.write_text(text)
    return target


class Services:
    """The services as processes. `stop()` ends what was started here, and nothing else."""

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

    def start_system(self, name: str, *, program: str = "", state: str = "", url_of: bool = True) -> str:
        """Its address. `program`: another version of it; `state`: another file than its own; `url_of`: it is in charge."""
        words = ["-m", "examples.outfitter.systems", program or name, "--token-env", f"{name.upper()}_TOKEN"]
        words += ["--state", str(self.home / f"{state or name}.json")]
        said = self._start(state or name, [sys.executable, *words], "listens on ")
        url = said.rsplit(" ", 1)[1]
        if url_of:
            self.urls[name] = url
        return url

    def replace_payment_agent(self) -> str:
        """Version 1 ends; version 2 takes over its ledger, at another address."""
        self.end("payment_agent")
        return self.start_system("payment_agent", program="payment_agent_v2")

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

    def stop(self) -> None:
        for name in reversed(list(self._processes)):
            self.end(name)

    def log(self, name: str) -> str:
        return f"the end of its log:\n{(self.home / f'{name}.log').read_text()[-3000:]}"

    def system(self, name: str, url: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        return httpx.Client(base_url=url or self.urls[name], headers=headers, timeout=10, trust_env=False)

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

    def did(self, name: str, *, key: str = "") -> list[str]:
        """The operations that a service did, in their order; `key`: only those in whose path or body the word stands."""
        return [e["operation"] for e in self.effects(name) if key in json.dumps([e["path"], e["body"], e["id"]])]

    def row(self, name: str, path: str) -> dict[str, Any]:
        with self.system(name) as system:
            found: dict[str, Any] = system.get(path).raise_for_status().json()
            return found


class Estate(Services):
    """The services, a plane of its own, and how to reach it."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.keys: dict[str, str] = {}
        self.plane_url = ""
        self.env |= {"CXPLANE_DATA": str(home / "data"), "CXPLANE_OPERATOR": "person:ines"}

    def cxplane(self, *words: str) -> str:
        """A command of the command line; its output. Failed if it says no."""
        command = [sys.executable, "-m", "cxplane.edges.cli", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`cxplane {' '.join(words)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def conform(self, control: Path, *systems: str) -> None:
        """All of them at the same time; Failed if one does not."""
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
            for name in systems
        }
        said = {name: (process.communicate()[0], process.returncode) for name, process in running.items()}
        for name, (out, code) in said.items():
            if code != 0:
                raise Failed(f"{name} does not conform:\n{out[-3000:]}")

    def start_plane(self) -> str:
        words = ["serve", "--port", "0", "--tenant", "ridgeline", "--json", "--log", "warning"]
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
        raise Failed(f"the plane is not ready; {self.log('plane')}")

    def make_keys(self) -> None:
        for caller in CALLERS:
            self.keys[caller] = json.loads(self.cxplane("keys", "create", caller, "--json"))["key"]

    def call(self, caller: str, method: str, path: str, **json: Any) -> Any:
        """The plane's answer to a caller. Failed with its words if it says no."""
        headers = {"Authorization": f"Bearer {self.keys[caller]}"}
        with httpx.Client(base_url=self.plane_url, headers=headers, timeout=30, trust_env=False) as client:
            answer = client.request(method, path, json=json or None)
        if answer.status_code >= 400:
            raise Failed(f"{caller}: {method} {path} gave {answer.status_code}: {answer.text}")
        return answer.json()


def _drain(out: Any, log: Any) -> None:
    for line in out:
        log.write(line)
        log.flush()
