"""Recorded conversations, once as they were and once through the gate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.tau2.data import Call
from benchmarks.tau2.domain import Domain
from benchmarks.tau2.plane import RECORDER, Running, agent_id
from benchmarks.tau2.world import Refusal, System

Tick = Callable[[], None]


@dataclass
class Run:
    """What one replay of calls did. `done`: positions of the calls that changed the system."""

    end: str
    done: set[int] = field(default_factory=set)
    refused: dict[int, tuple[str, ...]] = field(default_factory=dict)  # position -> rules


def without_gate(system: System, calls: Iterable[Call]) -> Run:
    system.world.reset()
    done: set[int] = set()
    for position, call in enumerate(calls):
        try:
            system.call(call.name, call.arguments)
        except Refusal:
            continue
        if call.name not in system.reads:
            done.add(position)
    return Run(system.world.fingerprint(), done)


class Gate:
    """The caller's side: opens the conversation, says who the customer is, asks for each action."""

    def __init__(self, domain: Domain, system: System, at: Running) -> None:
        self._domain, self._system, self._at = domain, system, at
        self._clients: dict[str, httpx.Client] = {}
        self._known: set[tuple[str, bool]] = set()
        self._users = frozenset(system.world.rows(domain.users))
        self._world = httpx.Client(base_url=at.system_url, trust_env=False, timeout=30)
        self.read_ms: list[float] = []
        self.write_ms: list[float] = []

    def close(self) -> None:
        for client in [*self._clients.values(), self._world]:
            client.close()

    def run(self, id: str, model: str, calls: Iterable[Call], tick: Tick) -> Run:
        """Every call through the gate, in order, from the beginning of the world."""
        self._world.post("/_reset").raise_for_status()
        recorder, agent = self._client(RECORDER), self._client(f"agent:{agent_id(model)}")
        recorder.post("/v1/conversations", json={"id": id, "channel": "chat"}).raise_for_status()
        self._system.world.reset()  # follows what is done, to tell whom a call is about
        found: list[str] = []  # users whom the caller looked up in this conversation
        run = Run("")
        for position, call in enumerate(calls):
            rules = self._ask(agent, id, position, call, found)
            if rules is None:
                if call.name not in self._system.reads:
                    run.done.add(position)
                self._follow(call, found)
            elif rules:
                run.refused[position] = rules
            tick()
        run.end = self._world.get("/_fingerprint").json()["fingerprint"]
        return run

    def _follow(self, call: Call, found: list[str]) -> None:
        try:
            result = self._system.call(call.name, call.arguments)
        except Refusal:
            return
        if call.name in self._domain.finds and isinstance(result, str):
            found.append(result)

    def _ask(
        self, agent: httpx.Client, conversation: str, position: int, call: Call, found: list[str]
    ) -> tuple[str, ...] | None:
        """None: done. Otherwise the rules that refused it; an empty tuple where the system did not do it."""
        reads = call.name in self._system.reads
        body: dict[str, Any] = {
            "action": f"{self._domain.name}.{call.name}",
            "input": dict(call.arguments),
            "conversation": conversation,
            "channel": "chat",
        }
        if not reads:
            body["input"]["call_id"] = str(position)
            if customer := self._customer(call, found):
                body["customer"] = customer
        # as text: what is not JSON (NaN …) shall reach the gate as it was recorded
        answer = agent.post("/v1/requests", content=json.dumps(body), headers={"content-type": "application/json"})
        if answer.status_code >= 400:
            return (f"malformed:{answer.status_code}",)
        told = answer.json()
        if told.get("decided_in_ms"):
            (self.read_ms if reads else self.write_ms).append(told["decided_in_ms"])
        if told["decision"] == "allow":
            return None if told["status"] == "done" else ()
        return tuple(dict.fromkeys(r.get("policy") or r["code"] for r in told["reasons"])) or (told["decision"],)

    def _customer(self, call: Call, found: list[str]) -> str | None:
        """Whom the conversation is with, as far as the recording tells.

        The caller looked a user up, or the user said an id: it is theirs, and if the call is about somebody else, the gate shall
        see that. Neither: the recording cannot tell, and the one the call is about is taken, as nobody who proved anything.
        """
        owner = self._domain.owner(self._system, call.arguments)
        named = found or [word for word in re.findall(r"\w+", call.heard.lower()) if word in self._users]
        customer = named[0] if named and owner not in named else owner
        if customer is not None:
            self._identify(customer, proved=bool(named))
        return customer

    def _identify(self, customer: str, *, proved: bool) -> None:
        if (customer, proved) in self._known:
            return
        recorder = self._client(RECORDER)
        recorder.put(f"/v1/customers/{customer}", json={}).raise_for_status()
        if proved:
            proof = {"level": 1, "method": "named themselves", "lifetime": "8h"}
            recorder.post(f"/v1/customers/{customer}/assurance", json=proof).raise_for_status()
        self._known.add((customer, proved))

    def _client(self, caller: str) -> httpx.Client:
        if caller not in self._clients:
            self._clients[caller] = self._at.client(caller)
        return self._clients[caller]
