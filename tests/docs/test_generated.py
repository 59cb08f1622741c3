"""The pages that are made from the code are as the code says, and nothing in the docs leads nowhere."""

from __future__ import annotations

import re

import pytest

import docs
from cxplane.adapters.telemetry import METRICS
from cxplane.domain.journey import ERRORS, WORDS


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


def test_every_measure_that_the_code_takes_has_its_line() -> None:
    taken = re.compile(r"telemetry\.(?:count|observe|gauge)\(\s*\"(\w+)\"")
    found = {n for file in (docs.ROOT / "src").rglob("*.py") for n in taken.findall(file.read_text(encoding="utf-8"))}
    assert found
    assert {name.removesuffix("_total") for name in found} <= set(METRICS)


def test_every_task_word_and_error_of_journeys_is_told() -> None:
    page = (docs.ROOT / "docs" / "how-to" / "write-a-journey.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]+) \|", page, re.M))))
    assert {*WORDS, *ERRORS} <= told
