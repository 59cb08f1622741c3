"""Journeys that data and people can be turned against, and a plane with two tenants that serves them over HTTP."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cxplane.adapters.postgres.embedded import EmbeddedPostgres
from tests.edges.running import CALL, Running, set_up, until

SAM, PAT, CRM, ERP, BOT, LOOP = (
    "person:sam",
    "person:pat",
    "system:crm-sync",
    "system:erp",
    "agent:helper",
    "journey:each",
)

PEOPLE = """\
roles:
  - {role: service-agent, summary: serves customers}
  - {role: supervisor, summary: decides what was held}
  - {role: integration, summary: another system of ours}
teams:
  - {team: service-team, lead: sam}
  - {team: claims, lead: pat}
persons:
  - {id: sam, roles: [supervisor, service-agent], team: service-team}
  - {id: pat, roles: [service-agent], team: claims}
services:
  - {id: crm-sync, roles: [integration]}
  - {id: erp, roles: [integration]}
"""

CHARTER = """\
---
journey: {name}
owner: service-team
actions: [{actions}]
data: [orders]
roles: [service-agent]
approvals: {{{approvals}}}
exceptions: service-team
success: [{{measure: done, target: ">= 0.95"}}]
counter: [{{measure: wrong, target: "<= 0.01"}}]
---
For the tests.
"""

ITEMS = "{type: object, required: [items], properties: {items: {type: array}, order: {type: string}}}"
KEY = "{type: object, required: [k], properties: {k: {type: string}}}"

BODIES = {
    "each": (
        ITEMS,
        "  - all: {for: {in: input.items}, do: [{n: {set: {n: 'size(input.items)'}}}]}\n"
        "  - end_of_it: {goal: {name: through}}",
        'start: [{signal: t.many, when: "signal.data.items.map(x, x).size() > 0"}]\n',
    ),
    "many": (ITEMS, "  - all: {for: {in: input.items}, do: [{n: {set: {n: item}}}]}", ""),
    "doubled": (
        ITEMS,
        '  - way: {set: {n: "input.items.map(x, x).size()"}}\n  - same: {set: {d: "distinct(input.items).size()"}}\n'
        "  - end_of_it: {goal: {name: through, evidence: {n: vars.d}}}",
        "",
    ),
    "spin": (
        "{type: object, required: [order], properties: {order: {type: string}}}",
        "  - look: {call: shop.get_order, with: {order_id: input.order}}\n"
        "  - again: {switch: [{gone: {when: \"steps.look.status == 'gone'\", then: end}}, {not_yet: {then: look}}]}",
        "",
    ),
    "grow": (
        KEY,
        "  - none: {set: {all: '[]'}}\n  - more: {listen: {signal: t.more, key: input.k}}\n"
        '  - kept: {set: {all: "vars.all + [steps.more.data]"}, then: more}',
        "",
    ),
    "race": (
        KEY,
        "  - either:\n      try:\n        - came: {listen: {signal: t.race, key: input.k, within: 1s}}\n"
        "        - heard: {goal: {name: heard}}\n"
        "      catch: {errors: [timeout], do: [{late: {goal: {name: late}}}]}",
        "key: [k]\n",
    ),
    "rounds": (
        ITEMS,
        "  - each_one:\n      for: {each: one, in: input.items}\n      do:\n"
        "        - small: {checkpoint: {check: one.amount <= 1000, text: small, before: [shop.refund_order]}}\n"
        "        - pay: {call: shop.refund_order, with: {order_id: one.id, amount: one.amount}}",
        "",
    ),
    "asks": (
        KEY,
        "  - choose: {ask: {team: claims, choose: \"'which'\", choices: [a, b], due: 2s, default: b}}\n"
        "  - told: {raise: {error: odd, text: \"'about ' + input.k\"}}",
        "on_failure: fail\n",
    ),
    "fills": (
        KEY,
        "  - form: {ask: {team: claims, fill: \"'Who?'\", form: {type: object, required: [age], "
        "properties: {age: {type: integer}, name: {type: string}}}}}",
        "",
    ),
}


def charter(name: str, *actions: str) -> str:
    approvals = "shop.refund_order: above 50 euros a supervisor" if "shop.refund_order" in actions else ""
    return CHARTER.format(name=name, actions=", ".join(actions), approvals=approvals)


def files() -> dict[str, str]:
    found = {"people/people.yaml": PEOPLE}
    for name, (input, steps, more) in BODIES.items():
        actions = [a for a in ("shop.get_order", "shop.refund_order") if a in steps] or ["shop.get_order"]
        found[f"journeys/{name}/charter.md"] = charter(name, *actions)
        head = f"journey: {name}\nversion: 1\nsummary: For the tests\nowner: service-team\ninput: {input}\n"
        found[f"journeys/{name}/journey.yaml"] = f"{head}{more}do:\n{steps}\n"
    return found


class Wild:
    """A plane to attack, and every error that it answered."""

    def __init__(self, plane: Running) -> None:
        self.plane, self.errors = plane, [""]

    def call(self, method: str, path: str, by: str | None = SAM, url: str = "", **more: Any) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {self.plane.keys[by]}"} if by else {}), **more.pop("headers", {})}
        reply = httpx.request(method, (url or self.plane.url) + path, headers=headers, timeout=60, **more)
        if reply.status_code >= 400:
            self.errors.append(reply.text)
        return reply

    def start(self, journey: str, by: str = SAM, key: str | None = None, **input: Any) -> httpx.Response:
        body = {"journey": journey, "customer": "c-1", "input": input}
        return self.call("POST", "/v1/runs", by, json=body, headers={"Idempotency-Key": key} if key else {})

    def run(self, journey: str, **input: Any) -> str:
        reply = self.start(journey, **input)
        assert reply.status_code == 201, reply.text
        id: str = reply.json()["run"]["id"]
        return id

    def look(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/v1/runs/{run}").json()
        return found

    def comes_to(self, run: str, *statuses: str, seconds: float = 20) -> dict[str, Any]:
        until(lambda: self.look(run)["run"]["status"] in statuses, seconds)
        return self.look(run)

    def signal(self, type: str, key: str = "", by: str = CRM, **more: Any) -> httpx.Response:
        event = {"specversion": "1.0", "id": f"e-{time.monotonic_ns()}", "source": "/t", "type": type, "subject": key}
        headers = {"Content-Type": "application/cloudevents+json"}
        return self.call("POST", "/v1/signals", by, content=json.dumps({**event, **more}), headers=headers)

    def task(self, run: str) -> str:
        until(lambda: self.look(run)["tasks"])
        id: str = self.look(run)["tasks"][0]["id"]
        return id

    def answer(self, task: str, by: str = PAT, **answer: Any) -> httpx.Response:
        return self.call("POST", f"/v1/tasks/{task}/answer", by, json={"answer": answer})

    def key(self, caller: str, **more: str) -> str:
        made = self.plane.cx("keys", "create", caller, "--json", **more)
        assert made.code == 0, made.err
        key: str = made.json["key"]
        return key


@contextmanager
def wild(root: Path) -> Iterator[Wild]:
    plane = set_up(root, {"keys": []}, files())
    found = Wild(plane)
    try:
        for caller in (PAT, ERP, LOOP):
            plane.keys[caller] = found.key(caller)
        yield found
    finally:
        if plane.process is not None:
            plane.stop()
        plane.shop.close()


@contextmanager
def other_tenant(here: Wild) -> Iterator[tuple[str, str]]:
    """(address, name of a key) of a plane of another tenant on the same store."""
    plane = here.plane
    there = plane.root / "south"
    assert plane.cx("init", str(there), "--name", "southwind").code == 0
    text = (there / "plane.yaml").read_text().replace("gates: [check, test, conformance]", "gates: [check, test]")
    (there / "plane.yaml").write_text(text)
    # by its address the store is one of the operator's own: the key that is beside it has to be brought
    env = plane.env(CXPLANE_TENANT="southwind", CXPLANE_DATA_KEY=(plane.data / "keys" / "data.key").read_text().strip())
    store = EmbeddedPostgres(plane.data / "store")
    dsn = store.start()
    with (plane.root / "south.log").open("a") as log:
        command = [*CALL, "serve", "--port", "0", "--json", "--control", str(there), "--dsn", dsn]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert '"url"' in line, line + (plane.root / "south.log").read_text()[-2000:]
        plane.keys["south"] = here.key(SAM, CXPLANE_TENANT="southwind")
        plane.keys["south-crm"] = here.key(CRM, CXPLANE_TENANT="southwind")
        yield json.loads(line)["url"], "south"
    finally:
        process.terminate()
        process.wait(40)
        if process.stdout is not None:
            process.stdout.close()
        store.stop()
