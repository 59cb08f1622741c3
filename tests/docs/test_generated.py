"""The pages that are made from the code are as the code says, and nothing in the docs leads nowhere."""

from __future__ import annotations

import pytest

import docs


@pytest.mark.parametrize("path", sorted(docs.made()), ids=lambda p: p.name)
def test_a_generated_page_says_what_the_code_says(path: docs.Path) -> None:
    assert path.exists(), "run `make docs`"
    assert path.read_text(encoding="utf-8") == docs.made()[path], "run `make docs`"


def test_every_link_leads_somewhere() -> None:
    assert list(docs.broken()) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    assert list(docs.unreachable()) == []


def test_every_requirement_has_one_line_whose_tests_exist() -> None:
    assert list(docs.requirements()) == []
