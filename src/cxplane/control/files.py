"""The files of a control repo as texts: from a folder or a map, and which kind each one is.

A release freezes what is read here and nothing else. Links that leave the repo, files that are too large or no UTF-8,
and files that nothing would read are mistakes.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cxplane.domain.errors import ControlError, Mistake

LARGEST = 1_048_576  # bytes of one file
MOST = 20_000  # files

KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("plane", r"plane\.yaml"),
        ("table", r"catalog/[^/]+/tables/[^/]+\.yaml"),
        ("action", r"catalog/[^/]+/[^/]+\.yaml"),
        ("system", r"systems/[^/]+\.yaml"),
        ("policy", r"policies/[^/]+\.cedar"),
        ("policy-tests", r"policies/tests/[^/]+\.yaml"),
        ("budget", r"budgets/[^/]+\.yaml"),
        ("people", r"people/[^/]+\.yaml"),
        ("agent", r"agents/[^/]+\.md"),
        ("journey", r"journeys/[^/]+/journey\.yaml"),
        ("charter", r"journeys/[^/]+/charter\.md"),
    )
)
PLACES = {
    "catalog": "catalog/<system>/<name>.yaml and catalog/<system>/tables/<name>.yaml",
    "systems": "systems/<name>.yaml",
    "policies": "policies/<name>.cedar and policies/tests/<name>.yaml",
    "budgets": "budgets/<name>.yaml",
    "people": "people/<name>.yaml",
    "agents": "agents/<name>.md",
    "journeys": "journeys/<name>/journey.yaml and journeys/<name>/charter.md",
}
_OTHERS = frozenset({"schemas"})  # for editors; not part of a release
_OURS = (".yaml", ".yml", ".cedar")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(slots=True)
class Found:
    """Texts by path (relative, with `/`), sorted; and what was wrong on the way."""

    texts: dict[str, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    root: Path | None = None
    real_root: Path | None = None  # without links
    others: dict[str, str] = field(default_factory=dict)  # of a map: what has no kind, for `one`


def kind_of(path: str) -> str | None:
    """The kind of file that stands at a path; None if nothing reads it."""
    return next((kind for kind, pattern in KINDS if pattern.fullmatch(path)), None)


def find(source: Path | str | Mapping[str, str]) -> Found:
    """The files of a control repo. ControlError if there is no such folder."""
    if isinstance(source, Mapping):
        found = _from_map(source)
    else:
        found = _from_folder(Path(source))
    found.texts = dict(sorted(found.texts.items()))
    if "plane.yaml" not in found.texts and not any(m.file.startswith("plane.y") for m in found.mistakes):
        found.mistakes.append(
            Mistake(
                "plane.yaml", 0, "the control repo has no plane.yaml", "write one, or begin with `cxplane init DIR`"
            )
        )
    return found


def one(found: Found, path: str) -> str | None:
    """Another file of the repo by its relative path (the key set of a token issuer); None if it is not there.

    What is wrong with it is added to the mistakes.
    """
    if found.root is None:
        return found.others.get(path)
    if not _inside(path):
        return None
    place = found.root / path
    if not place.is_file():
        return None
    return _text(found, path, place)


def _from_map(source: Mapping[str, str]) -> Found:
    found = Found()
    for name in sorted(source):
        path = str(PurePosixPath(name.replace("\\", "/")))
        text = source[name]
        if not _inside(path):
            found.mistakes.append(Mistake(path, 0, "the path leaves the control repo", "use a path below plane.yaml"))
        elif path in found.texts:
            found.mistakes.append(Mistake(path, 0, "the path is there twice", "keep one of them"))
        elif len(text) > LARGEST:
            found.mistakes.append(_large(path))
        elif (clean := _clean(found, path, text)) is not None:
            (found.texts if _wanted(found, path) else found.others)[path] = clean
    return found


def _from_folder(root: Path) -> Found:
    if not root.is_dir():
        raise ControlError([Mistake(str(root), 0, "there is no such folder", "name the folder that holds plane.yaml")])
    found = Found(root=root, real_root=root.resolve())
    for path, place in _walk(root, found):
        if len(found.texts) >= MOST:
            found.mistakes.append(Mistake(path, 0, f"more than {MOST} files", "split the control repo"))
            break
        if _wanted(found, path) and (text := _text(found, path, place)) is not None:
            found.texts[path] = text
    return found


def _walk(root: Path, found: Found) -> Iterator[tuple[str, Path]]:
    for folder, below, files in os.walk(root, onerror=lambda problem: _unreadable(found, root, problem)):
        here = Path(folder)
        under = "" if here == root else f"{here.relative_to(root).as_posix()}/"
        kept = []
        for name in sorted(below):
            place = here / name
            path = under + name
            if name.startswith((".", "__")) or path in _OTHERS:
                continue
            if place.is_symlink():
                if here != root or name in PLACES:
                    found.mistakes.append(Mistake(path, 0, "a link to a folder", "put the files here"))
                continue
            kept.append(name)
        below[:] = kept
        for name in sorted(files):
            if not name.startswith("."):
                yield under + name, here / name


def _unreadable(found: Found, root: Path, problem: OSError) -> None:
    try:
        path = Path(str(problem.filename)).relative_to(root).as_posix()
    except ValueError:
        path = "."
    found.mistakes.append(Mistake(path, 0, "the folder cannot be read", "see its permissions"))


def _wanted(found: Found, path: str) -> bool:
    """Whether a file belongs to the release. One that looks as if it should is a mistake."""
    if kind_of(path) is not None:
        return True
    top, _, rest = path.partition("/")
    if top in _OTHERS or any(part.startswith(".") for part in path.split("/")):
        return False
    suffix = PurePosixPath(path).suffix
    if rest and top in PLACES and (suffix in _OURS or (top == "agents" and suffix == ".md")):
        what = f"name it {path[:-4]}.yaml" if suffix == ".yml" else f"what is read: {PLACES[top]}"
        found.mistakes.append(Mistake(path, 0, "nothing reads this file", what))
    elif suffix in _OURS:
        near = difflib.get_close_matches(top, [*PLACES, "plane.yaml"], 1, 0.7)
        hint = f"did you mean {near[0]}?" if near else f"known: plane.yaml, {', '.join(f'{p}/' for p in PLACES)}"
        found.mistakes.append(Mistake(path, 0, "nothing reads this file", hint))
    return False


def _text(found: Found, path: str, place: Path) -> str | None:
    try:
        real = place.resolve(strict=True)
        if not real.is_relative_to(found.real_root or real):
            found.mistakes.append(Mistake(path, 0, "a link that leaves the control repo", "put the file itself here"))
            return None
        if not real.is_file():
            found.mistakes.append(Mistake(path, 0, "not an ordinary file", "put a text file here"))
            return None
        with real.open("rb") as opened:
            raw = opened.read(LARGEST + 1)
    except (OSError, RuntimeError, ValueError):
        found.mistakes.append(
            Mistake(path, 0, "the file cannot be read", "see its permissions, and that a link leads somewhere")
        )
        return None
    if len(raw) > LARGEST:
        found.mistakes.append(_large(path))
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        found.mistakes.append(Mistake(path, line, "not UTF-8", "save the file as UTF-8"))
        return None
    return _clean(found, path, text)


def _clean(found: Found, path: str, text: str) -> str | None:
    """The text with one kind of line ends, so that a checkout on another machine gives the same release."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if bad := _NOT_TEXT.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        found.mistakes.append(Mistake(path, line, "a control character", "delete it; only plain text is read"))
        return None
    return text


def _large(path: str) -> Mistake:
    return Mistake(path, 0, f"larger than {LARGEST // 1024} KiB", "split the file")


def _inside(path: str) -> bool:
    parts = path.split("/")
    return not (path.startswith("/") or ".." in parts or ":" in parts[0] or "" in parts)
