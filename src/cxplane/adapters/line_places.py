"""What an export looks like on disk: a folder with `entries/`, `manifest.json` and `cursor.json`, or a file with its cursor beside it."""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from cxplane.domain.errors import ExportFailed

_NAME = re.compile(r"^\d{16}-\d{4}-\d\d-\d\d\.jsonl(\.gz)?$")


class OpenFile(msgspec.Struct):
    """A file of lines. `sha256` is that of its lines, each with its line end: of the file itself unless it is compressed."""

    name: str
    day: str
    first: int
    last: int
    count: int = 0
    size: int = 0  # bytes of its lines
    bytes: int = 0  # of the file
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """Files are named by the position of their first line, so that their names are in order. `most`: bytes of lines in one."""

    folder: Path
    compressed: bool
    by_day: bool
    most: int

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def cursor(self) -> Path:
        return self.folder / "cursor.json"

    @property
    def manifest(self) -> Path | None:
        return self.folder / "manifest.json"

    @property
    def lines(self) -> Path:
        return self.folder / "entries"

    def name(self, position: int, day: str) -> str:
        return f"{position:016d}-{day}.jsonl" + (".gz" if self.compressed else "")

    def turns(self, now: OpenFile | None, day: str, more: int) -> bool:
        """Whether a line of this day begins another file; `more` bytes of lines are still to be written to this one."""
        return now is None or (self.by_day and day > now.day) or now.size + more >= self.most

    def files(self) -> list[Path]:
        found = self.lines.iterdir() if self.lines.is_dir() else ()
        return sorted(path for path in found if _NAME.match(path.name))

    def begins_after(self, path: Path, position: int) -> bool:
        return int(path.name[:16]) > position

    def lock(self) -> IO[bytes]:
        return locked(self.folder / ".lock", self)


@dataclass(frozen=True, slots=True)
class FilePlace:
    file: Path
    manifest: None = None

    def __str__(self) -> str:
        return str(self.file)

    @property
    def compressed(self) -> bool:
        return self.file.suffix == ".gz"

    @property
    def cursor(self) -> Path:
        return self.file.with_name(self.file.name + ".cursor.json")

    @property
    def lines(self) -> Path:
        return self.file.parent

    def name(self, position: int, day: str) -> str:
        return self.file.name

    def turns(self, now: OpenFile | None, day: str, more: int) -> bool:
        return now is None

    def files(self) -> list[Path]:
        return [self.file] if self.file.exists() and self.file.stat().st_size else []

    def begins_after(self, path: Path, position: int) -> bool:
        return True  # the cursor knows of no line in it

    def lock(self) -> IO[bytes]:
        return locked(self.file.with_name(self.file.name + ".lock"), self)


def locked(path: Path, place: FolderPlace | FilePlace) -> IO[bytes]:
    """The lock of a place; free again when it is closed or its process is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ExportFailed(
            str(place), "is being written by another process", next="Stop that one, or name another place."
        ) from None
    return file


def replace_file(path: Path, content: bytes) -> None:
    """All of it or what was there before; durable when it returns."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
