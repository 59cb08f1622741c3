"""Files of exported lines: whatever is killed when, each line is there once, whole and in order."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cxplane.adapters import line_files, line_places
from cxplane.adapters.line_files import LineFiles
from cxplane.adapters.line_places import FilePlace, FolderPlace
from cxplane.domain.errors import ExportFailed
from cxplane.domain.record import Line

ABOUT = {"tenant": "acme", "private": "sealed"}
START = datetime(2026, 3, 5, 23, 59, tzinfo=UTC)


def lines(first: int, count: int) -> list[Line]:
    """Every second position; the days pass quickly, and some clocks are a little behind."""
    found = []
    for n in range(first, first + count):
        at = START + timedelta(minutes=n * 20 - (30 if n % 7 == 0 else 0))
        text = json.dumps({"id": str(2 * n), "kind": "note", "text": "x" * (n * 37 % 200)}).encode()
        found.append(Line(2 * n, at, "note" if n % 3 else "other", text))
    return found


def places(root: Path) -> dict[str, FolderPlace | FilePlace]:
    return {
        "folder": FolderPlace(root / "a", False, True, 10**9),
        "gzip": FolderPlace(root / "a", True, True, 10**9),
        "by size": FolderPlace(root / "a", False, False, 3000),
        "file": FilePlace(root / "a.jsonl"),
        "gzip file": FilePlace(root / "a.jsonl.gz"),
    }


ALL_PLACES = list(places(Path()))


def kept(place: FolderPlace | FilePlace) -> bytes:
    """All that a reader finds, file after file in the order of their names."""
    return b"".join(gzip.decompress(p.read_bytes()) if place.compressed else p.read_bytes() for p in place.files())


def wanted(count: int) -> bytes:
    return b"".join(line.text + b"\n" for line in lines(1, count))


class Killed(BaseException):
    """The process is gone here."""


@pytest.mark.parametrize("kind", ALL_PLACES)
def test_a_crash_at_any_step_leaves_no_gap_and_no_duplicate(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fsync, replace and write is once the last thing that happens; then a torn line, then somebody goes on."""
    for step in range(1, 300):
        root = tmp_path / str(step)
        root.mkdir()
        place = places(root)[kind]
        with monkeypatch.context() as patch:
            ended = _dying(patch, step, lambda place=place: _all(place, resume=True))  # type: ignore[misc]
        if place.files() and (step % 2 or kind == "gzip"):
            with place.files()[-1].open("ab") as torn:
                torn.write(b'{"id":"99", half a li' if step % 4 else b"\x1f\x8b\x08half")
        _all(place, resume=True)
        assert kept(place) == wanted(120), step
        if ended:
            break
    assert ended
    assert step > 10


def _all(place: FolderPlace | FilePlace, *, resume: bool) -> Any:
    sink = LineFiles(place, about=ABOUT, after=0, resume=resume)
    try:
        while (done := sink.position // 2) < 120:
            sink.put(lines(done + 1, min(17, 120 - done)))
            if done % 2 == 0 or done > 90:
                sink.commit()
        return sink.close()
    except BaseException:
        sink.drop()
        raise


def _dying(patch: pytest.MonkeyPatch, step: int, work: Any) -> bool:
    """Do the work, and be gone at the n-th thing that touches the disk. True: it came to its end before."""
    left = step

    def counted(real: Any) -> Any:
        def done(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*args, **named)

        return done

    patch.setattr(line_files.os, "fsync", counted(os.fsync))
    patch.setattr(line_places.os, "open", counted(os.open))
    patch.setattr(Path, "replace", counted(Path.replace))
    patch.setattr(LineFiles, "_write", counted(LineFiles._write))
    try:
        work()
    except Killed:
        return False
    return True


@pytest.mark.parametrize("kind", ["folder", "gzip file"])
def test_a_process_that_is_really_killed_again_and_again_is_gone_on_with(kind: str, tmp_path: Path) -> None:
    dice = random.Random(7)
    code = (
        "from tests.adapters.test_line_files import *; import sys\n"
        f"place = places(Path(sys.argv[1]))[{kind!r}]\n"
        "sink = LineFiles(place, about=ABOUT, after=0, resume=True)\n"
        "print('here', flush=True)\n"
        "while sink.position // 2 < 4000:\n"
        "    sink.put(lines(sink.position // 2 + 1, min(13, 4000 - sink.position // 2)))\n"
        "    sink.commit()\n"
        "sink.close()\n"
    )
    for turn in range(30):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(dice.random() * 0.3 if turn < 6 else 60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert turn > 0
    assert kept(places(tmp_path)[kind]) == wanted(4000)


def test_a_folder_gets_a_file_a_day_and_a_manifest_that_says_what_is_in_it(tmp_path: Path) -> None:
    place = places(tmp_path)["folder"]
    told = _all(place, resume=False)
    assert told == json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert (told["count"], told["first"], told["last"]) == (120, 2, 240)
    assert told["kinds"] == {"note": 80, "other": 40}
    assert [f["name"] for f in told["files"]] == [p.name for p in place.files()]
    assert [f["day"] for f in told["files"]] == ["2026-03-06", "2026-03-07"]
    for file, path in zip(told["files"], place.files(), strict=True):
        found = path.read_bytes()
        assert file["sha256"] == hashlib.sha256(found).hexdigest()
        assert file["bytes"] == len(found)
        assert file["count"] == found.count(b"\n")


def test_what_was_changed_since_is_not_built_upon(tmp_path: Path) -> None:
    place = places(tmp_path)["folder"]
    _all(place, resume=False)
    last = place.files()[-1]
    good = last.read_bytes()
    last.write_bytes(good.replace(b"x", b"y", 1))
    with pytest.raises(ExportFailed, match="is not what was written"):
        LineFiles(place, about=ABOUT, after=0, resume=True)
    last.write_bytes(good[:-1])
    with pytest.raises(ExportFailed, match="is shorter than it was"):
        LineFiles(place, about=ABOUT, after=0, resume=True)
    last.write_bytes(good)
    (tmp_path / "a" / "manifest.json").unlink()
    with pytest.raises(ExportFailed, match="is in no manifest"):
        LineFiles(place, about=ABOUT, after=0, resume=True)
    assert len(place.files()) == 2


def test_a_place_is_written_by_one_with_the_options_that_it_was_begun_with(tmp_path: Path) -> None:
    place = places(tmp_path)["folder"]
    sink = LineFiles(place, about=ABOUT, after=0, resume=False)
    with pytest.raises(ExportFailed, match="another process"):
        LineFiles(place, about=ABOUT, after=0, resume=True)
    sink.close()
    with pytest.raises(ExportFailed, match="holds an export already"):
        LineFiles(place, about=ABOUT, after=0, resume=False)
    with pytest.raises(ExportFailed, match="other options: tenant acme"):
        LineFiles(place, about=ABOUT | {"private": "open"}, after=0, resume=True)
