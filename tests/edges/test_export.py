"""`cxplane export` as it is typed, on a real store."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cxplane.adapters.postgres.store import PostgresStore, open_store
from cxplane.domain.record import NewEntry, Write
from tests.conftest import run_sql

T = "northwind"
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
CALL = [sys.executable, "-m", "cxplane.edges.cli", "export"]


def note(n: int) -> NewEntry:
    kind = "note" if n % 3 else "fact.recorded"
    body, private = {"n": n}, {"name": f"Ada {n}", "tags": ["a", n], "none": None}
    return NewEntry(kind, f"s{n % 5}", NOW + timedelta(hours=n), "person:maria", body | {"name": "f"}, private)


async def fill(store: PostgresStore, first: int, count: int) -> None:
    for n in range(first, first + count, 4):
        await store.append(Write(T, tuple(note(k) for k in range(n, min(n + 4, first + count)))))


def env(dsn: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path("src").absolute()), "CXPLANE_DSN": dsn, "CXPLANE_TENANT": T}


async def typed(dsn: str, *args: str, code: int = 0) -> Any:
    process = await asyncio.create_subprocess_exec(
        *CALL, *args, env=env(dsn), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == code, err.decode() + out.decode()
    return out, err


async def told(dsn: str, *args: str, code: int = 0) -> Any:
    out, _ = await typed(dsn, *args, "--json", code=code)
    return json.loads(out)


async def canonical(store: PostgresStore) -> bytes:
    found = await store.lines(T, after=0, upto=await store.settled(), limit=100_000)
    return b"".join(line.text + b"\n" for line in found)


async def test_a_folder_holds_the_record_the_manifest_and_the_releases(
    dsn: str, store: PostgresStore, tmp_path: Path
) -> None:
    await fill(store, 1, 50)
    files = {"plane.yaml": "tenant: northwind\n", "catalog/a/b.yaml": "é\r\n"}
    await store.save_release(T, "abc", files)
    made = NewEntry("release.made", "abc", NOW, "operator:x", {"hash": "abc", "gates": {}}, release="abc")
    await store.append(Write(T, (made, NewEntry("release.live", "abc", NOW, "x", {"hash": "abc"}, release="abc"))))
    to = tmp_path / "record"
    first = await told(dsn, str(to))
    lines = b"".join(p.read_bytes() for p in sorted((to / "entries").iterdir()))
    assert lines == await canonical(store)
    assert first["sha256"] == hashlib.sha256(lines).hexdigest()
    assert (first["count"], first["first"], first["last"]) == (52, 1, 52)
    manifest = json.loads((to / "manifest.json").read_text())
    assert manifest["kinds"] == {"fact.recorded": 16, "note": 34, "release.live": 1, "release.made": 1}
    assert sum(f["count"] for f in manifest["files"]) == 52
    assert {p: (to / "control" / "abc" / p).read_bytes().decode() for p in files} == files
    (release,) = json.loads((to / "control" / "releases.json").read_text())
    assert (release["hash"], release["live"]) == ("abc", True)

    await fill(store, 51, 30)
    assert (await told(dsn, str(to), "--resume"))["count"] == 30
    assert b"".join(p.read_bytes() for p in sorted((to / "entries").iterdir())) == await canonical(store)
    assert (await told(dsn, str(to), "--resume"))["count"] == 0
    assert "--resume" in (await told(dsn, str(to), code=1))["next"]


async def test_a_file_or_standard_output_holds_what_is_wanted(dsn: str, store: PostgresStore, tmp_path: Path) -> None:
    await fill(store, 1, 60)
    to = tmp_path / "facts.jsonl.gz"
    since, until = NOW + timedelta(hours=10), NOW + timedelta(hours=40)
    summary = await told(
        dsn, str(to), "--kind", "fact.recorded", "--since", since.isoformat(), "--until", until.isoformat()
    )
    got = [json.loads(line) for line in gzip.decompress(to.read_bytes()).splitlines()]
    assert [e["data"]["body"]["n"] for e in got] == list(range(12, 40, 3))
    assert summary["count"] == len(got) == 10
    out, err = await typed(dsn, "-", "--from", "51")
    assert out == b"".join((await canonical(store)).splitlines(keepends=True)[50:])
    assert b"10 entries exported, positions 51 to 60" in err
    out, err = await typed(dsn, "-", "--from", "51", "--json")
    assert len(out.splitlines()) == 10
    assert json.loads(err)["sha256"] == hashlib.sha256(out).hexdigest()


async def test_opened_lines_differ_in_nothing_but_what_was_sealed(
    dsn: str, store: PostgresStore, tmp_path: Path
) -> None:
    await fill(store, 1, 10)
    await typed(dsn, str(tmp_path / "open.jsonl"), "--open")
    await typed(dsn, str(tmp_path / "masked.jsonl"), "--open", "--mask")
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("open.jsonl", "masked.jsonl")]
    assert modes[0] == 0o600 != modes[1]
    *sealed, told_so = [json.loads(line) for line in (await canonical(store)).splitlines()]
    *opened, also = [json.loads(line) for line in (tmp_path / "open.jsonl").read_bytes().splitlines()]
    assert told_so == also  # that it was opened is on record, once, and not for names without values
    assert told_so["type"] == "cxplane.data.opened"
    assert told_so["data"]["body"] == {"how": "export"}
    assert told_so["data"]["actor"].startswith("operator:")
    *masked, _ = [json.loads(line) for line in (tmp_path / "masked.jsonl").read_bytes().splitlines()]
    assert [e["data"].pop("private") for e in opened] == [note(n).private for n in range(1, 11)]
    assert [e["data"].pop("private") for e in masked] == [{"name": "***", "tags": ["***"] * 2, "none": None}] * 10
    for event in sealed:
        del event["data"]["private"]
    assert opened == masked == sealed
    assert "Ada" not in (tmp_path / "masked.jsonl").read_text()


async def test_a_store_that_was_set_back_is_not_exported_on_top_of_what_it_was(
    dsn: str, store: PostgresStore, empty_dsn: str, tmp_path: Path
) -> None:
    await fill(store, 1, 12)
    to = str(tmp_path / "record")
    await typed(dsn, to)
    again = await open_store(empty_dsn, tenant=store.tenant)
    try:
        await fill(again, 1, 8)
        assert "was set back" in (await told(empty_dsn, to, "--resume", code=1))["error"]
        await fill(again, 101, 8)  # and went on in another way
        assert "position 12" in (await told(empty_dsn, to, "--resume", code=1))["error"]
    finally:
        await again.aclose()
    assert (await told(dsn, to, "--resume"))["count"] == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", [(), ("--open",)], ids=["sealed", "opened"])
async def test_who_follows_a_store_that_is_set_back_ends_and_writes_nothing_of_the_other_past(
    how: tuple[str, ...], dsn: str, store: PostgresStore, tmp_path: Path
) -> None:
    to = tmp_path / "record"
    await fill(store, 1, 12)
    there = 12 + len(how)  # that data is opened is on record too
    process = await asyncio.create_subprocess_exec(
        *CALL, str(to), "--follow", "--json", *how, env=env(dsn), stdout=subprocess.PIPE
    )
    try:
        for _ in range(300):
            if sum(p.read_bytes().count(b"\n") for p in to.glob("entries/*")) == there:
                break
            await asyncio.sleep(0.05)
        kept = b"".join(p.read_bytes() for p in sorted(to.glob("entries/*")))
        assert kept.count(b"\n") == there
        await run_sql(
            dsn,
            "set session_replication_role = replica",
            "delete from cxplane.entry where position > 8",
            "select setval('cxplane.entry_position', 10000000008)",
        )
        await fill(store, 101, 8)  # it goes on in another way
        out, _ = await process.communicate()
        assert process.returncode == 1 and f"position {there}" in json.loads(out)["error"]
        assert b"".join(p.read_bytes() for p in sorted(to.glob("entries/*"))) == kept
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.timeout(60)
async def test_who_follows_stops_in_good_order_and_goes_on_later(
    dsn: str, store: PostgresStore, tmp_path: Path
) -> None:
    to = tmp_path / "record"
    await fill(store, 1, 8)
    for turn in range(2):
        process = await asyncio.create_subprocess_exec(
            *CALL, str(to), "--follow", "--resume", "--json", env=env(dsn), stdout=subprocess.PIPE
        )
        await fill(store, 9 + turn * 20, 20)
        expected = await canonical(store)
        for _ in range(300):
            if b"".join(p.read_bytes() for p in sorted(to.glob("entries/*"))) == expected:
                break
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
        assert process.returncode == 0
        assert json.loads(out)["count"] == (28, 20)[turn]
    assert b"".join(p.read_bytes() for p in sorted(to.glob("entries/*"))) == expected


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("x", "--mask"), "--mask goes with --open"),
        (("-", "--resume"), "cannot be resumed"),
        (("x", "--resume", "--from", "3"), "leave --from away"),
        (("x", "--rotate", "soon"), "neither `day` nor a size"),
        (("x", "--since", "yesterday"), "no time like"),
        (("x.jsonl", "--gzip"), "name the file .jsonl.gz"),
    ],
)
async def test_what_makes_no_sense_is_said_before_anything_is_written(
    dsn: str, args: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    to = args[0] if args[0] == "-" else str(tmp_path / args[0])
    _, err = await typed(dsn, to, *args[1:], code=2)
    assert words in err.decode()
    assert not list(tmp_path.iterdir())
