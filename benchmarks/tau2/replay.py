"""Recorded conversations, once as they were and once through the gate.

`writes` are calls that change the system of record: those that it carries out when the conversation is replayed without the
gate. A call that the system refuses by itself (no seat, no balance) is not the gate's to stop, and is not counted.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.tau2.data import Call, Conversation
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
        self._known: set[str] = set()
        self._users = sorted(system.world.rows(domain.users))
        self._world = httpx.Client(base_url=at.system_url, trust_env=False, timeout=30)
        self.decision_ms: list[float] = []

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
        body: dict[str, Any] = {
            "action": f"{self._domain.name}.{call.name}",
            "input": dict(call.arguments),
            "conversation": conversation,
            "channel": "chat",
        }
        if call.name not in self._system.reads:
            body["input"]["call_id"] = f"{position}.{call.id}"
            if customer := self._customer(call, found):
                self._identify(customer)
                body["customer"] = customer
        # as text: what is not JSON (NaN …) shall reach the gate as it was recorded
        answer = agent.post("/v1/requests", content=json.dumps(body), headers={"content-type": "application/json"})
        if answer.status_code >= 400:
            return (f"malformed:{answer.status_code}",)
        told = answer.json()
        if told.get("decided_in_ms"):
            self.decision_ms.append(told["decided_in_ms"])
        if told["decision"] == "allow":
            return None if told["status"] == "done" else ()
        return tuple(dict.fromkeys(r.get("policy") or r["code"] for r in told["reasons"])) or (told["decision"],)

    def _customer(self, call: Call, found: list[str]) -> str | None:
        """Whom the conversation is with, as far as the recording tells.

        The caller looked a user up, or the user said an id: it is theirs, and if the call is about somebody else, the gate shall
        see that. Neither: the recording cannot tell, and the one the call is about is taken.
        """
        owner = self._domain.owner(self._system, call.arguments)
        named = found or [user for user in self._users if user in call.heard]
        if named and owner not in named:
            return named[0]
        return owner

    def _identify(self, customer: str) -> None:
        if customer in self._known:
            return
        recorder = self._client(RECORDER)
        recorder.put(f"/v1/customers/{customer}", json={}).raise_for_status()
        proof = {"level": 1, "method": "named themselves", "lifetime": "8h"}
        recorder.post(f"/v1/customers/{customer}/assurance", json=proof).raise_for_status()
        self._known.add(customer)

    def _client(self, caller: str) -> httpx.Client:
        if caller not in self._clients:
            self._clients[caller] = self._at.client(caller)
        return self._clients[caller]


def report(
    gate: Gate,
    system: System,
    conversations: list[Conversation],
    truth: Mapping[str, tuple[Call, ...]],
    tick: Tick,
) -> dict[str, Any]:
    """The figures, as docs/benchmarks.md defines them."""
    ends = {task: without_gate(system, calls) for task, calls in truth.items()}
    rules: Counter[str] = Counter()
    figures: Counter[str] = Counter()
    for conversation in conversations:
        before = without_gate(system, conversation.calls)
        system.world.reset()
        after = gate.run(conversation.id, conversation.model, conversation.calls, tick)
        refused = {n: why for n, why in after.refused.items() if n in before.done}
        goal = ends[conversation.task].end if conversation.task in ends else None
        right = before.end == goal
        figures["conversations"] += 1
        figures["conversations_without_ground_truth"] += goal is None
        figures["calls"] += len(conversation.calls)
        figures["writes"] += len(before.done)
        figures["writes_refused"] += len(refused)
        figures["right_conversations_touched"] += right and bool(refused)
        figures["wrong_conversations_touched"] += not right and bool(refused)
        figures["end_state_right_without_gate"] += right
        figures["end_state_right_with_gate"] += after.end == goal
        rules.update(rule for why in refused.values() for rule in why)
    truth_refused = []
    for task, calls in truth.items():
        run = gate.run(f"truth.{task}", "ground truth", calls, tick)
        figures["ground_truth_writes"] += len(ends[task].done)
        missed = [n for n in run.refused if n in ends[task].done]
        figures["ground_truth_refused"] += len(missed)
        truth_refused += [{"task": task, "action": calls[n].name, "rules": list(run.refused[n])} for n in missed]
        figures["ground_truth_end_states_right"] += run.end == ends[task].end
    names = (
        "conversations",
        "conversations_without_ground_truth",
        "calls",
        "writes",
        "writes_refused",
        "wrong_conversations_touched",
        "right_conversations_touched",
        "ground_truth_writes",
        "ground_truth_refused",
        "ground_truth_end_states_right",
        "end_state_right_without_gate",
        "end_state_right_with_gate",
    )
    told: dict[str, Any] = {name: figures[name] for name in names}
    told["refused_by_rule"] = dict(rules.most_common())
    told["ground_truth_refused_calls"] = truth_refused
    told["decision_ms"] = _spread(gate.decision_ms)
    return told


def _spread(values: list[float]) -> dict[str, float | int]:
    if len(values) < 2:
        return {"count": len(values)}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"count": len(values), "p50": round(cuts[49], 2), "p99": round(cuts[98], 2)}
