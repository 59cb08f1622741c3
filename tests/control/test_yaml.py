from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxplane.control.yaml import Document, front_matter, parse
from cxplane.domain.errors import Mistake


def read(text: str) -> tuple[Document | None, list[Mistake]]:
    found: list[Mistake] = []
    return parse("f.yaml", text, found), found


def value(text: str) -> object:
    document, found = read(text)
    assert document is not None and not found, found
    return document.value


def test_values_read_the_same_to_everybody() -> None:
    assert value("a: 1\nb: -2\nc: 1.5\nd: true\ne:\nf: '1'\ng: text") == {
        "a": 1, "b": -2, "c": 1.5, "d": True, "e": None, "f": "1", "g": "text",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "0123", "1_000", "0x1F", "12:30", "2026-01-05", "1e5x", "+", "."]
)
def test_what_other_readers_would_turn_into_something_else_stays_a_text(text: str) -> None:
    assert value(f"a: {text}") == {"a": text}


def test_every_key_and_item_knows_its_line() -> None:
    document, _ = read("a:\n  b:\n    - x\n    - {c: 1,\n       d: 2}\n")
    assert document is not None
    assert [document.line(*path) for path in (("a",), ("a", "b"), ("a", "b", 0), ("a", "b", 1, "d"))] == [1, 2, 3, 5]
    assert document.line("a", "nothing", "here") == 1


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is here twice"),
        ("a: &x 1\nb: *x\n", 1, "anchors and aliases"),
        ("a: 1\nb: *x\n", 2, "anchors and aliases"),
        ("a: 1\nb: !!python/object:os.system {}\n", 2, "the tag"),
        ("a: !secret x\n", 1, "the tag"),
        ("a: {<<: {b: 1}}\n", 1, "merge keys"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("a: 1\n? [x]\n: 2\n", 2, "no plain text"),
        ("a: [1, 2\nb: 3\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 9007199254740992\n", 1, "beyond 2^53"),
        ("a: 1" + "0" * 5000, 1, "beyond 2^53"),
        ("a: 1e999\n", 1, "too large"),
        ("a: .nan\n", 1, "not finite"),
        ("a: -.inf\n", 1, "not finite"),
        ("- " * 40 + "x", 1, "deep"),
        ("[" * 5000, 1, ""),
        ("- " * 100_000, 1, "deep"),
        ("{a: " * 5000, 1, "deep"),
    ],
)
def test_what_cannot_be_read_is_a_mistake_on_its_line(text: str, line: int, what: str) -> None:
    _, found = read(text)
    assert found[0].line == line, found
    assert what in found[0].what
    assert found[0].hint


def test_aliases_cannot_multiply() -> None:
    levels = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9) if n else 1}]" for n in range(9))
    _, found = read(levels)
    assert "anchors" in found[0].what


def test_front_matter_keeps_the_lines_of_the_file_and_gives_the_rest() -> None:
    found: list[Mistake] = []
    document = front_matter("a.md", "---\nagent: fin\nversion: 1\n---\n\nBe kind.\n---\nAlways.\n", found)
    assert document is not None and not found
    assert document.line("version") == 3
    assert document.body == "Be kind.\n---\nAlways."


@pytest.mark.parametrize("text", ["", "no contract", "---\nagent: fin\n", " ---\na: 1\n---\n"])
def test_a_file_without_front_matter_is_a_mistake(text: str) -> None:
    found: list[Mistake] = []
    assert front_matter("a.md", text, found) is None
    assert "---" in found[0].hint


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=400) | st.text(alphabet="ab:-[]{},&*!?|>'\"#% \n\t01.~<", max_size=120))
def test_no_text_breaks_the_reader(text: str) -> None:
    document, found = read(text)
    assert document is not None or found


def test_slips_of_the_hand_are_told_where_they_were_made() -> None:
    _, (one,) = read("do:\n  - credit:\n      call: a.b\n\n  - worth\n      set: {a: 1}\n")
    assert (one.line, one.what, one.hint) == (5, "not YAML: no colon after worth", "write `- worth:`")
    _, (one,) = read("a: 1\nb: {c: 1\nd: 2\n")
    assert "opened on line 2" in one.hint
