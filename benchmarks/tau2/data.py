"""Reading the public data set from the folder given. Nothing of it is kept in the project."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Absent(Exception):
    """The data set, or a part of it that is needed, is not where it was said to be, or cannot be read."""


def _text(path: Path) -> str:
    """The whole of a file; `name.gz` may lie there unpacked, as `name`."""
    if not path.exists() and path.suffix == ".gz" and path.with_suffix("").exists():
        path = path.with_suffix("")
    if not path.is_file():
        raise Absent(
            f"{path} is absent: give the folder of the data set with --data (see benchmarks/airline/README.md)"
        )
    content = path.read_bytes()
    try:
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, ValueError) as problem:
        raise Absent(f"{path} cannot be read: {type(problem).__name__}") from None


def load_json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as problem:
        raise Absent(f"{path} is not JSON: {problem}") from None


def load_tables(data: Path, *names: str) -> dict[str, dict[str, Any]]:
    """The database to begin with."""
    tables = load_json(data / "db.json.gz")
    lacking = [name for name in names if not isinstance(tables, dict) or not isinstance(tables.get(name), dict)]
    if lacking:
        raise Absent(f"{data / 'db.json.gz'} has no {', '.join(lacking)}: is it the database of this domain?")
    return {name: table for name, table in tables.items() if isinstance(table, dict)}


def load_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """One document a line; None for a line that holds none."""
    for line in _text(path).split("\n"):
        if line.strip():
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                document = None
            yield document if isinstance(document, dict) else None


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
    """`said_right`: what the recording itself says of its end state, where it does."""

    id: str
    model: str
    task: str
    calls: tuple[Call, ...]
    said_right: bool | None = None


def tasks(data: Path, whole: frozenset[str] = frozenset()) -> dict[str, tuple[Call, ...]]:
    """Task -> its ground-truth calls. `whole`: the arguments that are whole numbers."""
    found = {}
    for task in load_lines(data / "tasks.jsonl.gz"):
        if task is None or "id" not in task:
            continue
        actions = _list((task.get("evaluation_criteria") or {}).get("actions"))
        found[str(task["id"])] = tuple(
            Call(str(a.get("name") or ""), _arguments(a.get("arguments"), whole), str(a.get("action_id") or n))
            for n, a in enumerate(actions)
            if a.get("requestor", "assistant") == "assistant"
        )
    return found


def conversations(file: Path, whole: frozenset[str] = frozenset()) -> Iterator[Conversation | None]:
    """The recordings of a file in their order; None for a line that holds none."""
    for number, line in enumerate(load_lines(file)):
        yield None if line is None else _conversation(number, line, whole)


def _conversation(number: int, line: Mapping[str, Any], whole: frozenset[str]) -> Conversation:
    calls: list[Call] = []
    heard: list[str] = []
    messages = _list(line.get("messages"))
    failed = {str(m.get("id")) for m in messages if m.get("role") == "tool" and m.get("error")}
    for message in messages:
        if message.get("role") == "user" and isinstance(message.get("content"), str):
            heard.append(message["content"])
        if message.get("role") != "assistant":
            continue
        for call in _list(message.get("tool_calls")):
            said = call["function"] if isinstance(call.get("function"), dict) else call  # some recorders nest it
            calls.append(
                Call(
                    name=str(said.get("name") or ""),
                    arguments=_arguments(said.get("arguments"), whole),
                    id=str(len(calls)),
                    failed=str(call.get("id")) in failed,
                    heard="\n".join(heard),
                )
            )
    said_right = line.get("db_match_replayed")
    return Conversation(
        id=str(number),
        model=str(line.get("model") or "unknown"),
        task=str(line.get("task_id")),
        calls=tuple(calls),
        said_right=said_right if isinstance(said_right, bool) else None,
    )


def _list(said: Any) -> list[dict[str, Any]]:
    return [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []


def _arguments(said: Any, whole: frozenset[str]) -> dict[str, Any]:
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            said = {"unreadable": said[:200]}
    return {str(k): _whole(k, v, whole) for k, v in said.items()} if isinstance(said, dict) else {}


def _whole(name: str, said: Any, whole: frozenset[str]) -> Any:
    """Where the tool's description has a whole number, "3" and 3.0 are 3: models write them, and tool frameworks read them so."""
    match said:
        case dict():
            return {k: _whole(k, v, whole) for k, v in said.items()}
        case list():
            return [_whole(name, v, whole) for v in said]
        case str() if name in whole and len(said) < 16 and said.removeprefix("-").isdecimal() and said.isascii():
            return int(said)
        case float() if name in whole and said.is_integer() and abs(said) < 2**53:
            return int(said)
    return said
