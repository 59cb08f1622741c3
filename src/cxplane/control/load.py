"""Reading a control repo: all of its files, all of its mistakes at once, or the repo itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxplane.control.build import build
from cxplane.control.charters import journey_mistakes
from cxplane.control.contracts import catalog_mistakes
from cxplane.control.files import find, kind_of, one
from cxplane.control.references import Names, as_map, reference_mistakes, text
from cxplane.control.shapes import shape_mistakes
from cxplane.control.steps import step_mistakes
from cxplane.control.yaml import Document, front_matter, parse
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.release import ControlRepo


@dataclass(slots=True)
class Reading:
    """A control repo as it was read, mistakes and all."""

    texts: dict[str, str]
    documents: dict[str, list[Document]] = field(default_factory=dict)  # kind -> documents, by file
    mistakes: list[Mistake] = field(default_factory=list)
    unusable: set[str] = field(default_factory=set)  # files whose shape is wrong: nothing can be built of them

    @property
    def policies(self) -> dict[str, str]:
        return {file: said for file, said in self.texts.items() if kind_of(file) == "policy"}

    def repo(self) -> ControlRepo | None:
        """The repo, where it can be built: None if plane.yaml, the catalog or a table cannot be used.

        With mistakes on record it is good for finding more of them, and for nothing else. Other files that cannot be
        used are left out.
        """
        usable = {
            kind: [document for document in documents if document.file not in self.unusable]
            for kind, documents in self.documents.items()
        }
        if not usable.get("plane") or any(kind_of(file) in ("action", "table", "system") for file in self.unusable):
            return None
        return build(usable, self.policies, self.texts)


def read(source: Path | str | Mapping[str, str]) -> Reading:
    """Read a control repo from a folder, or from its files (path -> text). ControlError only if there is no such folder."""
    found = find(source)
    reading = Reading(found.texts, mistakes=found.mistakes)
    for file, said in found.texts.items():
        kind = kind_of(file)
        if kind is None or kind == "policy":
            continue
        before = len(reading.mistakes)
        document = _document(kind, file, said, reading.mistakes)
        reading.documents.setdefault(kind, []).append(document or Document(file, None))
        if document is not None:
            reading.mistakes.extend(shape_mistakes(kind, document))
            if kind == "journey":
                reading.mistakes.extend(step_mistakes(document))
        if len(reading.mistakes) > before:
            reading.unusable.add(file)
    for plane in reading.documents.get("plane", ()):
        jwks = text(as_map(as_map(as_map(plane.value).get("auth")).get("jwt")).get("jwks"))
        if jwks and "://" not in jwks:
            if (keys := one(found, jwks)) is not None:
                reading.texts[jwks] = keys
            elif not any(m.file == jwks for m in found.mistakes):
                place = plane.line("auth", "jwt", "jwks")
                found.mistakes.append(
                    Mistake(
                        plane.file,
                        place,
                        f"there is no file {jwks!r}",
                        "name a file below plane.yaml, or an https address",
                    )
                )
    reading.texts = dict(sorted(reading.texts.items()))
    names = Names(reading.documents, reading.policies, reading.mistakes)
    reading.unusable |= catalog_mistakes(names) | journey_mistakes(names)
    reference_mistakes(names)
    reading.mistakes = sorted(set(reading.mistakes))
    return reading


def _document(kind: str, file: str, said: str, mistakes: list[Mistake]) -> Document | None:
    if kind in ("agent", "charter"):
        return front_matter(file, said, mistakes, "contract" if kind == "agent" else "charter")
    return parse(file, said, mistakes)


def load(source: Path | str | Mapping[str, str]) -> ControlRepo:
    """The control repo in a folder, or made of these files (path -> text).

    Raises ControlError with every mistake there is in the files, each with file, line, what and a hint. Policies and
    expressions are texts here; `control.check` looks into them.
    """
    reading = read(source)
    if reading.mistakes:
        raise ControlError(reading.mistakes)
    repo = reading.repo()
    assert repo is not None  # nothing is unusable without a mistake
    return repo
