"""Exports made to make the verifier stumble: it says what is wrong of them, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxplane.adapters.signing import verify
from cxplane.record.verify import Verifier, read_checkpoints
from tests.record.sealed import SIGNER, STRANGER, Export, key_of, line, report_of, sealed

COUNT = 700
LINES = [line(10 + 3 * n) for n in range(COUNT)]
GOOD = sealed(LINES, [1, 255, 256, 300, 512, COUNT])
BARE = sealed(LINES, [1, 255, 256, 300, 512, COUNT], leaves=False)


def with_lines(lines: list[bytes]) -> Export:
    return GOOD.changed(lines=b"".join(one + b"\n" for one in lines))


def test_where_all_checkpoints_were_cut_off_that_is_said_whatever_else_was_done() -> None:
    for export in (GOOD, GOOD.changed(lines=GOOD.lines[:500]), with_lines([]), BARE):
        report = report_of(export.changed(checkpoints=""))
        assert report.finding is not None and report.finding.kind == "checkpoint" and not report.good


@pytest.mark.parametrize("size", ["9" * 11, "9" * 19])
def test_a_checkpoint_may_say_a_size_that_no_memory_holds(size: str, tmp_path: Path) -> None:
    far = GOOD.checkpoints.replace(f"\n{COUNT}\n", f"\n{size}\n")
    lines = [*LINES[:600], b"{}", *LINES[601:]]
    (tmp_path / "leaves").write_bytes(GOOD.leaves or b"")
    verifier = Verifier(read_checkpoints([far]), [key_of(SIGNER)], verify)
    with (tmp_path / "leaves").open("rb") as leaves:
        found = verifier.run(iter([lines[n : n + 256] for n in range(0, COUNT, 256)]), leaves).finding
    assert found is not None and (found.kind, found.index) == ("between", 512)


@pytest.mark.parametrize("kind", ["seal.key", "store.restored"])
def test_a_line_nested_too_deep_to_read_is_a_changed_one(kind: str) -> None:
    deep = b'{"type":"cxplane.' + kind.encode() + b'","data":' + b"[" * 200_000
    found = report_of(with_lines([*LINES[:100], deep, *LINES[101:]])).finding
    assert found is not None and (found.kind, found.index, found.position) == ("changed", 100, None)


def test_an_endorsement_that_is_no_text_endorses_nobody() -> None:
    odd = line(3, "seal.key", key=str(key_of(STRANGER)), endorsed=5)
    assert report_of(sealed([*LINES[:100], odd], [101])).keys == [str(key_of(SIGNER))]
