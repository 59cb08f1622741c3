"""Exported lines in files: a folder with a new file a day, or one file. Resumed after any crash without a gap or a duplicate.

The files are written ahead of the cursor: lines, fsync, then the cursor is replaced atomically. Whoever goes on cuts what is
past the cursor (a torn line, whole lines that it does not know of, files begun later) and writes it again; lines are the same
bytes whenever they are asked for, so who read them already read nothing wrong.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import msgspec

from cxplane.adapters.line_places import FilePlace, FolderPlace, OpenFile, fsync_folder, replace_file
from cxplane.domain.errors import ExportFailed
from cxplane.domain.record import Line

FORMAT = "cxplane-export/1"
READ_BYTES = 1024 * 1024


class Cursor(msgspec.Struct):
    """What is on disk for certain. `about`: tenant, how private values are written, which entries; never changes."""

    format: str
    about: dict[str, Any]
    position: int
    count: int = 0
    sha256: str = ""  # of the last line, without its line end
    first: int | None = None
    kinds: dict[str, int] = {}
    file: OpenFile | None = None


class LineFiles:
    """A LineSink. `after`: where to begin, where nothing is yet; `resume`: go on where it was left."""

    def __init__(self, place: FolderPlace | FilePlace, *, about: Mapping[str, Any], after: int, resume: bool) -> None:
        self._place, self._hash = place, hashlib.sha256()
        self._out: IO[bytes] | None = None
        self._closed: list[OpenFile] = []
        with self._trouble():
            self._lock = place.lock()
        try:
            with self._trouble():
                found = place.cursor.read_bytes() if place.cursor.exists() else None
                if found is None:
                    self._begin(dict(about), after)
                elif resume:
                    self._go_on(found, dict(about))
                else:
                    raise ExportFailed(
                        str(place), "holds an export already", next="Go on with --resume, or name another place."
                    )
        except BaseException:
            self._lock.close()
            raise

    @property
    def position(self) -> int:
        return self._cursor.position

    @property
    def last_sha256(self) -> str:
        return self._cursor.sha256

    # writing -------------------------------------------------------------------------------------

    def put(self, lines: Sequence[Line]) -> None:
        with self._trouble():
            for run in self._runs(lines):
                self._write(run)

    def _runs(self, lines: Sequence[Line]) -> Iterable[list[Line]]:
        """Lines that go into the same file, with that file open."""
        run: list[Line] = []
        size = 0
        for line in lines:
            day = line.at.strftime("%Y-%m-%d")
            if self._place.turns(self._now, day, size):
                if run:
                    yield run
                run, size = [], 0
                self._turn(line.position, day)
            run.append(line)
            size += len(line.text) + 1
        if run:
            yield run

    def _write(self, lines: list[Line]) -> None:
        assert self._out is not None and self._now is not None
        text = b"".join([part for line in lines for part in (line.text, b"\n")])
        self._hash.update(text)
        self._out.write(gzip.compress(text, 6, mtime=0) if self._place.compressed else text)
        now, cursor = self._now, self._cursor
        now.last, now.count, now.size = lines[-1].position, now.count + len(lines), now.size + len(text)
        cursor.first = lines[0].position if cursor.first is None else cursor.first
        cursor.position, cursor.count = now.last, cursor.count + len(lines)
        cursor.sha256 = hashlib.sha256(lines[-1].text).hexdigest()
        for line in lines:
            cursor.kinds[line.kind] = cursor.kinds.get(line.kind, 0) + 1

    @property
    def _now(self) -> OpenFile | None:
        return self._cursor.file

    def _turn(self, position: int, day: str) -> None:
        """Begin the next file."""
        if self._now is not None:
            self._settle()
            self._closed.append(self._now)
            self._write_manifest()
        name = self._place.name(position, day)
        path = self._place.lines / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._out is not None:
            self._out.close()
        self._out, self._hash = path.open("wb"), hashlib.sha256()
        fsync_folder(path.parent)
        self._cursor.file = OpenFile(name, day, position, position)

    def _settle(self) -> None:
        if self._out is not None and self._now is not None:
            self._out.flush()
            os.fsync(self._out.fileno())
            self._now.bytes, self._now.sha256 = self._out.tell(), self._hash.hexdigest()

    def commit(self) -> None:
        with self._trouble():
            self._settle()
            replace_file(self._place.cursor, msgspec.json.encode(self._cursor))

    def close(self) -> Mapping[str, Any]:
        try:
            self.commit()
            with self._trouble():
                return self._write_manifest()
        finally:
            if self._out is not None:
                self._out.close()
            self._lock.close()

    def drop(self) -> None:
        """Leave it as it was committed last."""
        with suppress(OSError):
            if self._out is not None:
                self._out.close()
        self._lock.close()

    def _write_manifest(self) -> Mapping[str, Any]:
        cursor = self._cursor
        files = [*self._closed, *([cursor.file] if cursor.file and cursor.file not in self._closed else [])]
        told = {
            "format": FORMAT,
            **cursor.about,
            "count": cursor.count,
            "first": cursor.first,
            "last": cursor.position if cursor.count else None,
            "kinds": dict(sorted(cursor.kinds.items())),
            "files": [msgspec.to_builtins(f) for f in files],
        }
        if self._place.manifest is not None:
            replace_file(self._place.manifest, msgspec.json.format(msgspec.json.encode(told), indent=1))
        return told

    # beginning and going on ------------------------------------------------------------------------

    def _begin(self, about: dict[str, Any], after: int) -> None:
        if left := self._place.files():
            raise ExportFailed(
                str(self._place), f"holds {left[0].name}, and no cursor", next="Name another place, or take it away."
            )
        self._cursor = Cursor(FORMAT, about, after)
        replace_file(self._place.cursor, msgspec.json.encode(self._cursor))

    def _go_on(self, found: bytes, about: dict[str, Any]) -> None:
        try:
            self._cursor = msgspec.json.decode(found, type=Cursor)
        except msgspec.DecodeError:
            raise self._changed(self._place.cursor.name, "cannot be read") from None
        if self._cursor.format != FORMAT or self._cursor.about != about:
            raise ExportFailed(
                str(self._place),
                f"was begun with other options: {_words(self._cursor.about)}",
                next="Give the same options, or name another place.",
            )
        now = self._now
        if self._place.manifest is not None and self._place.manifest.exists():
            files = msgspec.json.decode(self._place.manifest.read_bytes())["files"]
            known = [msgspec.convert(f, OpenFile) for f in files]
            self._closed = [f for f in known if now is not None and f.first < now.first]
        names = {f.name for f in (*self._closed, *([now] if now else []))}
        for path in self._place.files():
            if path.name in names:
                continue
            if not self._place.begins_after(path, self._cursor.position):
                raise self._changed(path.name, "is in no manifest")
            path.unlink()  # begun after the cursor was written
        if now is not None:
            self._open_again(now)

    def _open_again(self, now: OpenFile) -> None:
        path = self._place.lines / now.name
        if not path.exists() or path.stat().st_size < now.bytes:
            raise self._changed(now.name, "is shorter than it was")
        os.truncate(path, now.bytes)  # a torn line, or lines past the cursor
        self._hash = hashlib.sha256()
        with gzip.open(path) if self._place.compressed else path.open("rb") as file:
            while part := file.read(READ_BYTES):
                self._hash.update(part)
        if self._hash.hexdigest() != now.sha256:
            raise self._changed(now.name, "is not what was written")
        self._out = path.open("ab")

    def _changed(self, name: str, how: str) -> ExportFailed:
        return ExportFailed(
            str(self._place), f"was changed: {name} {how}", next="Export again into another place, and keep this one."
        )

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise ExportFailed(
                str(self._place),
                f"cannot be written: {problem.strerror or problem}",
                next="Make room or mend it, then go on with --resume.",
            ) from None


def _words(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items() if value)
