"""Work flows of a public data set as journeys: the import is checked, and every flow runs in its order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.abcd.import_kb import NotThatFile, control_repo, main, read, write
from benchmarks.abcd.run_all import run_all, serving
from benchmarks.abcd.system import order_of, service
from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.choose import Connectors
from cxplane.control.check import check
from cxplane.control.conform import conform
from cxplane.control.load import load
from cxplane.control.release import build
from cxplane.control.test import run_tests

KB = Path(__file__).parents[3] / "shared" / "data" / "abcd" / "kb.json"
needs_data = pytest.mark.skipif(not KB.exists(), reason=f"the data set is not here: {KB}")

FLOWS = {"Lost-Badge": ["find-person", "print-badge"], "4th_floor": ["open-door", "print-badge", "open-door"]}
ONTOLOGY = {
    "actions": {
        "look": {"find-person": ["name", "badge_number"]},
        "do": {"print-badge": ["colour"], "open-door": []},
    },
    "values": {"enumerable": {"colour": ["red", "it's green"]}},
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A small kb.json of our own, with an ontology beside it."""
    (tmp_path / "kb.json").write_text(json.dumps(FLOWS))
    (tmp_path / "ontology.json").write_text(json.dumps(ONTOLOGY))
    return tmp_path / "kb.json"


# the import ------------------------------------------------------------------------------------------------


def test_a_flow_becomes_a_journey_with_its_actions_in_order(own: Path) -> None:
    repo = load(control_repo(read(own)))
    assert set(repo.journeys) == {"lost_badge", "f_4th_floor"}
    twice = repo.journeys["f_4th_floor"]
    assert [step.name for step in twice.steps] == ["open_door", "print_badge", "open_door_2"]
    assert twice.charter.actions == {"abcd.open-door", "abcd.print-badge"}


def test_slots_become_typed_input(own: Path) -> None:
    repo = load(control_repo(read(own)))
    typed = repo.actions["abcd.print-badge"].input["properties"]
    assert typed["colour"] == {"type": "string", "enum": ["red", "it's green", ""]}
    assert "enum" not in repo.actions["abcd.find-person"].input["properties"]["name"]
    assert repo.journeys["lost_badge"].input["required"] == ["contact"]


async def test_what_is_written_is_checked_and_tested_like_any_control_repo(own: Path, tmp_path: Path) -> None:
    assert main(["--kb", str(own), "--out", str(tmp_path / "control")]) == 0
    assert check(tmp_path / "control", CedarEngine(), CelExpressions()) == []
    report = await run_tests(build(tmp_path / "control"), CedarEngine(), CelExpressions())
    assert report.passed, report.words()
    assert report.untested == ()


def test_it_writes_into_no_folder_that_holds_something(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kb", str(own), "--out", str(own.parent)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_an_action_that_the_ontology_does_not_have_is_said(own: Path) -> None:
    own.write_text(json.dumps({"flow": ["unheard-of"]}))
    with pytest.raises(NotThatFile, match="the ontology does not have"):
        read(own)


async def test_the_stand_in_conforms(own: Path) -> None:
    repo, cel = load(control_repo(read(own))), CelExpressions()
    async with serving(service()) as url:
        connectors = Connectors(repo.systems, cel, EnvironmentVault({}), base_urls={"abcd": url})
        try:
            results = await conform(
                repo, "abcd", connectors, cel, CedarEngine(), SystemClock(), only=["abcd.print-badge"]
            )
        finally:
            await connectors.aclose()
    assert [test for result in results for test in result["tests"] if not test["passed"]] == []
    assert len(results) == 1


# the runs --------------------------------------------------------------------------------------------------


async def test_flows_of_our_own_run_in_their_order_and_twice_is_twice(own: Path, dsn: str) -> None:
    results = await run_all(read(own), own.parent / "run", dsn=dsn, silent=True)
    assert [result.words() for result in results if not result.right] == []
    assert {result.arrived for result in results} == {tuple(actions) for actions in FLOWS.values()}


@needs_data
async def test_every_flow_of_the_data_set_is_a_journey_without_mistakes(tmp_path: Path) -> None:
    flows = read(KB)
    assert len(flows) == len(json.loads(KB.read_text())) == 55
    write(control_repo(flows), tmp_path)
    assert check(tmp_path, CedarEngine(), CelExpressions()) == []
    report = await run_tests(build(tmp_path), CedarEngine(), CelExpressions())
    assert report.passed, report.words()
    assert report.untested == ()


@needs_data
async def test_every_flow_of_the_data_set_runs_to_its_end_in_exactly_its_order(tmp_path: Path, dsn: str) -> None:
    results = await run_all(read(KB), tmp_path, dsn=dsn)
    assert [result.words() for result in results if not result.right] == []
    said = {name: tuple(actions) for name, actions in json.loads(KB.read_text()).items()}
    assert {result.flow.name: result.arrived for result in results} == said


def test_the_stand_in_tells_contacts_apart() -> None:
    app = service()
    app.state["_effects"] = [
        {"n": 2, "path": "/actions/b", "body": {"contact": "k-1"}},
        {"n": 1, "path": "/actions/a", "body": {"contact": "k-1"}},
        {"n": 3, "path": "/actions/c", "body": {"contact": "k-2"}},
    ]
    assert order_of(app, "k-1") == ["a", "b"]
