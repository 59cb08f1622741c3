"""The figures of a replay, as benchmarks/airline/README.md defines them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tau2.data import Call, Conversation
from benchmarks.tau2.replay import Gate, Tick, without_gate
from benchmarks.tau2.world import System

CONVERSATIONS = (
    "conversations",
    "conversations_without_ground_truth",
    "calls",
    "writes_attempted",
    "writes",
    "writes_refused",
    "wrong_conversations",
    "wrong_conversations_touched",
    "right_conversations_touched",
    "undetermined_conversations_touched",
    "end_state_right_without_gate",
    "end_state_right_with_gate",
)
TRUTH = (
    "ground_truth_tasks",
    "ground_truth_writes",
    "ground_truth_refused",
    "ground_truth_rejected_by_system",
    "ground_truth_end_states_right",
)


def report(
    gate: Gate, system: System, recorded: Sequence[Conversation], truth: Mapping[str, tuple[Call, ...]], tick: Tick
) -> dict[str, Any]:
    told: dict[str, Any] = _conversations(gate, system, recorded, truth, tick) | _truth(gate, system, truth, tick)
    told["decision_ms"] = _spread(gate.read_ms + gate.write_ms)
    told["decision_ms_writes"] = _spread(gate.write_ms)
    return told


def _conversations(
    gate: Gate, system: System, recorded: Sequence[Conversation], truth: Mapping[str, tuple[Call, ...]], tick: Tick
) -> dict[str, Any]:
    goals = {task: without_gate(system, calls).end for task, calls in truth.items()}
    figures, rules, models = Counter[str](), Counter[str](), dict[str, Counter[str]]()
    for conversation in recorded:
        before = without_gate(system, conversation.calls)
        after = gate.run(conversation.id, conversation.model, conversation.calls, tick)
        refused = {n: why for n, why in after.refused.items() if n in before.done}
        goal = goals.get(conversation.task)
        right, right_after = before.end == goal, after.end == goal
        touched = "right" if right else "wrong"
        if goal is None:  # then the recording's own word counts, and an end that the gate did not change
            right = conversation.said_right is True
            right_after = right and after.end == before.end
            touched = {True: "right", False: "wrong", None: "undetermined"}[conversation.said_right]
        counted = {
            "conversations": 1,
            "conversations_without_ground_truth": goal is None,
            "calls": len(conversation.calls),
            "writes_attempted": sum(
                c.name in system.operations and c.name not in system.reads for c in conversation.calls
            ),
            "writes": len(before.done),
            "writes_refused": len(refused),
            "wrong_conversations": touched == "wrong",
            f"{touched}_conversations_touched": bool(refused),
            "end_state_right_without_gate": right,
            "end_state_right_with_gate": right_after,
        }
        figures.update(counted)
        models.setdefault(conversation.model, Counter()).update(counted)
        rules.update(rule for why in refused.values() for rule in why)
    told: dict[str, Any] = {name: figures[name] for name in CONVERSATIONS}
    told["refused_by_rule"] = dict(rules.most_common())
    told["by_model"] = {
        model: {name: counts[name] for name in CONVERSATIONS} for model, counts in sorted(models.items())
    }
    return told


def _truth(gate: Gate, system: System, truth: Mapping[str, tuple[Call, ...]], tick: Tick) -> dict[str, Any]:
    figures: Counter[str] = Counter()
    refused = []
    for task, calls in truth.items():
        before = without_gate(system, calls)
        after = gate.run(f"truth.{task}", "ground truth", calls, tick)
        writes = [n for n, call in enumerate(calls) if call.name in system.operations and call.name not in system.reads]
        against = [n for n in writes if n in after.refused]
        figures.update(
            {
                "ground_truth_tasks": 1,
                "ground_truth_writes": len(writes),
                "ground_truth_refused": len(against),
                "ground_truth_rejected_by_system": len(set(writes) - before.done),
                "ground_truth_end_states_right": before.end == after.end,
            }
        )
        refused += [{"task": task, "action": calls[n].name, "rules": list(after.refused[n])} for n in against]
    return {name: figures[name] for name in TRUTH} | {"ground_truth_refused_calls": refused}


def _spread(values: list[float]) -> dict[str, float | int | None]:
    if not values:
        return {"count": 0, "p50": None, "p99": None}
    cuts = statistics.quantiles(values * 2, n=100, method="inclusive")
    return {"count": len(values), "p50": round(cuts[49], 2), "p99": round(cuts[98], 2)}
