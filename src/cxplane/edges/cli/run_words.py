"""A run in words that fit a line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from cxplane.edges.cli.show import when

WIDTH = 100
ENDED = {"done": 0, "failed": 1, "cancelled": 1}  # status -> exit code


def waits_for(token: Mapping[str, Any]) -> str:
    """What a place of the run waits for, in a few words."""
    kind = token.get("waits_for")
    match kind:
        case None:
            return "nothing: it is on its way"
        case "signal":
            return ", ".join(f"signal {type} {key}" for type, key in token.get("signals", ())) or "a signal"
        case "person":
            return f"a person ({token.get('error') or 'stuck'})"
        case "call" | "undo":
            return f"request {token.get('request', '')}"
        case "task" | "run":
            return f"{kind} {token.get(kind, '')}"
        case "time":
            return "its time"
        case "retry":
            return "another try"
        case _:
            return str(kind)


def line_of(item: Mapping[str, Any]) -> str:
    """One thing that happened, as a line; a long text goes on below it."""
    step, actor = item.get("step"), item.get("actor") or ""
    how = item.get("how") or item["what"]
    head = f"{when(item.get('at'))}  {step or '-':<14} {how:<10}"
    text = (item.get("text") or "").removeprefix(f"{step}: ")
    text = text.removeprefix(how) if text == how or text.startswith((f"{how} ", f"{how}, ")) else text
    by = f" ({actor})" if actor not in ("", "cxplane") and actor not in text else ""
    return click.wrap_text(f"{head} {text.lstrip(' ,')}{by}", WIDTH, "", " " * 21)


def shortly(waits: Sequence[str]) -> str:
    """What a run waits for, without the ids: `runs show` has them."""
    return re.sub(r" (?:tsk|run|req)_[0-9a-f]{32}\b", "", "; ".join(waits))
