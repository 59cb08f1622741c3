"""A journey as a map that two versions of it can be compared by: each step by its name, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from difflib import SequenceMatcher
from enum import Enum
from typing import Any

from cxplane.domain.journey import Fork, Journey, Step, Switch
from cxplane.domain.values import Json, spelled

_ELSEWHERE = frozenset({"name", "line", "file", "steps", "catch", "charter"})  # told of its own, or no part of it


def plain_journey(journey: Journey) -> dict[str, Any]:
    """Its head, its charter and its steps by name."""
    return {
        **_said(journey),
        "charter": _said(journey.charter),
        "steps": {step.name: plain_step(step) for step in journey.walk()},
    }


def plain_step(step: Step) -> dict[str, Json]:
    """What a step says, without the steps inside: the task word, and what differs from saying nothing."""
    said = {"is": step.kind, **_said(step)}
    if isinstance(step, Switch):
        said["cases"] = {case.name: _said(case) for case in step.cases}
    elif isinstance(step, Fork):
        said["branches"] = [branch.name for branch in step.branches]
    elif step.kind == "undo":
        said["steps"] = list(getattr(step, "steps", ())) or "all"
    return said


def moved(old: Journey, new: Journey) -> Iterator[tuple[str, tuple[str, str]]]:
    """(step, (place before, place after)) for steps that both have and that come elsewhere now."""
    before, after = _lists(old), _lists(new)
    both = _places(before).keys() & _places(after).keys()
    stayed: set[str] = set()
    for place in before.keys() & after.keys():
        was, now = ([name for name in lists[place] if name in both] for lists in (before, after))
        for block in SequenceMatcher(None, was, now, autojunk=False).get_matching_blocks():
            stayed |= set(was[block.a : block.a + block.size])
    here, there = _places(before), _places(after)
    for name in there:
        if name in both - stayed:
            yield name, (here[name], there[name])


def _lists(journey: Journey) -> dict[str, list[str]]:
    """The names in each list of steps, by where the list stands: `do`, `pay_back.try` …"""
    found = {"do": [step.name for step in journey.steps]}
    for step in journey.walk():
        for part, steps in step.bodies().items():
            found[f"{step.name}.{part}"] = [one.name for one in steps]
    return found


def _places(lists: dict[str, list[str]]) -> dict[str, str]:
    return {
        name: f"in {place}, {f'after {names[n - 1]}' if n else 'first'}"
        for place, names in lists.items()
        for n, name in enumerate(names)
    }


def _said(thing: Any) -> dict[str, Json]:
    usual = {f.name: f.default for f in fields(thing)}
    found = {}
    for name in usual:
        value = getattr(thing, name)
        if name not in _ELSEWHERE and value != usual[name] and value not in ("", None, (), {}, frozenset()):
            found[name.rstrip("_")] = _plain(value)
    return found


def _plain(value: Any) -> Json:
    if isinstance(value, timedelta):
        return spelled(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return _said(value)
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value
