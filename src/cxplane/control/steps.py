"""The steps of a journey as they stand in its file: each of the form of its task word, steps within steps.

for step in walk(document.value):
    step.name, step.word, step.said, document.line(*step.path)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from cxplane.control.shapes import MOST, complaints, part_of, suggest
from cxplane.control.yaml import Document, Path
from cxplane.domain.errors import Mistake
from cxplane.domain.journey import WORDS
from cxplane.domain.values import Json, JsonObject

COMMON = ("summary", "if", "then")  # what every step may say
NAME = re.compile(r"^[a-z][a-z0-9_]*$")

_INDENT = "indent what belongs to a step below its name: `- credit:`, then `call: …` two spaces further in"
_ONE = "a step is one name with what it does: `- credit: {call: billing.issue_credit}`"


@dataclass(frozen=True, slots=True)
class RawStep:
    """A step as it was written, of whatever shape."""

    name: str
    path: Path  # of its name in the file
    said: JsonObject  # what stands below the name
    within: Path  # of the list that it is in

    @property
    def word(self) -> str | None:
        """Its task word; None if there is none, or more than one."""
        words = task_words(self.said)
        return words[0] if len(words) == 1 else None


def task_words(said: JsonObject) -> list[str]:
    """The task words of a step: one, if it is right. `do` belongs to `for`, and `wait` to `run`, where they stand together."""
    given = [word for word in WORDS if word in said]
    return [word for word in given if not any(word in _keys(other) for other in given if other != word)]


def _keys(word: str) -> list[str]:
    return list(part_of("journey", f"step_{word}").schema["properties"])


def lists_in(said: JsonObject) -> Iterator[tuple[Path, Json]]:
    """The lists of steps inside a step, with the way there: do, try, catch.do, switch.N.CASE.do, fork.branches.N.BRANCH.do."""
    for key in ("do", "try"):
        if key in said:
            yield (key,), said[key]
    if "do" in (catch := _map(said.get("catch"))):
        yield ("catch", "do"), catch["do"]
    branches: Path = ("fork", "branches")
    for at, bodies in ((("switch",), said.get("switch")), (branches, _map(said.get("fork")).get("branches"))):
        for n, item in enumerate(bodies if isinstance(bodies, list) else ()):
            for name, body in _map(item).items():
                if "do" in _map(body):
                    yield (*at, n, name, "do"), _map(body)["do"]


def walk(journey: Json) -> Iterator[RawStep]:
    """Every step that has a name and a body, outer before inner. What has another shape is passed by."""
    yield from _walk(_map(journey).get("do"), ("do",))


def _walk(steps: Json, within: Path) -> Iterator[RawStep]:
    for n, item in enumerate(steps if isinstance(steps, list) else ()):
        for name, said in _map(item).items():
            if isinstance(said, Mapping):
                step = RawStep(name, (*within, n, name), said, within)
                yield step
                for inner, more in lists_in(said):
                    yield from _walk(more, (*step.path, *inner))


def step_mistakes(document: Document) -> list[Mistake]:
    """What is wrong with the shape of the steps."""
    said = _map(document.value)
    return list(islice(_list(document, said.get("do"), ("do",), None), MOST)) if "do" in said else []


def _list(document: Document, steps: Json, at: Path, of: str | None) -> Iterator[Mistake]:
    def mistake(path: Path, what: str, hint: str) -> Mistake:
        return Mistake(document.file, document.line(*path), what if of is None else f"step {of}: {what}", hint)

    key = str(at[-1])
    if not isinstance(steps, list) or not steps:
        yield mistake(at, f"{key} must be a list of steps{'' if steps else ', and there is none'}", _ONE)
        return
    for n, item in enumerate(steps):
        place = (*at, n)
        if not isinstance(item, Mapping) or not item:
            yield mistake(place, f"{key}[{n}] is no step", _ONE)
        elif len(item) > 1:
            yield mistake(place, f"{key}[{n}] has several names: {', '.join(map(str, item))}", _INDENT)
        else:
            ((name, body),) = item.items()
            if not NAME.match(name):
                what = f"{name!r} is not a name in lower case letters, digits and _"
                yield mistake((*place, name), what, "like issue_credit")
            if name == "end":
                yield mistake((*place, name), "no step is called 'end': that is where a journey ends", "rename it")
            if isinstance(body, Mapping):
                yield from _step(document, RawStep(name, (*place, name), body, at))
            else:
                yield mistake(
                    (*place, name),
                    f"step {name} says nothing" if body is None else f"step {name} must be a map of keys",
                    _ONE,
                )


def _step(document: Document, step: RawStep) -> Iterator[Mistake]:
    words = task_words(step.said)
    if len(words) == 1:
        yield from complaints(document, part_of("journey", f"step_{words[0]}"), step.said, step.path, step.name)
    else:
        at = step.path if not words else (*step.path, words[1])
        what = f"has several task words: {', '.join(words)}" if words else "has no task word"
        hint = "make each a step of its own" if words else _meant(step.said)
        yield Mistake(document.file, document.line(*at), f"step {step.name} {what}", hint)
    for inner, steps in lists_in(step.said):
        yield from _list(document, steps, (*step.path, *inner), step.name)


def _meant(said: JsonObject) -> str:
    for key in said:
        if key == "catch":
            return "catch stands beside try: [steps]"
        if key not in COMMON and difflib.get_close_matches(str(key), WORDS, 1, 0.6):
            return suggest(str(key), list(WORDS))
    return f"one of {', '.join(WORDS)}"


def _map(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}
