"""What `cxplane check` says of journeys that can be seen to start themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cxplane.control.load import load
from cxplane.control.rings import warnings
from cxplane.edges.cli.control import check
from tests.control.journey_world import JOURNEYS
from tests.loop.journeys import journeys

FILE = "journeys/{0}/journey.yaml"


def one(name: str, hears: str, *steps: str) -> str:
    listed = "\n".join(f"  - s{n}: {step}" for n, step in enumerate(steps))
    return f"""
journey: {name}
version: 1
summary: For the tests
owner: care
customer: none
input: {{type: object}}
start: [{{signal: {hears}}}]
do:
{listed}
"""


EMIT = "{{emit: {{signal: {0}, key: \"'k'\"}}}}".format
NAP = "{wait: 1s}"


def told(**texts: str) -> list[tuple[str, int, str]]:
    return [(m.file, m.line, m.what) for m in warnings(load(journeys(**texts)))]


def test_a_journey_that_emits_what_starts_it_is_warned_of_at_that_step() -> None:
    said = told(echo=one("echo", "heard", NAP, EMIT("heard")))
    what = "step s1: echo starts itself: echo emits heard, which starts echo"
    assert said == [(FILE.format("echo"), 11, what)]


def test_a_ring_is_told_once_with_the_way_that_it_goes() -> None:
    said = told(a=one("a", "x.a", EMIT("x.b")), b=one("b", "x.b", "{run: c}"), c=one("c", "x.c", NAP, EMIT("x.a")))
    way = "a emits x.b, which starts b, b runs c, c emits x.a, which starts a"
    assert said == [(FILE.format("a"), 10, f"step s0: a starts itself: {way}")]


def test_journeys_that_start_others_and_come_to_an_end_are_not_warned_of() -> None:
    assert (
        told(a=one("a", "x.a", EMIT("x.b")), b=one("b", "x.b", EMIT("x.nobody"), "{run: c}"), c=one("c", "x.c", NAP))
        == []
    )
    assert warnings(load(dict(JOURNEYS))) == []


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_warns_and_ends_well(tmp_path: Path, as_json: bool) -> None:
    for name, text in journeys(echo=one("echo", "heard", EMIT("heard"))).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    result = CliRunner().invoke(check, [str(tmp_path), *(["--json"] if as_json else [])], standalone_mode=False)
    assert result.return_value == 0, result.output
    if as_json:
        said = json.loads(result.output)
        assert (said["ok"], said["mistakes"]) == (True, []) and said["warnings"][0]["line"] == 10
    else:
        assert "warning: journeys/echo/journey.yaml:10: step s0: echo starts itself" in result.output
        assert "no mistakes" in result.output
