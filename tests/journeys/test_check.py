"""What can be known to be wrong with a journey before it runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cxplane.domain.journey import (
    Assign,
    Branch,
    Call,
    Case,
    Checkpoint,
    Do,
    Expected,
    For,
    Fork,
    Listen,
    Raise,
    Start,
    Step,
    Switch,
    Try,
    Wait,
)
from cxplane.journeys.check import mistakes
from tests.journeys.driving import CEL, journey

PAY = Call("pay", action="claims.pay")
POINT = Checkpoint("point", check="true", text="t", before=("claims.pay",))


def told(*steps: Step, **more: object) -> list[str]:
    return [f"{step}: {what} ({hint})" for step, _, what, hint in mistakes(journey(*steps, **more), CEL)]


def of(*steps: Step, **more: object) -> str:
    (one,) = told(*steps, **more)
    return one


def test_a_journey_without_mistakes_has_none() -> None:
    assert told(Assign("a", values={"n": "input.x"}), Call("b", action="c.d", with_={"n": "vars.n"})) == []


def test_an_expression_that_cannot_be_compiled_is_told_with_its_step_and_line() -> None:
    ((step, line, what, _),) = mistakes(journey(Assign("a", line=7, values={"n": "1 +"})), CEL)
    assert (step, line) == ("a", 7) and what.startswith("set.n: ")


def test_names_are_known_where_they_stand() -> None:
    assert "nput is not known here (did you mean input?)" in of(Assign("a", values={"n": "nput.x"}))
    assert "inside a catch only" in of(Assign("a", values={"n": "error.name"}))
    assert "steps.NAME.data" in of(Assign("a", values={"n": "signal.data"}))
    assert "line is not known" in of(
        For("f", each="line", in_="[1]", steps=(Assign("a", values={"n": "line"}),)), Assign("b", values={"m": "line"})
    )
    assert "line is not known" in of(For("f", each="line", in_="line", steps=(Assign("a", values={"n": "line"}),)))


def test_an_error_is_known_in_the_catch_and_its_condition_a_signal_in_where() -> None:
    body = (Listen("l", signals=(Expected("x", where="signal.data.n == 1"),)),)
    catch = (Assign("a", values={"n": "error.text"}),)
    assert told(Try("t", steps=body, catch_when="error.name == 'timeout'", catch=catch)) == []
    assert "error has no message" in of(Try("t", steps=body, catch_when="error.message == ''", catch=()))


def test_the_names_of_a_comprehension_and_words_in_texts_are_nobodys() -> None:
    text = "'steps.nowhere vars.x ' + string(input.xs.filter(steps, steps.odd == 1).size())"
    assert told(Assign("a", values={"n": text})) == []


def test_steps_vars_and_input_that_are_read_exist() -> None:
    assert "there is no step pai (did you mean pay?)" in of(PAY, Assign("a", values={"n": "steps.pai.id"}))
    assert "no `set` gives nn" in of(Assign("a", values={"n": "has(vars.nn)"}))
    assert "which leaves no result (read vars.NAME)" in of(
        Assign("a", values={"n": "1"}), Assign("b", values={"m": "steps.a.n"})
    )
    known = {"type": "object", "properties": {"amount": {"type": "integer"}}}
    assert "the input has no amont (did you mean amount?)" in of(Assign("a", values={"n": "input.amont"}), input=known)
    assert told(Assign("a", values={"n": "input.other"}), input=known | {"additionalProperties": True}) == []


def test_a_start_knows_the_signal_and_nothing_of_the_run() -> None:
    good = Start("x", when="signal.data.n > 0", with_={"n": "signal.data.n"}, customer="signal.data.c", line=3)
    assert told(Wait("w", for_=timedelta(1)), start=(good,)) == []
    ((step, line, what, hint),) = mistakes(
        journey(Wait("w", for_=timedelta(1)), start=(Start("x", when="input.n > 0", line=3),)), CEL
    )
    assert (step, line) == ("", 3) and "input is not known" in what and "signal and now" in hint


@pytest.mark.parametrize(
    "before",
    [
        Raise("r", error="own"),
        Wait("r", for_=timedelta(1), then="end"),
        Do("r", steps=(Raise("r1", error="own"),)),
        Switch("r", cases=(Case("a", "true", (Raise("r1", error="own"),)), Case("b", None, then="end"))),
        Fork("r", branches=(Branch("a", (Raise("r1", error="own"),)), Branch("b", (Wait("w", for_=timedelta(1)),)))),
        Try("r", steps=(Raise("r1", error="own"),), catch=(Raise("r2", error="own"),)),
    ],
)
def test_a_step_that_is_never_reached_is_told(before: Step) -> None:
    assert "pay: it is never reached: nothing goes on from r to it" in of(before, PAY, Wait("last", for_=timedelta(1)))


def test_a_step_after_one_that_may_be_passed_by_is_reached() -> None:
    assert told(Raise("r", error="own", when="input.bad"), PAY) == []
    assert told(Wait("w", when="input.bad", for_=timedelta(1), then="end"), PAY) == []
    jump = Wait("w", for_=timedelta(1), then="last")
    assert told(jump, Wait("x", for_=timedelta(1)), Wait("last", for_=timedelta(1)))[0].startswith(
        "x: it is never reached"
    )


def test_a_checkpoint_stands_before_what_it_guards() -> None:
    assert told(POINT, PAY) == []
    assert told(POINT, Do("d", steps=(PAY,))) == []
    assert told(Do("d", steps=(POINT, PAY))) == []
    assert "not every way to it passes the checkpoint point" in of(PAY, POINT)


@pytest.mark.parametrize(
    "around",
    [
        Switch("s", cases=(Case("a", "true", (POINT,)), Case("b", None))),
        Switch("s", cases=(Case("a", "true", (POINT,)),)),
        Fork("s", until="any", branches=(Branch("a", (POINT,)), Branch("b", (Wait("w", for_=timedelta(1)),)))),
        For("s", in_="[]", steps=(POINT,)),
        Try("s", steps=(POINT,), catch=(Wait("w", for_=timedelta(1)),)),
        Do("s", when="input.x", steps=(POINT,)),
    ],
)
def test_a_checkpoint_that_some_way_goes_around_guards_nothing(around: Step) -> None:
    assert "not every way to it passes" in of(around, PAY)


def test_a_checkpoint_in_every_branch_of_all_or_both_cases_guards() -> None:
    again = Checkpoint("again", check="true", text="t", before=("claims.pay",))
    both = (Case("a", "true", (POINT, again)), Case("b", None, then="end"))
    assert told(Switch("s", cases=both), PAY) == []
    assert told(Fork("s", branches=(Branch("a", (POINT,)), Branch("b", (Wait("w", for_=timedelta(1)),)))), PAY) == []


def test_nothing_jumps_over_a_checkpoint() -> None:
    found = told(Wait("w", when="input.x", for_=timedelta(1), then="pay"), POINT, PAY)
    assert any("then: pay jumps over the checkpoint point" in one for one in found)
    case = Switch("s", cases=(Case("a", "true", then="pay"),))
    assert any("jumps over" in one for one in told(case, Do("d", steps=(POINT,)), PAY))
    assert told(Switch("s", cases=(Case("a", "true", then="end"),)), POINT, PAY) == []


def test_a_checkpoint_has_no_condition_of_its_own() -> None:
    found = told(Checkpoint("point", when="input.x", check="true", before=("claims.pay",)), PAY)
    assert any("a checkpoint has no `if`" in one for one in found)


def test_going_back_needs_something_that_waits_on_the_way() -> None:
    count, back = Assign("count", values={"n": "1"}), Switch("back", cases=(Case("a", "vars.n < 3", then="count"),))
    assert "nothing on the way waits" in of(count, back)
    assert told(count, Wait("w", for_=timedelta(1)), back) == []
    assert told(count, Do("d", steps=(PAY,)), back) == []


def test_a_step_that_reads_what_only_comes_after_it_is_told_what_to_put_before_it() -> None:
    read = Assign("a", values={"n": "steps.pay.id"})
    assert of(read, PAY) == ("a: set.n: steps.pay is not there yet: pay comes only after a (put pay before a)")
    assert "vars.n is not there yet: s comes only after w" in of(
        Wait("w", until="vars.n"), Assign("s", values={"n": "now"})
    )
    assert "is what this step gives" in of(Call("pay", action="claims.pay", with_={"n": "steps.pay.id"}))
    case = Switch("s", cases=(Case("x", "true", (PAY,)), Case("y", None, (read,))))
    assert "put pay before a" in of(case)


def test_what_may_come_before_in_some_way_may_be_read() -> None:
    read, guarded = Assign("a", values={"n": "steps.pay.id"}), "has(steps.pay) && steps.pay.id == ''"
    assert told(Assign("a", values={"n": guarded}), PAY) == []
    assert told(Fork("f", branches=(Branch("x", (read,)), Branch("y", (PAY,))))) == []
    assert told(Try("t", steps=(PAY, Wait("w", for_=timedelta(1))), catch=(read,))) == []
    assert (
        told(For("l", in_="[1]", steps=(Switch("s", cases=(Case("x", "true", (read,)), Case("y", None, (PAY,)))),)))
        == []
    )
    assert told(Wait("w", until="'steps.pay.id'"), PAY) == []
    assert told(read, PAY, Switch("s", cases=(Case("x", "true", then="a"), Case("y", None)))) == []
    assert told(For("l", in_="[1]", while_="steps.pay.id == ''", steps=(PAY,))) == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("No parcel for order", "\"'No parcel for order'\""),
        ("input.kind == 'worn", "close the quote"),
        ("input.kind == ’worn’", "straight quotes"),
        ("input.kind = 'worn'", "compare with =="),
        ("input.x and input.y", "write && for and"),
        ("1 +", "a text stands in quotes"),
    ],
)
def test_an_expression_that_cannot_be_read_is_told_with_the_slip_it_looks_like(text: str, hint: str) -> None:
    ((_, _, _, said),) = mistakes(journey(Assign("a", values={"n": text})), CEL)
    assert hint in said
