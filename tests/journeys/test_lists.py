"""A list that a `for` names is in the state once at most, and each round has its item all the same."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from cxplane.domain.journey import Assign, Branch, Call, For, Fork, Step, Wait
from cxplane.domain.run import state_body, state_from
from cxplane.journeys.migrate import carried, whole
from cxplane.journeys.program import Program
from tests.journeys.driving import CEL, Driven, journey

ITEMS = [{"id": f"o-{n}", "lines": [n, n + 1]} for n in range(50)]
ASK = Call("ask", action="s.a", with_={"id": "one.id"})
FIND = Call("find", action="s.find")
KEEP = Assign("keep", values={"list": "input.items"})


def over(text: str, *steps: Step, name: str = "each") -> For:
    return For(name, each="one", in_=text, steps=steps or (ASK,))


def through(run: Driven) -> list[object]:
    while run.status == "waiting":
        run.settle("ask")
    return [asked.input["id"] for asked in run.asked("ask")]


def copies(run: Driven) -> int:
    """How often the last item stands in the state."""
    return json.dumps(state_body(run.state)).count("o-49")


@pytest.mark.parametrize(
    ("before", "text", "there"),
    [
        ((), "input.items", 0),
        ((), " input . items ", 0),
        ((KEEP,), "vars.list", 1),
        ((), "input.items.filter(i, i.id != '')", 1),  # what is computed is kept
        ((), 'input["items"]', 1),
    ],
)
def test_a_list_that_is_named_is_not_kept_again(before: tuple[Step, ...], text: str, there: int) -> None:
    run = Driven(*before, over(text), input={"items": ITEMS})
    run.settle("ask")
    assert copies(run) == there
    assert through(run) == [item["id"] for item in ITEMS]
    assert run.status == "done"


def test_what_a_call_gave_is_in_the_state_once() -> None:
    run = Driven(FIND, over("steps.find.items"))
    run.settle("find", output={"items": ITEMS})
    assert copies(run) == 1
    assert through(run) == [item["id"] for item in ITEMS]


def test_a_list_that_the_loop_itself_changes_is_kept_as_it_was_when_the_loop_began() -> None:
    change = Assign("change", values={"list": "[]"})
    run = Driven(KEEP, over("vars.list", ASK, change), input={"items": ITEMS})
    assert through(run) == [item["id"] for item in ITEMS] and run.state.vars == {"list": []}
    again = Call("find", action="s.find")
    run = Driven(Assign("first", values={"x": "1"}), over("vars.list", ASK), input={"items": ITEMS[:2]})
    assert run.status == "stuck"  # nothing gives it
    run = Driven(over("input.items", again, over("steps.find.items", name="inner")), input={"items": ITEMS[:2]})
    for _ in range(2):
        run.settle("find", output={"items": ITEMS[-1:]})
        run.settle("ask")
    assert run.status == "done" and [asked.input["id"] for asked in run.asked("ask")] == ["o-49", "o-49"]


def test_what_another_branch_may_change_is_kept() -> None:
    other = Branch("x", (Wait("nap", for_=timedelta(seconds=1)), Assign("change", values={"list": "[]"})))
    run = Driven(KEEP, Fork("f", branches=(Branch("y", (over("vars.list"),)), other)), input={"items": ITEMS[:3]})
    run.settle("ask")
    run.later(seconds=2)
    assert run.state.vars == {"list": []}
    assert through(run) == ["o-0", "o-1", "o-2"]


def test_a_part_of_an_outer_item_is_named_too() -> None:
    inner = For(
        "lines", each="line", in_="one.lines", steps=(Call("ask", action="s.a", with_={"id": "[one.id, line]"}),)
    )
    run = Driven(over("input.items", inner), input={"items": ITEMS[:2]})
    assert run.token("ask").loops == {"each": (0, None), "lines": (0, None)}
    assert through(run) == [["o-0", 0], ["o-0", 1], ["o-1", 1], ["o-1", 2]]


@pytest.mark.parametrize("given", [{"items": "text"}, {"items": None}, {}])
def test_what_is_no_list_is_an_error_of_the_expression(given: dict[str, object]) -> None:
    run = Driven(over("input.items"), input=given)
    assert run.status == "stuck" and run.state.error is not None and run.state.error["name"] == "expression"


def test_a_state_of_before_with_its_items_goes_on() -> None:
    run = Driven(over("input.items"), input={"items": ITEMS[:3]})
    token = run.token("ask")
    loops = {"each": [0, ITEMS[:3]]}
    body = json.loads(json.dumps(state_body(run.state)))
    body["tokens"] = [{**body["tokens"][0], "loops": loops}]
    run.run = run.run.changed(state=state_from(body), input={})
    assert token.id == run.token("ask").id
    assert through(run) == ["o-0", "o-1", "o-2"]


def test_a_run_that_is_migrated_in_a_loop_goes_on_with_the_list_that_it_began_with() -> None:
    run = Driven(over("input.items"), input={"items": ITEMS[:3], "others": []})
    run.settle("ask")
    new = Program.compile(journey(over("input.others")), CEL)
    state = carried(run.program, new, whole(run.program, run.run, run.now))
    run.program, run.run = new, run.run.changed(state=state)
    run.tell("migrate")
    assert through(run) == ["o-0", "o-1", "o-2"] and run.status == "done"
