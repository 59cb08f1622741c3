"""What changes from one version of a control repo to another, by meaning and not by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from cxplane.control.contract import contract_hash
from cxplane.control.journey_diff import moved, plain_journey
from cxplane.domain.catalog import HttpCall
from cxplane.domain.journey import Journey
from cxplane.domain.people import CallerKind
from cxplane.domain.release import ControlRepo
from cxplane.domain.values import Json, spelled
from cxplane.ports.policy import PolicyEngine, PolicyMeta

_PLACE = frozenset({"file", "line"})
_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was added, removed or changed."""

    kind: str  # plane | action | table | system | journey | policy | budget | role | team | caller | test
    id: str
    change: str  # added | removed | changed
    fields: Mapping[
        str, tuple[Json, Json]
    ]  # of a changed one: path -> (before, after); None where there was or is nothing
    file: str = ""
    contract: bool = False  # an action whose contract is new: conformance must be run again

    def words(self) -> str:
        """One line, and one for each field."""
        again = " (run conformance again)" if self.contract else ""
        lines = [f"{self.kind} {self.id} {self.change}{again}"]
        lines += [f"  {path}: {_shown(before)} → {_shown(after)}" for path, (before, after) in self.fields.items()]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "id": self.id,
            "change": self.change,
            "file": self.file,
            "conformance_again": self.contract,
            "fields": {path: {"before": before, "after": after} for path, (before, after) in self.fields.items()},
        }


def diff(before: ControlRepo, after: ControlRepo, engine: PolicyEngine) -> tuple[Change, ...]:
    """All changes, by kind and id; none for files that say the same in other words, another order or another place.

    ControlError if the policies of one of them do not compile.
    """
    old, new = _things(before, engine), _things(after, engine)
    found = []
    for kind in old:
        for id in sorted(old[kind].keys() | new[kind].keys()):
            change = _change(kind, id, old[kind].get(id), new[kind].get(id))
            if change is not None:
                found.append(change)
    return tuple(found)


def _things(repo: ControlRepo, engine: PolicyEngine) -> dict[str, Mapping[str, Any]]:
    return {
        "plane": {"plane.yaml": repo.plane},
        "action": repo.actions,
        "table": repo.tables,
        "system": repo.systems,
        "journey": repo.journeys,
        "policy": engine.compile(repo).meta,
        "budget": {budget.id: budget for budget in repo.budgets},
        "role": repo.roles,
        "team": repo.teams,
        "caller": {name: c for name, c in repo.callers.items() if c.kind is not CallerKind.JOURNEY},  # the charter's
        "test": {test["name"]: test for test in repo.policy_tests},
    }


def _change(kind: str, id: str, old: Any, new: Any) -> Change | None:
    there = new if new is not None else old
    file = str(there.get("file", "") if isinstance(there, Mapping) else getattr(there, "file", ""))
    contract = (
        kind == "action"
        and new is not None
        and new.writes
        and (old is None or contract_hash(old) != contract_hash(new))
    )
    if old is None or new is None:
        return Change(kind, id, "added" if old is None else "removed", {}, file, contract)
    if kind == "test":  # where it stands is no part of it
        old, new = ({key: value for key, value in one.items() if key not in _PLACE} for one in (old, new))
    changed = dict(_fields("", _plain(old), _plain(new)))
    if isinstance(old, Journey):
        changed |= {f"steps.{step}.place": places for step, places in moved(old, new)}
    if not changed:
        return None
    return Change(kind, id, "changed", changed, file, contract)


def _fields(path: str, old: Any, new: Any) -> Iterator[tuple[str, tuple[Json, Json]]]:
    """Every place where two values differ, as deep as both are maps."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _fields(f"{path}.{key}" if path else str(key), old.get(key, _MISSING), new.get(key, _MISSING))
    elif old is _MISSING or new is _MISSING or old != new or type(old) is not type(new):
        yield path, (None if old is _MISSING else old, None if new is _MISSING else new)


def _plain(value: Any) -> Json:
    """A value of the domain as JSON, without the place where it stands: moving a thing changes nothing."""
    if isinstance(value, PolicyMeta):
        return {"effect": value.effect, "reason": value.reason, "text": value.text.strip()}
    if isinstance(value, Journey):
        return plain_journey(value)
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name.rstrip("_"): getattr(value, f.name) for f in fields(value) if f.name not in _PLACE}
        plain = {name: _plain(one) for name, one in named.items()}
        if type(value).__name__.endswith(("Fact", "Call")):
            plain["form"] = "http" if isinstance(value, HttpCall) else type(value).__name__.removesuffix("Fact").lower()
        return plain
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(one) for one in value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, timedelta):
        return spelled(value)
    return value.value if isinstance(value, Enum) else value


def _shown(value: Json) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str) and "\n" in value:
        return "\n    " + value.replace("\n", "\n    ")
    return _flat(value)


def _flat(value: Json) -> str:
    """As it would stand in a file, on one line: `{is: ask, due: 2d}`."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flat(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flat, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else str(value)
