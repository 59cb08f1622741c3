"""Sinks: what was put there is there, whole and in order, whatever died in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cxplane.adapters.sinks import FolderSink, HttpSink, sink_for
from cxplane.domain.errors import SinkFailure
from cxplane.record.note import split_notes
from tests.record.sealed import LINES, sealed

NOTES = list(split_notes(sealed(LINES, [1, 2, 3, 4]).checkpoints))


async def test_a_folder_keeps_every_checkpoint_in_order_and_names_the_latest(tmp_path: Path) -> None:
    sink = sink_for(str(tmp_path), "acme")
    assert await sink.latest() is None
    for size, note in enumerate(NOTES, start=1):
        await sink.put(size, note)
        assert await sink.latest() == note
    assert list(split_notes((tmp_path / "acme" / "checkpoints").read_text())) == NOTES


@pytest.mark.parametrize("torn", [1, 10, 60, -1])
@pytest.mark.parametrize("whole", [0, 1, 2])
async def test_what_a_machine_left_torn_is_written_again(tmp_path: Path, whole: int, torn: int) -> None:
    sink = FolderSink(tmp_path)
    for size, note in enumerate(NOTES[:whole], start=1):
        await sink.put(size, note)
    with (tmp_path / "checkpoints").open("a") as file:  # it died before `latest` was written
        file.write(("\n" if whole else "") + NOTES[whole][:torn])
    for size, note in enumerate(NOTES[whole:], start=whole + 1):
        await sink.put(size, note)
    assert list(split_notes((tmp_path / "checkpoints").read_text())) == NOTES


async def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "acme").write_text("a file")
    sink = sink_for(str(tmp_path), "acme")
    with pytest.raises(SinkFailure, match="cannot be read"):
        await sink.latest()
    with pytest.raises(SinkFailure, match="cannot be written"):
        await sink.put(1, NOTES[0])


class Bucket(BaseHTTPRequestHandler):
    kept: ClassVar[dict[str, bytes]] = {}
    token = "s3cret"

    def do_PUT(self) -> None:
        if self.headers["Authorization"] != f"Bearer {self.token}":
            self.send_error(403)
            return
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = self.kept.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[str]:
    Bucket.kept = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/seals"
    server.shutdown()
    server.server_close()


async def test_an_address_gets_each_checkpoint_under_its_size(bucket: str) -> None:
    sink = sink_for(bucket, "acme", Bucket.token)
    assert await sink.latest() is None
    for size, note in enumerate(NOTES, start=1):
        await sink.put(size, note)
    assert await sink.latest() == NOTES[-1]
    assert Bucket.kept == {f"/seals/acme/{n}": note.encode() for n, note in enumerate(NOTES, start=1)} | {
        "/seals/acme/latest": NOTES[-1].encode()
    }


async def test_an_address_that_says_no_or_nothing_is_a_failure_without_the_token(bucket: str) -> None:
    with pytest.raises(SinkFailure, match="HTTP 403") as told:
        await HttpSink(bucket, "wrong-token").put(1, NOTES[0])
    assert "wrong-token" not in str(told.value)
    with pytest.raises(SinkFailure, match="does not answer"):
        await HttpSink("http://127.0.0.1:9/seals").latest()


def test_checkpoints_go_nowhere_without_encryption() -> None:
    with pytest.raises(SinkFailure, match="https"):
        sink_for("http://example.org/seals", "acme")
