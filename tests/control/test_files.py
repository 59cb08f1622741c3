from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxplane.control.load import load, read
from cxplane.control.release import content_hash
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.values import digest
from tests.control.world import FILES, REFUND, changed


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return write(tmp_path / "control", FILES)


def write(root: Path, files: dict[str, str] | object) -> Path:
    assert hasattr(files, "items")
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8", newline="\n")
    return root


def only(root: Path) -> Mistake:
    (found,) = read(root).mistakes
    return found


def test_a_folder_and_a_map_of_its_files_are_the_same_repo(repo: Path) -> None:
    assert load(repo) == load(FILES)
    assert load(str(repo)).files == load(FILES).files


def test_the_hash_is_the_same_in_any_order_with_any_separator_and_line_end(repo: Path) -> None:
    first = content_hash(load(repo).files)
    backwards = dict(reversed(list(FILES.items())))
    assert content_hash(load(backwards).files) == first
    assert content_hash(load({path.replace("/", "\\"): text for path, text in FILES.items()}).files) == first
    assert (
        content_hash(load({path: "\ufeff" + text.replace("\n", "\r\n") for path, text in FILES.items()}).files) == first
    )
    assert first == digest(dict(load(FILES).files))


def test_what_decides_nothing_is_not_in_the_hash_and_what_decides_is(repo: Path) -> None:
    first = content_hash(load(repo).files)
    (repo / "README.md").write_text("other words")
    (repo / ".github").mkdir()
    (repo / ".github" / "ci.yaml").write_text("on: push")
    assert content_hash(load(repo).files) == first
    assert content_hash(load(changed(REFUND, "minimum: 1", "minimum: 2")).files) != first


def test_a_file_of_another_encoding_is_a_mistake_on_its_line(repo: Path) -> None:
    (repo / REFUND).write_bytes(FILES[REFUND].encode() + "# Rückzahlung\n".encode("latin-1"))
    found = [m for m in read(repo).mistakes if m.file == REFUND]
    assert [m.what for m in found] == ["not UTF-8"]
    assert found[0].line == FILES[REFUND].count("\n") + 1


def test_a_file_that_is_too_large_is_a_mistake(repo: Path) -> None:
    (repo / "policies" / "large.cedar").write_text("/" * 1_100_000)
    assert "larger than 1024 KiB" in only(repo).what


def test_a_control_character_is_a_mistake(repo: Path) -> None:
    (repo / "policies" / "odd.cedar").write_text("// a\n// b\0c\n")
    assert (only(repo).what, only(repo).line) == ("a control character", 2)


def test_a_link_that_leaves_the_repo_is_refused_and_its_text_not_read(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.cedar").write_text("hunter2")
    (repo / "policies" / "link.cedar").symlink_to(tmp_path / "secret.cedar")
    assert "leaves the control repo" in only(repo).what
    assert "hunter2" not in str(read(repo).texts)


def test_a_link_within_the_repo_is_read(repo: Path) -> None:
    (repo / "agents" / "second.md").write_text(FILES["agents/helper.md"].replace("agent: helper", "agent: second"))
    (repo / "budgets" / "again.yaml").symlink_to(repo / "budgets" / "refunds-by-ai.yaml")
    assert "'refunds-by-ai' is here twice" in only(repo).what


def test_a_link_to_nothing_or_in_a_circle_is_a_mistake(repo: Path) -> None:
    (repo / "policies" / "gone.cedar").symlink_to(repo / "nowhere.cedar")
    (repo / "policies" / "circle.cedar").symlink_to(repo / "policies" / "circle.cedar")
    assert [m.what for m in read(repo).mistakes] == ["the file cannot be read"] * 2


def test_a_linked_folder_is_a_mistake(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (repo / "catalog" / "other").symlink_to(tmp_path / "elsewhere")
    assert only(repo).what == "a link to a folder"


def test_a_pipe_is_no_file(repo: Path) -> None:
    os.mkfifo(repo / "policies" / "pipe.cedar")
    assert only(repo).what == "not an ordinary file"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("polices/new.cedar", "did you mean policies?"),
        ("plane.yml", "did you mean plane.yaml?"),
        ("catalog/shop/refund.yml", "name it catalog/shop/refund.yaml"),
        ("catalog/refund.yaml", "catalog/<system>/<name>.yaml"),
        ("catalog/shop/deep/refund.yaml", "catalog/<system>/<name>.yaml"),
        ("policies/deep/new.cedar", "policies/<name>.cedar"),
        ("agents/deep/new.md", "agents/<name>.md"),
    ],
)
def test_a_file_that_nothing_would_read_is_a_mistake(path: str, hint: str) -> None:
    (found,) = read({**FILES, path: "a: 1"}).mistakes
    assert (found.file, found.what) == (path, "nothing reads this file")
    assert hint in found.hint


@pytest.mark.parametrize(
    "path", ["/etc/policies/x.cedar", "../policies/x.cedar", "policies/../../x.cedar", "C:\\x.cedar"]
)
def test_a_path_that_leaves_the_repo_is_a_mistake(path: str) -> None:
    assert any("leaves the control repo" in m.what for m in read({**FILES, path: "x"}).mistakes)


_paths = st.sampled_from(
    [*FILES, "catalog/shop/new.yaml", "catalog/shop/tables/t.yaml", "budgets/b.yaml", "agents/a.md"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_words = st.sampled_from(
    """plane tenant owner action version summary effect risk input output key facts money confirm undo via limits system http
    budget applies per window limit tests request expect roles teams persons services agent data rows table""".split()  # noqa: SIM905
)


@settings(max_examples=150, deadline=None)
@given(_paths, st.dictionaries(_words, _json, max_size=8))
def test_any_values_in_any_file_give_mistakes_and_nothing_else(path: str, said: dict[str, object]) -> None:
    import yaml

    text = yaml.safe_dump(said, allow_unicode=True)
    with pytest.raises(ControlError):
        load({**FILES, path: f"---\n{text}---\n" if path.endswith(".md") else text, "polices/x.yaml": ""})


@settings(max_examples=150, deadline=None)
@given(_paths, st.binary(max_size=200))
def test_any_bytes_in_any_file_give_mistakes_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, path: str, raw: bytes
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(raw)
    with pytest.raises(ControlError):
        load(root)


@settings(max_examples=200, deadline=None)
@given(_paths, st.integers(0, 40), st.integers(0, 60), st.text(max_size=6))
def test_a_slip_of_the_hand_gives_a_repo_or_mistakes(path: str, line: int, column: int, typed: str) -> None:
    lines = FILES.get(path, "a: 1").split("\n")
    at = line % len(lines)
    lines[at] = lines[at][:column] + typed + lines[at][column + len(typed) :]
    try:
        load({**FILES, path: "\n".join(lines)})
    except ControlError as error:
        assert error.mistakes  # noqa: PT017
