"""Reading the public data set from the folder given. Nothing of it is kept in the project."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Absent(Exception):
    """The data set, or a part of it that is needed, is not where it was said to be."""


def _open(path: Path) -> Any:
    if not path.exists() and path.suffix == ".gz" and path.with_suffix("").exists():
        path = path.with_suffix("")
    if not path.exists():
        raise Absent(
            f"{path} is absent: give the folder of the data set with --data (see benchmarks/airline/README.md)"
        )
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def load_json(path: Path) -> Any:
    with _open(path) as file:
        return json.load(file)


def load_lines(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


@dataclass(frozen=True)
class Call:
    """One tool call as recorded. `failed`: the recording's own tool answered with an error, so it changed nothing there."""

    name: str
    arguments: Mapping[str, Any]
    id: str
    failed: bool = False
    heard: str = field(default="", repr=False)  # what the user had said up to here


@dataclass(frozen=True)
class Conversation:
    id: str
    model: str
    task: str
    calls: tuple[Call, ...]


def tasks(data: Path) -> dict[str, tuple[Call, ...]]:
    """Task -> its ground-truth calls."""
    found = {}
    for task in load_lines(data / "tasks.jsonl.gz"):
        actions = (task.get("evaluation_criteria") or {}).get("actions") or []
        found[str(task["id"])] = tuple(
            Call(a["name"], a.get("arguments") or {}, str(a.get("action_id") or n))
            for n, a in enumerate(actions)
            if a.get("requestor", "assistant") == "assistant"
        )
    return found


def conversations(file: Path) -> Iterator[Conversation]:
    for number, line in enumerate(load_lines(file)):
        calls: list[Call] = []
        heard: list[str] = []
        errors = {
            m["id"]: bool(m.get("error")) for m in line.get("messages") or () if m.get("role") == "tool" and m.get("id")
        }
        for message in line.get("messages") or ():
            if message.get("role") == "user" and isinstance(message.get("content"), str):
                heard.append(message["content"])
            if message.get("role") != "assistant":
                continue
            for n, call in enumerate(message.get("tool_calls") or ()):
                said = call.get("function") or call  # some recorders nest it
                arguments = said.get("arguments")
                if isinstance(arguments, str):
                    try:
                        arguments = json.loads(arguments)
                    except ValueError:
                        arguments = {"unreadable": arguments[:200]}
                id = str(call.get("id") or f"{len(calls)}.{n}")
                calls.append(
                    Call(
                        name=str(said.get("name") or ""),
                        arguments=arguments if isinstance(arguments, dict) else {},
                        id=f"{len(calls)}.{id}",
                        failed=errors.get(call.get("id"), False),
                        heard="\n".join(heard),
                    )
                )
        yield Conversation(
            id=f"{number}.{line.get('run', '')}.{line.get('task_id', '')}",
            model=str(line.get("model") or "unknown"),
            task=str(line.get("task_id")),
            calls=tuple(calls),
        )
