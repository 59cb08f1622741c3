"""The export, and what the standard's own SDK says of it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cxplane.control.load import load
from cxplane.domain.errors import CxplaneError
from cxplane.domain.journey import WORDS, Journey
from cxplane.journeys.serverless import FUNCTIONS, _duration, export
from tests.journeys.samples import ALL, DEEP, DISPUTE, EVERYTHING, LONG_NAMES, wide
from tests.npm import installed

HERE = Path(__file__).parent / "serverless"
EXAMPLES = Path(__file__).parents[2] / "examples"
Says = Callable[[Mapping[str, Any]], dict[str, str | None]]


def example_journeys() -> Iterator[tuple[str, Journey]]:
    for folder in sorted(EXAMPLES.glob("*/control")):
        try:
            repo = load(folder)
        except CxplaneError:
            continue  # another test says what is wrong with it
        yield from ((f"{folder.parent.name}/{name}", journey) for name, journey in repo.journeys.items())


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Says:
    """Asks the SDK which of these documents are valid: name -> None, or what is wrong."""
    folder = tmp_path_factory.mktemp("serverless-sdk")
    node = installed(HERE, folder, "the Serverless Workflow SDK")

    def says(documents: Mapping[str, Any]) -> dict[str, str | None]:
        file = folder / "documents.json"
        file.write_text(json.dumps(documents), encoding="utf-8")
        command = [node, str(HERE / "validate.mjs"), str(file)]
        out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        told: dict[str, str | None] = json.loads(out)
        return told

    return says


def test_the_samples_use_every_task_word() -> None:
    assert {step.kind for journey in ALL for step in journey.walk()} == set(WORDS)


def test_the_standards_own_sdk_calls_every_export_valid(sdk: Says) -> None:
    documents = {journey.id: export(journey) for journey in (*ALL, wide(50))}
    documents |= {name: export(journey) for name, journey in example_journeys()}
    assert {name: wrong for name, wrong in sdk(documents).items() if wrong} == {}


def test_the_sdk_says_no_to_a_broken_document(sdk: Says) -> None:
    good = export(DISPUTE)
    broken: dict[str, Any] = {name: copy.deepcopy(good) for name in ("name", "version", "task", "wait", "switch")}
    broken["name"]["document"]["name"] = "billing_dispute"
    del broken["version"]["document"]["version"]
    broken["task"]["do"].append({"nothing": {"sing": "la"}})
    broken["wait"]["do"].append({"long": {"wait": "2 days"}})
    broken["switch"]["do"].append({"where": {"switch": [{"here": {"when": "${ true }"}}]}})
    told = sdk({**broken, "good": good})
    assert told.pop("good") is None
    assert all(told.values()), told


def lists(tasks: Any) -> Iterator[list[dict[str, Any]]]:
    """Every list of tasks in a document, the outer ones first."""
    if isinstance(tasks, list) and tasks and all(isinstance(t, dict) for t in tasks):
        yield tasks
    if isinstance(tasks, dict):
        tasks = [body for word, body in tasks.items() if word != "switch"]  # its cases are no tasks
    for inner in tasks if isinstance(tasks, list) else ():
        yield from lists(inner)


@pytest.mark.parametrize("journey", ALL, ids=lambda j: j.id[:20])
def test_every_way_on_leads_to_a_task_of_the_same_list(journey: Journey) -> None:
    """The standard asks for it, and its schema cannot say so."""
    for tasks in lists(export(journey)["do"]):
        names = {name for task in tasks for name in task} | {"end", "exit", "continue"}
        for task in tasks:
            for body in task.values():
                if not isinstance(body, dict):
                    continue
                ways = [case["then"] for cases in body.get("switch", ()) for case in cases.values()]
                assert set(ways) | {body.get("then", "end")} <= names


def task(document: dict[str, Any], name: str) -> dict[str, Any]:
    for tasks in lists(document["do"]):
        for one in tasks:
            if name in one:
                found: dict[str, Any] = one[name]
                return found
    raise AssertionError(name)


def test_a_call_becomes_a_call_of_a_function_that_asks_at_the_gate() -> None:
    document = export(EVERYTHING)
    assert document["use"]["functions"]["claims.open"] == {"call": "cxplane.act", "with": {"action": "claims.open"}}
    assert task(document, "open_claim") == {
        "call": "claims.open",
        "with": {"policy": "${ input.policy }", "amount": "${ 3 }"},
        "metadata": {
            "recorded": {"photo": "${ input.photo }"},
            "reason": "${ 'reported by phone' }",
            "mode": "propose",
            "team": "claims-desk",
            "patience": {"hours": 6},
        },
    }


def test_what_the_standard_has_no_word_for_keeps_its_whole_meaning() -> None:
    document = export(DISPUTE)
    assert task(document, "judge") == {
        "call": "cxplane.ask",
        "with": {
            "team": "billing-care",
            "what": "approve",
            "text": "${ 'Credit ' + string(input.amount) + '?' }",
            "due": {"days": 2},
            "remind": {"days": 1},
            "escalate": {"after": {"days": 1}, "to": "supervisors"},
        },
        "metadata": {"summary": "Is the customer right?"},
    }
    assert task(export(EVERYTHING), "assess")["with"]["default"] == "more"
    assert task(export(LONG_NAMES), "everything_back")["with"] == {"steps": "all"}
    used = {
        body["call"]
        for journey in ALL
        for tasks in lists(export(journey)["do"])
        for one in tasks
        for body in one.values()
        if isinstance(body, dict) and str(body.get("call", "")).startswith("cxplane.")
    }
    assert used == set(FUNCTIONS) - {"cxplane.act"}


def test_a_case_with_steps_becomes_a_task_of_its_own_that_falls_into_no_other() -> None:
    tasks = export(DISPUTE)["do"]
    names = [name for one in tasks for name in one]
    assert names[2:6] == ["size", "size-small", "size-large", "settle"]
    cases = {name: case["then"] for one in tasks[2]["size"]["switch"] for name, case in one.items()}
    assert cases == {"small": "size-small", "large": "size-large", "otherwise": "by_hand"}
    assert tasks[3]["size-small"]["then"] == tasks[4]["size-large"]["then"] == "settle"


def test_a_switch_that_is_passed_by_falls_into_no_case() -> None:
    first = task(export(DEEP), "kind")["switch"][0]
    assert first == {"passed-by": {"when": "${ !(line.amount > 0) }", "then": "exit"}}


def test_a_catch_of_several_errors_says_so_in_its_condition() -> None:
    catch = task(export(DISPUTE), "settle")["catch"]
    assert catch["when"] == "${ error.name in ['unavailable', 'failed'] }"
    assert catch["retry"]["limit"] == {"attempt": {"count": 3}}
    assert catch["do"][0] == {"settle-undo": {"call": "cxplane.undo", "with": {"inside": "settle"}}}
    one = task(export(EVERYTHING), "tidy")["catch"]
    assert one["errors"] == {"with": {"type": "cxplane://errors/timeout"}}
    assert one["when"] == "${ error.step == 'tell_all' }"


def test_signals_are_correlated_by_their_key() -> None:
    to = task(export(EVERYTHING), "await_document")["listen"]["to"]
    assert to == {
        "one": {
            "with": {"type": "documents.received", "data": "${ signal.data.name == document }"},
            "correlate": {"key": {"from": "${ signal.key }", "expect": "${ input.claim_id }"}},
        }
    }
    assert len(task(export(EVERYTHING), "both_reports")["listen"]["to"]["all"]) == 2


def test_the_document_says_that_expressions_are_cel_and_what_starts_it() -> None:
    document = export(DISPUTE)
    assert document["document"]["metadata"]["expressions"]["language"] == "CEL"
    assert document["document"]["version"] == "2.0.0"
    assert document["schedule"]["on"]["one"]["with"]["type"] == "billing.dispute_opened"


def test_names_are_cut_to_what_the_standard_allows_and_stay_apart() -> None:
    name = export(LONG_NAMES)["document"]["name"]
    assert re.fullmatch(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?", name)
    assert name.startswith("a-journey-with-a-name")


def test_spans_are_whole_units_largest_first() -> None:
    assert _duration(timedelta(days=1, hours=2, milliseconds=5)) == {"days": 1, "hours": 2, "milliseconds": 5}
    assert _duration(timedelta()) == {"milliseconds": 0}
