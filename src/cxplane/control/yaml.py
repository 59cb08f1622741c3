"""YAML as plain JSON values, with the line of every key.

Only the part of YAML that reads the same to everybody: no anchors and aliases, no tags, no merge keys, one document a
file; `yes`, `no` and dates stay texts, and so does a number with a leading zero. Built from the parser's events, so a
file can be neither deep nor repeating enough to hurt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from cxplane.domain.errors import Mistake
from cxplane.domain.values import SAFE_INTEGER, Json

DEEPEST = 32  # maps and lists within each other

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_WORDS: Mapping[str, Json] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Document:
    """One file's value, and where each part of it stands."""

    file: str
    value: Json
    lines: Mapping[Path, int] = field(default_factory=dict, repr=False)  # path -> line of its key or list item
    body: str = ""  # what follows the front matter of a Markdown file

    def line(self, *path: str | int) -> int:
        """The line of that path, or of the nearest part above it that exists."""
        while path:
            if (found := self.lines.get(path)) is not None:
                return found
            path = path[:-1]
        return self.lines.get((), 1)


class _Wrong(Exception):
    """The rest of the file cannot be understood."""

    def __init__(self, line: int, what: str, hint: str = "") -> None:
        self.line, self.what, self.hint = line, what, hint


def parse(file: str, text: str, mistakes: list[Mistake], *, first_line: int = 1) -> Document | None:
    """The value of a YAML text; what is wrong is added to `mistakes`, and None is given if nothing can be made of it."""
    builder = _Builder(file, mistakes, first_line)
    try:
        value = builder.document(text)
    except _Wrong as wrong:
        mistakes.append(Mistake(file, wrong.line, wrong.what, wrong.hint))
        return None
    except yaml.YAMLError as problem:
        mistakes.append(_unreadable(file, text, problem, first_line))
        return None
    return Document(file, value, builder.lines)


def front_matter(file: str, text: str, mistakes: list[Mistake], called: str = "contract") -> Document | None:
    """The YAML between the `---` lines at the head of a Markdown file, and what follows as `body`. `called`: for complaints."""
    lines = text.split("\n")
    ends = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if lines[0].rstrip() != "---" or ends is None:
        what = f"the {called} is missing" if lines[0].rstrip() != "---" else f"the {called} has no end"
        mistakes.append(Mistake(file, 1, what, f"begin the file with a YAML {called} between two lines of ---"))
        return None
    found = parse(file, "\n".join(lines[1:ends]), mistakes, first_line=2)
    if found is None:
        return None
    return Document(file, found.value, found.lines, "\n".join(lines[ends + 1 :]).strip())


class _Builder:
    def __init__(self, file: str, mistakes: list[Mistake], first_line: int) -> None:
        self.file, self.mistakes, self.first = file, mistakes, first_line
        self.lines: dict[Path, int] = {(): first_line}

    def document(self, text: str) -> Json:
        events: Iterator[Any] = iter(_LOADER(text).get_event, None)
        value: Json = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Wrong(self._line(event), "a second document begins here", "one document a file; split it")
            elif isinstance(event, yaml.NodeEvent):
                value = self._node(event, events, (), 0)
        if not documents or value is None:
            raise _Wrong(self.first, "the file is empty", "write its keys, or delete it")
        return value

    def _line(self, event: Any) -> int:
        return int(event.start_mark.line) + self.first

    def _node(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> Json:
        line = self._line(event)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Wrong(line, "anchors and aliases (&, *) are not read", "write the value out, or quote the text")
        if event.tag not in (None, "!"):
            raise _Wrong(line, f"the tag {event.tag[:40]} is not read", "write a plain value")
        if depth >= DEEPEST:
            raise _Wrong(line, f"nested more than {DEEPEST} deep", "make it flatter")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, line)
        if isinstance(event, yaml.MappingStartEvent):
            return self._map(events, path, depth)
        return self._list(events, path, depth)

    def _map(self, events: Iterator[Any], path: Path, depth: int) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line = self._line(event)
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag not in (None, "!"):
                raise _Wrong(line, "a key that is no plain text", "write a word before the colon")
            key = event.value
            if key == "<<" and event.implicit[0]:
                raise _Wrong(line, "merge keys (<<) are not read", "write the keys out")
            self.lines.setdefault((*path, key), line)
            value = self._node(next(events), events, (*path, key), depth + 1)
            if key in found:
                self._mistake(
                    line, f"the key {key!r} is here twice", f"first on line {self.lines[(*path, key)]}; keep one"
                )
            else:
                found[key] = value
        return found

    def _list(self, events: Iterator[Any], path: Path, depth: int) -> list[Json]:
        found: list[Json] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            self.lines[(*path, len(found))] = self._line(event)
            found.append(self._node(event, events, (*path, len(found)), depth + 1))
        return found

    def _scalar(self, event: Any, line: int) -> Json:
        text = str(event.value)
        if not event.implicit[0]:  # quoted
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.match(text):
            if len(text) > 17 or abs(int(text)) > SAFE_INTEGER:
                self._mistake(line, "an integer beyond 2^53 - 1", "quote it: it is a text, not an amount")
                return 0
            return int(text)
        if _FLOAT.match(text):
            number = float(text)
            if not math.isfinite(number):
                self._mistake(line, "a number that is too large", "quote it if it is a text")
                return 0
            return number
        if _NOT_FINITE.match(text):
            self._mistake(line, "a number that is not finite", "quote it if it is a text")
            return 0
        return text

    def _mistake(self, line: int, what: str, hint: str) -> None:
        self.mistakes.append(Mistake(self.file, line, what, hint))


_HINTS = {
    "mapping values are not allowed": "quote the text that holds ': ', or mend the indentation",
    "cannot start any token": "indent with spaces, and quote texts that begin with @, %, ` or a tab",
    "expected <block end>": "mend the indentation",
    "did not find expected": "close the bracket or quote, or mend the indentation",
    "found unexpected end of stream": "close the quote or bracket",
}


_NO_COLON = re.compile(r"^\s*-\s+(\w+)\s*$")


def _unreadable(file: str, text: str, problem: yaml.YAMLError, first_line: int) -> Mistake:
    mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
    said = getattr(problem, "problem", None) or "characters that YAML does not allow"
    line = first_line
    if mark is not None:
        line += int(mark.line)
    elif isinstance(position := getattr(problem, "position", None), int):
        line += text.encode("utf-8", "replace")[:position].count(b"\n")
        said = "a control character"
    lines = text.split("\n")[: max(line - first_line, 0)]
    above = next((n for n in reversed(range(len(lines))) if lines[n].strip()), None)
    if "mapping values" in said and above is not None and (name := _NO_COLON.match(lines[above])):
        return Mistake(file, above + first_line, f"not YAML: no colon after {name[1]}", f"write `- {name[1]}:`")
    hint = next((hint for words, hint in _HINTS.items() if words in said), "see that it is YAML")
    opened = getattr(problem, "context_mark", None)
    if opened is not None and "flow" in (getattr(problem, "context", None) or ""):
        hint = f"close the bracket that was opened on line {int(opened.line) + first_line}, or put a comma before what follows"
    return Mistake(file, line, f"not YAML: {said}", hint)
