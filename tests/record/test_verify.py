"""Whatever is done to an export, verifying it finds it, and says where."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cxplane.record.note import NoteError, join_notes, split_notes
from tests.record.sealed import SIGNER, STRANGER, Export, announces, key_of, line, report_of, sealed

COUNT = 700
LINES = [line(10 + 3 * n, text=f"zeile {n} ü") for n in range(COUNT)]
GOOD = sealed(LINES, [1, 255, 256, 300, 512, COUNT])
BARE = sealed(LINES, [1, 255, 256, 300, 512, COUNT], leaves=False)


def with_lines(lines: list[bytes], export: Export = GOOD) -> Export:
    return export.changed(lines=b"".join(one + b"\n" for one in lines))


@pytest.mark.parametrize("export", [GOOD, BARE], ids=["with hashes", "without"])
@pytest.mark.parametrize("count", [1, 255, 256, 257, 512, 700])
def test_a_good_export_of_any_size_is_verified(export: Export, count: int) -> None:
    leaves = count * 32 if export.leaves else None
    part = sealed(LINES[:count], sorted({1, count}), leaves=leaves is not None)
    report = report_of(part)
    assert report.good and (report.entries, report.sealed) == (count, count)


@pytest.mark.parametrize("index", [0, 1, 254, 255, 256, 299, 300, 511, 699])
def test_a_changed_entry_is_named(index: int) -> None:
    changed = [*LINES[:index], LINES[index].replace("ü".encode(), b"u"), *LINES[index + 1 :]]
    found = report_of(with_lines(changed)).finding
    assert found is not None and (found.kind, found.index, found.position) == ("changed", index, str(10 + 3 * index))


@pytest.mark.parametrize("index", [0, 1, 255, 256, 512, 698])
def test_a_removed_entry_is_named_by_its_neighbours(index: int) -> None:
    found = report_of(with_lines(LINES[:index] + LINES[index + 1 :])).finding
    assert found is not None and (found.kind, found.index, found.position) == ("removed", index, str(13 + 3 * index))
    if index:
        assert f"after position {7 + 3 * index}," in found.what


def test_without_hashes_a_removed_entry_is_not_said_to_be_the_last() -> None:
    found = report_of(with_lines(LINES[:600] + LINES[601:], BARE)).finding
    assert found is not None and found.kind == "removed"
    assert (
        found.what == "700 entries were signed, and 1 of them is missing: at the end, or anywhere after the first 512"
    )


def test_several_removed_entries_are_counted() -> None:
    found = report_of(with_lines(LINES[:100] + LINES[107:])).finding
    assert found is not None and found.what.startswith("7 entries are missing after position 307, before position 331")


@pytest.mark.parametrize("index", [0, 255, 256, 699, 700])
def test_an_inserted_entry_is_named(index: int) -> None:
    found = report_of(with_lines([*LINES[:index], line(11), *LINES[index:]])).finding
    assert found is not None and (found.kind, found.index) == ("inserted", index)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (100, 101), (255, 256), (3, 650)])
def test_swapped_entries_are_named(a: int, b: int) -> None:
    swapped = list(LINES)
    swapped[a], swapped[b] = swapped[b], swapped[a]
    found = report_of(with_lines(swapped)).finding
    assert found is not None and (found.kind, found.index) == ("reordered", a)


def test_a_repeated_entry_is_named() -> None:
    found = report_of(with_lines([*LINES[:50], LINES[49], *LINES[50:]])).finding
    assert found is not None and (found.kind, found.index) == ("repeated", 50)


@pytest.mark.parametrize("kept", [0, 1, 255, 256, 512, 600, 699])
def test_a_cut_end_is_named(kept: int) -> None:
    found = report_of(with_lines(LINES[:kept])).finding
    assert found is not None and (found.kind, found.index) == ("removed", kept)


def test_without_hashes_the_place_is_between_two_checkpoints() -> None:
    changed = [*LINES[:400], b"{}", *LINES[401:]]
    found = report_of(with_lines(changed, BARE)).finding
    assert found is not None and (found.kind, found.index) == ("between", 300) and "300 to 511" in found.what


def test_a_changed_hash_is_told_from_a_changed_entry() -> None:
    assert GOOD.leaves is not None
    found = report_of(GOOD.changed(leaves=GOOD.leaves[:3200] + bytes(32) + GOOD.leaves[3232:])).finding
    assert found is not None and (found.kind, found.index) == ("hashes", 100)


def test_entry_and_hash_changed_together_are_found_by_the_root() -> None:
    changed = [*LINES[:400], b"{}", *LINES[401:]]
    lie = sealed(changed, [COUNT]).leaves
    found = report_of(with_lines(changed).changed(leaves=lie)).finding
    assert found is not None and found.kind == "between"


def test_entries_after_the_last_checkpoint_are_not_proven_and_not_wrong() -> None:
    report = report_of(with_lines([*LINES, line(5000)], BARE))
    assert not report.good and report.finding is None and (report.sealed, report.unsealed) == (COUNT, 1)


def test_an_older_tree_is_found_by_what_was_kept_apart() -> None:
    older = sealed(LINES[:512], [256, 512])
    assert report_of(older).good
    found = report_of(older, apart=GOOD.checkpoints).finding
    assert found is not None and found.kind == "removed" and "188 of 700" in found.what


def test_another_tree_of_the_same_size_is_found_by_what_was_kept_apart() -> None:
    other = sealed([*LINES[:-1], line(9)], [COUNT])
    assert report_of(other).good
    assert report_of(other, apart=GOOD.checkpoints).finding is not None


def test_the_signature_of_a_stranger_is_worth_nothing() -> None:
    mine = sealed(LINES, [COUNT], signers=[[STRANGER]])
    found = report_of(mine).finding
    assert found is not None and found.kind == "signature"
    report = report_of(mine, known=[key_of(STRANGER)])  # named in the export itself
    assert not report.good and report.sealed == 0


def test_a_key_that_the_old_one_endorsed_is_followed() -> None:
    lines = [*LINES[:100], announces(STRANGER, SIGNER), *LINES[100:]]
    rotated = sealed(lines, [50, 150, 701], signers=[[SIGNER], [STRANGER, SIGNER], [STRANGER]])
    report = report_of(rotated)
    assert report.good and report.keys == [str(key_of(SIGNER)), str(key_of(STRANGER))]
    assert report_of(rotated, trusted=[STRANGER], known=[key_of(SIGNER)]).good


@pytest.mark.parametrize("by", [[], [STRANGER]], ids=["nobody", "itself"])
def test_a_key_that_nobody_endorsed_is_not_followed(by: list[object]) -> None:
    new = announces(STRANGER, *by) if by else line(3, "seal.key", key=str(key_of(STRANGER)))  # type: ignore[arg-type]
    lines = [*LINES[:100], new, *LINES[100:]]
    report = report_of(sealed(lines, [150, 701], signers=[[SIGNER], [STRANGER]]))
    assert not report.good and report.sealed == 150


# any tampering at all -----------------------------------------------------------------------------------------

Tamper = Callable[[st.DataObject, Export], Export]


def change_a_byte(data: st.DataObject, export: Export) -> Export:
    where = data.draw(st.sampled_from(["lines", "checkpoints", "leaves"]))
    value = getattr(export, where)
    raw = value.encode() if isinstance(value, str) else value
    if raw is None:
        where, raw = "lines", export.lines
    at = data.draw(st.integers(0, len(raw) - 1))
    bit = data.draw(st.integers(1, 255))
    raw = raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]
    return export.changed(**{where: raw.decode() if where == "checkpoints" else raw})


def rows(export: Export) -> list[bytes]:
    return export.lines.splitlines()


def index(data: st.DataObject, of: list[bytes]) -> int:
    return data.draw(st.integers(0, len(of) - 1))


def remove(data: st.DataObject, export: Export) -> Export:
    lines = rows(export)
    start = index(data, lines)
    return with_lines(lines[:start] + lines[start + data.draw(st.integers(1, 300)) :], export)


def insert(data: st.DataObject, export: Export) -> Export:
    lines = rows(export)
    lines.insert(
        data.draw(st.integers(0, len(lines))), data.draw(st.binary(max_size=20).filter(lambda b: b"\n" not in b))
    )
    return with_lines(lines, export)


def swap(data: st.DataObject, export: Export) -> Export:
    lines = rows(export)
    a, b = index(data, lines), index(data, lines)
    assume(lines[a] != lines[b])
    lines[a], lines[b] = lines[b], lines[a]
    return with_lines(lines, export)


def repeat(data: st.DataObject, export: Export) -> Export:
    lines = rows(export)
    lines.insert(data.draw(st.integers(0, len(lines))), lines[index(data, lines)])
    return with_lines(lines, export)


def cut(data: st.DataObject, export: Export) -> Export:
    where = data.draw(st.sampled_from(["lines", "checkpoints"]))
    value = getattr(export, where)
    return export.changed(**{where: value[: data.draw(st.integers(0, len(value) - 1))]})


def replace_a_signature(data: st.DataObject, export: Export) -> Export:
    notes = list(split_notes(export.checkpoints))
    at, other = data.draw(st.integers(0, len(notes) - 1)), data.draw(st.integers(0, len(notes) - 1))
    text = notes[at].rpartition("\n\n")[0] + "\n"
    if data.draw(st.booleans()) and at != other:
        signature = notes[other].rpartition("\n\n")[2]
    else:
        key = key_of(STRANGER)
        signature = str(sign_note(text)).rpartition("\n\n")[2]
        assert key.name in signature
    notes[at] = f"{text}\n{signature}"
    return export.changed(checkpoints=join_notes(notes))


def sign_note(text: str) -> object:
    from cxplane.record.note import sign

    return sign(text, [(key_of(STRANGER), STRANGER.sign)])


def go_back(data: st.DataObject, export: Export) -> Export:
    size = data.draw(st.sampled_from([1, 255, 256, 300, 512]))
    return sealed(rows(export)[:size], [size], leaves=export.leaves is not None)


ALL = [change_a_byte, remove, insert, swap, repeat, cut, replace_a_signature, go_back]


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("export", [GOOD, BARE], ids=["with hashes", "without"])
@pytest.mark.parametrize("tamper", ALL, ids=lambda t: t.__name__)
@given(data=st.data())
def test_any_tampering_is_found(tamper: Tamper, export: Export, data: st.DataObject) -> None:
    try:
        changed = tamper(data, export)
        apart = GOOD.checkpoints if tamper is go_back else ""
        report = report_of(changed, apart=apart)
    except (NoteError, UnicodeDecodeError):
        return  # it cannot even be read
    assume(changed != export)
    assert not report.good


class Drawn:
    """What `st.data()` would have drawn, written down."""

    def __init__(self, *values: object) -> None:
        self._values = iter(values)

    def draw(self, strategy: object) -> object:
        return next(self._values)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@example(data=Drawn(cut, cut, "lines", 500, "checkpoints", 0))  # all checkpoints are gone
def test_two_tamperings_do_not_hide_each_other(data: st.DataObject) -> None:
    first, second = data.draw(st.sampled_from(ALL[:6])), data.draw(st.sampled_from(ALL[:6]))
    try:
        once = first(data, GOOD)
        assume(len(rows(once)) > 1 and once.checkpoints)
        twice = second(data, once)
        assume(twice != GOOD)
        report = report_of(twice)
    except (NoteError, UnicodeDecodeError):
        return
    assert not report.good and (report.finding is not None or report.unsealed)


def test_two_checkpoints_of_one_size_over_different_entries_are_a_fork() -> None:
    other = sealed([*LINES[:300], *(line(5000 + n) for n in range(400))], [300, COUNT])
    found = report_of(GOOD, apart=other.checkpoints).finding
    assert found is not None and (found.kind, found.index) == ("fork", COUNT)
    assert f"two checkpoints of {COUNT} entries" in found.what


def test_a_store_that_was_set_back_is_told_of_with_what_is_lost() -> None:
    restored = [line(2000, "store.restored", position=1900), line(3000, "store.restored"), line(4000, "note")]
    told = report_of(sealed([*LINES, *restored], [COUNT, COUNT + 3])).restored
    assert [(r.index, r.position, r.upto) for r in told] == [(COUNT, "2000", 1900), (COUNT + 1, "3000", None)]
    torn = b'{"type":"cxplane.store.restored"'
    assert report_of(sealed([*LINES, torn], [COUNT + 1])).restored == []
