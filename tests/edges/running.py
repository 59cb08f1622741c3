"""`cxplane` as processes: a control repo, a plane on an embedded store, keys, and a shop to act on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.edges.shop import Shop

CALL = [sys.executable, "-m", "cxplane.edges.cli"]
ISSUER, AUDIENCE = "https://id.example", "cxplane"


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Running:
    """One installation."""

    root: Path
    shop: Shop
    keys: dict[str, str] = field(default_factory=dict)
    url: str = ""
    process: subprocess.Popen[str] | None = None
    settings: dict[str, str] = field(default_factory=dict)  # environment of the plane and of commands

    @property
    def control(self) -> Path:
        return self.root / "control"

    @property
    def data(self) -> Path:
        return self.root / "data"

    def env(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CXPLANE_")}
        return {
            **kept,
            "PYTHONPATH": str(Path("src").absolute()),
            "CXPLANE_DATA": str(self.data),
            "CXPLANE_URL": self.url or "http://127.0.0.1:9",
            "CXPLANE_SYSTEM_SHOP_URL": self.shop.url,
            "SHOP_TOKEN": "shop-secret",
            **self.settings,
            **more,
        }

    def cx(self, *args: str, by: str | None = None, stdin: str | None = None, **more: str) -> Ended:
        """Run a command to its end."""
        if by:
            more["CXPLANE_KEY"] = self.keys[by]
        done = subprocess.run(
            [*CALL, *args], env=self.env(**more), capture_output=True, text=True, input=stdin, timeout=120
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *args: str) -> None:
        """`cxplane serve` on a free port, ready."""
        self.log = (self.root / "serve.log").open("a")
        self.process = subprocess.Popen(
            [*CALL, "serve", "--port", "0", "--json", *args],
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert '"url"' in line, f"serve ended: {line}  {(self.root / 'serve.log').read_text()[-3000:]}"
        self.url = json.loads(line)["url"]

    def stop(self, with_: int = signal.SIGTERM) -> int:
        """Exit code of the plane after a signal."""
        assert self.process is not None
        self.process.send_signal(with_)
        code = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        self.process = None
        return code

    def http(self, by: str | None = None, **headers: str) -> httpx.Client:
        if by:
            headers["Authorization"] = f"Bearer {self.keys[by]}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def ask(self, by: str = "agent:helper", *, key: str | None = None, **body: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        with self.http(by) as http:
            return http.post("/v1/requests", json={"customer": "c-1", **body}, headers=headers)

    def refund(
        self, order: str, amount: Any, by: str = "agent:helper", *, key: str | None = None, **more: Any
    ) -> httpx.Response:
        return self.ask(by, key=key, action="shop.refund_order", input={"order_id": order, "amount": amount}, **more)


def set_up(root: Path, jwks: Mapping[str, Any], more: Mapping[str, str] | None = None, **settings: str) -> Running:
    """A first control repo, served, with keys and two customers. `more`: files beside those of `cxplane init`.

    Without the conformance gate, for the shop has no switchable faults; and with a budget that the tests do not use up.
    """
    running = Running(root, Shop(), settings=settings)
    assert running.cx("init", str(running.control), "--name", "northwind").code == 0
    plane = running.control / "plane.yaml"
    text = plane.read_text().replace("gates: [check, test, conformance]", "gates: [check, test]")
    text = text.replace("system:crm-sync: [/crm]", "system:crm-sync: [/crm, /shop, /t]")
    plane.write_text(f"{text}auth: {{jwt: {{issuer: '{ISSUER}', audience: {AUDIENCE}, jwks: keys.json}}}}\n")
    (running.control / "keys.json").write_text(json.dumps(jwks))
    budget = running.control / "budgets" / "refunds-by-ai.yaml"
    budget.write_text(budget.read_text().replace("{money: 50000, count: 100}", "{money: 5000000, count: 10000}"))
    for path, written in (more or {}).items():
        (running.control / path).parent.mkdir(parents=True, exist_ok=True)
        (running.control / path).write_text(written)
    running.start("--control", str(running.control))
    for caller in ("agent:helper", "person:sam", "system:crm-sync"):
        made = running.cx("keys", "create", caller, "--json")
        assert made.code == 0, made.err + made.out
        running.keys[caller] = made.json["key"]
    for id in ("c-1", "c-2"):
        with running.http("system:crm-sync") as http:
            assert http.put(f"/v1/customers/{id}", json={"attributes": {"segment": "gold"}}).status_code == 200
            proof = {"level": 2, "method": "otp", "lifetime": "8h"}
            assert http.post(f"/v1/customers/{id}/assurance", json=proof).status_code == 200
            said = {"purpose": "service", "granted": True, "source": "contract"}
            assert http.post(f"/v1/customers/{id}/consents", json=said).status_code == 200
    return running


def until(true: Any, seconds: float = 20) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
