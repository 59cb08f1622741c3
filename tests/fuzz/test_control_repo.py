"""No control repo, however spoilt, is more than mistakes with file and line: never another error, never a hang."""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.control.check import check
from cxplane.control.files import find, kind_of
from cxplane.control.init import starter
from cxplane.control.load import load
from cxplane.control.release import build
from cxplane.control.test import run_tests
from cxplane.domain.errors import CxplaneError, ExpressionError, Mistake
from tests.fuzz.nasty import scratched, spoilt, texts, values
from tests.fuzz.profile import bounded

ENGINE, CEL = CedarEngine(), CelExpressions()
EXAMPLES = sorted(Path("examples").glob("*/control"))
KINDS = [
    "plane",
    "action",
    "system",
    "policy-tests",
    "budget",
    "people",
    "journey",
    "charter",
    "agent",
    "table",
]
SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


@cache
def files(where: int) -> dict[str, str]:
    """Those of the examples; -1: those of `cxplane init`."""
    return starter("northwind") if where < 0 else dict(find(EXAMPLES[where]).texts)


def of_kind(kind: str) -> list[tuple[int, str]]:
    return [(n, path) for n in range(-1, len(EXAMPLES)) for path in files(n) if kind_of(path) == kind]


def told(changed: dict[str, str]) -> list[Mistake]:
    """The mistakes, each with a file of the repo and a line that it has; `load` says the same as `check`."""
    found = check(changed, ENGINE, CEL)
    for mistake in found:
        assert mistake.file and mistake.what, mistake
        assert mistake.line >= 0
        if mistake.file in changed:
            assert mistake.line <= changed[mistake.file].count("\n") + 2, mistake
        assert SECRET not in str(mistake)
    if not found:
        load(changed)
    return found


def is_usable(changed: dict[str, str]) -> None:
    """What has no mistakes can be released, and its tests can be run, whatever comes out."""
    with contextlib.suppress(CxplaneError):
        asyncio.run(run_tests(build(changed), ENGINE, CEL))


@st.composite
def retyped(draw: st.DrawFn, kind: str) -> dict[str, str]:
    """A repo with one file whose values are deleted, retyped, renamed, buried."""
    where, path = draw(st.sampled_from(of_kind(kind)))
    text = files(where)[path]
    head, body = "", text
    if path.endswith(".md"):
        _, body, head = text.split("---\n", 2)
    value = draw(spoilt(yaml.load(body, yaml.BaseLoader) if draw(st.booleans()) else yaml.safe_load(body)))
    written = yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
    return {**files(where), path: f"---\n{written}---\n{head}" if path.endswith(".md") else written}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if of_kind(kind)])
@bounded(3, 60_000)
@given(st.data())
def test_values_of_any_type_and_depth_are_mistakes_or_fine(kind: str, data: st.DataObject) -> None:
    changed = data.draw(retyped(kind))
    if not told(changed):
        is_usable(changed)


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if of_kind(kind)), "policy"])
@bounded(3, 60_000)
@given(st.data())
def test_lines_torn_and_mixed_up_are_mistakes_or_fine(kind: str, data: st.DataObject) -> None:
    where, path = data.draw(st.sampled_from(of_kind(kind)))
    changed = {**files(where), path: data.draw(scratched(files(where)[path]))}
    if not told(changed):
        is_usable(changed)


@bounded(20, 60_000)
@given(st.dictionaries(st.sampled_from([p for n in range(3) for p in files(n)]) | texts, texts, max_size=4))
def test_repos_of_any_files_are_mistakes(changed: dict[str, str]) -> None:
    assert told(changed)


@bounded(8, 60_000)
@given(st.data())
def test_a_secret_in_a_file_is_never_in_what_is_said_about_it(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for path in files(-1) if kind_of(path) is not None]))
    lines = files(-1)[path].split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    said = data.draw(st.sampled_from([f"token: {SECRET}", f"x: [{SECRET}", f"{SECRET}: {{", f"  {SECRET}"]))
    told({**files(-1), path: "\n".join([*lines[:at], said, *lines[at:]])})


WORDS = st.sampled_from(
    [
        r"input",
        r"x",
        r".",
        r"a",
        r"(",
        r")",
        r"[",
        r"]",
        r"{",
        r"}",
        r"+",
        r"-",
        r"*",
        r"/",
        r"%",
        r"&&",
        r"||",
        r"!",
        r"==",
        r"<",
        r"in",
        r"?",
        r":",
        r",",
        r"'a'",
        r'"',
        r"1",
        r"0",
        r"1.5",
        r"1u",
        r"9223372036854775807",
        r"null",
        r"true",
        r"size",
        r"map",
        r"filter",
        r"all",
        r"exists",
        r"has",
        r"matches",
        r"timestamp",
        r"duration",
        r"money",
        r"sum",
        r"distinct",
        r"join",
        r"days_between",
        r"b'\xff'",
        r"'\x00'",
        r"r'('",
        r"int",
        r"double",
        r"string",
        r"dyn",
        r"type",
        r"startsWith",
        r"zip",
        r"now",
    ]
)


@bounded(300)
@given(st.lists(WORDS, max_size=20).map(" ".join) | st.lists(WORDS, max_size=30).map("".join) | texts, values)
def test_an_expression_gives_a_value_or_an_expression_error(text: str, value: Any) -> None:
    with contextlib.suppress(ExpressionError):
        json.dumps(CEL.compile(text).value({"input": value, "x": [1, 2, 3], "a": {"a": "b"}}))


@pytest.mark.parametrize(
    "text",
    [
        "[0].map(a, [0].map(b, x.map(c, x.map(d, x.map(e, c + d + e)))))",
        "x.map(a, x.map(b, x.map(c, x))).size()",
        "x.all(a, x.all(b, x.all(c, x.all(d, a + b + c + d >= 0))))",
        "x.map(a, input + input + input + input)",
    ],
)
def test_an_expression_that_would_take_for_ever_says_so_at_once(text: str) -> None:
    with pytest.raises(ExpressionError):
        CEL.compile(text).value({"x": list(range(3000)), "input": "a" * 200_000})


def test_a_pattern_that_would_go_back_and_forth_does_not() -> None:
    assert CEL.compile("input.matches('^(a+)+(a+)+(a+)+$')").value({"input": "a" * 200_000 + "b"}) is False
