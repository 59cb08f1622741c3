"""Everything that can be known to be wrong before a release decides: files, references, policies, expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cxplane.control.load import Reading, read
from cxplane.control.yaml import Document
from cxplane.decide.rulebook import mistakes as rulebook_mistakes
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.release import ControlRepo
from cxplane.journeys.check import mistakes as journey_mistakes
from cxplane.ports.expressions import Expressions
from cxplane.ports.policy import PolicyEngine

_FACT = re.compile(r"^fact '([^']+)'(?:, (\w+))?")
_PART = re.compile(r"^(money|confirm|undo|key|input|output|via\.http\.\w+)\b(?:, (\w+))?")


def check(source: Path | str | Mapping[str, str], engine: PolicyEngine, expressions: Expressions) -> list[Mistake]:
    """All mistakes of a control repo, by file and line; empty if a release can be made of it.

    Policies and expressions are looked into as soon as plane.yaml, the catalog and the systems have their shape, so
    that one run names everything.
    """
    try:
        reading = read(source)
    except ControlError as error:
        return list(error.mistakes)
    repo = reading.repo()
    if repo is None:
        return list(reading.mistakes)
    found = list(reading.mistakes)
    places = {(mistake.file, mistake.line) for mistake in found}
    told = (*engine.check(repo), *rulebook_mistakes(repo, None, expressions), *_of_journeys(repo, expressions))
    for mistake in _nearer(reading, told):
        if (mistake.file, mistake.line) not in places:  # what the files told already is not told again
            found.append(mistake)
    return sorted(set(found))


def _of_journeys(repo: ControlRepo, expressions: Expressions) -> Iterator[Mistake]:
    """What the expressions of journeys say, and what comes before what."""
    for journey in repo.journeys.values():
        for step, line, what, hint in journey_mistakes(journey, expressions):
            yield Mistake(journey.file, line or journey.line, f"step {step}: {what}" if step else what, hint)


def _nearer(reading: Reading, mistakes: Iterable[Mistake]) -> Iterable[Mistake]:
    """The same mistakes, at the line of the key that they speak of."""
    entries = {document.file: document for document in reading.documents.get("action", ())}
    for mistake in mistakes:
        document = entries.get(mistake.file)
        yield (
            mistake if document is None else Mistake(mistake.file, _line(document, mistake), mistake.what, mistake.hint)
        )


def _line(document: Document, mistake: Mistake) -> int:
    if found := _FACT.match(mistake.what):
        fact = ("facts", found[1])
        parts = [(*fact, "with", found[2]), (*fact, found[2])] if found[2] else [fact]
    elif found := _PART.match(mistake.what):
        part = tuple(found[1].split("."))
        parts = [(*part, "with", found[2]), (*part, found[2]), part] if found[2] else [part]
    else:
        return mistake.line
    return next((document.lines[path] for path in parts if path in document.lines), mistake.line)
