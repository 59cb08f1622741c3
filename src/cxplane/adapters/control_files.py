"""The control repos of releases as the files that they are: `control/<hash>/…`, and `control/releases.json` says which was live."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from cxplane.adapters.line_places import fsync_folder, replace_file
from cxplane.domain.errors import ExportFailed
from cxplane.domain.release import ReleaseInfo


def write_releases(folder: Path, releases: Sequence[ReleaseInfo], files: Mapping[str, Mapping[str, str]]) -> None:
    """`files`: those that are not there yet, by hash. Each release is there whole, or not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for hash, texts in files.items():
            _write_one(folder, hash, texts)
        replace_file(folder / "releases.json", msgspec.json.format(msgspec.json.encode(releases), indent=1))
    except OSError as problem:
        raise ExportFailed(
            str(folder),
            f"cannot be written: {problem.strerror or problem}",
            next="Make room or mend it, then go on with --resume.",
        ) from None


def there(folder: Path) -> frozenset[str]:
    """Hashes of the releases that are there."""
    return frozenset(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else frozenset()


def _write_one(folder: Path, hash: str, texts: Mapping[str, str]) -> None:
    partial = folder / f".{hash}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for name, text in texts.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ExportFailed(str(folder), f"would be left by the file {name!r} of release {hash}", next="Look at it.")
        path = partial / pure
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    partial.mkdir(parents=True, exist_ok=True)
    partial.rename(folder / hash)
    fsync_folder(folder)
