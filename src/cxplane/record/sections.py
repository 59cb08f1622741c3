"""A text for people in sections: printed as plain text, or shown as a page by who knows how to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

LONGEST = 300  # characters of one value


@dataclass(frozen=True, slots=True)
class Line:
    """One line. With a `name`, the text is its value; `code` keeps its line breaks; a `head` stands over what comes below.

    `deep` counts indents.
    """

    text: str
    name: str = ""
    deep: int = 0
    code: bool = False
    head: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    lines: tuple[Line, ...]
    tone: str = ""  # of the title: a verdict or status, for its colour


def section(title: str, lines: Iterable[Line | str], tone: str = "") -> Section:
    return Section(title, tuple(Line(line) if isinstance(line, str) else line for line in lines), tone)


def as_text(sections: Sequence[Section]) -> str:
    """Plain text; a section without lines is its title alone."""
    return "\n\n".join("\n".join((one.title, *_printed(one.lines))) for one in sections) + "\n"


def _printed(lines: Sequence[Line]) -> list[str]:
    printed = []
    for line in lines:
        indent = "  " * (line.deep + 1)
        if line.code:
            printed += [f"{indent}| {part}".rstrip() for part in line.text.splitlines()]
        else:
            printed.append(f"{indent}{line.name} = {line.text}" if line.name else f"{indent}{line.text}")
    return printed


def value(given: Any) -> str:
    """A value on one line, cut where it is very long."""
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def moment(text: str, zone: str = "UTC") -> str:
    """A time as people of that zone read it, with the zone's name: "2026-01-05 11:00:00 CET"."""
    at = datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
    return at.strftime("%Y-%m-%d %H:%M:%S %Z")


def lasting(seconds: float) -> str:
    """A span of time: "12.5 ms", "3.2 s", "7 min 5 s", "2 h 10 min", "3 d 4 h"."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for big, small, words in ((86400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big} {words[0]}" + (f" {rest} {words[1]}" if rest else "")
    return f"{seconds:.3g} s"
