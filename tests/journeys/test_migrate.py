"""From one version of a journey to another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cxplane.domain.journey import AskPerson, Branch, Call, Checkpoint, Expected, For, Fork, Listen, Step, Wait
from cxplane.journeys.migrate import Position, carried, preview
from cxplane.journeys.program import Program
from tests.journeys.driving import CEL, Driven, journey

HOUR = timedelta(hours=1)
A, B = Call("a", action="sys.a"), Call("b", action="sys.b")
W = Wait("w", for_=HOUR)


def program(*steps: Step) -> Program:
    return Program.compile(journey(*steps), CEL)


def seen(run: Driven, new: Program, **positions: str) -> Position:
    return preview(run.program, new, run.state, positions)


def test_a_run_whose_step_is_there_stays_there() -> None:
    assert seen(Driven(W, A), program(B, W, A)).kind == "same"


def test_a_run_whose_step_has_another_name_is_mapped_and_goes_on_there() -> None:
    run, new = Driven(W, A), program(Wait("pause", for_=HOUR), B)
    assert "say which one takes its place with --map w=STEP" in seen(run, new).why
    assert seen(run, new, w="pause") == Position("mapped", ("w",), ("pause",))
    run.program = new
    run.tell("migrate", positions={"w": "pause"})
    run.later(hours=1)
    assert run.at() == [("b", "call")] and "pause" in run.state.steps


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ((Listen("w", signals=(Expected("x"),)),), "would not be understood"),
        ((Fork("f", branches=(Branch("x", (W,)),)),), "other branches"),
        ((For("l", in_="[1]", steps=(W,)),), "in no round"),
        ((A,), "no step 'w'"),
    ],
)
def test_what_cannot_go_over_is_named_and_refused(new: tuple[Step, ...], why: str) -> None:
    run = Driven(W)
    position = seen(run, program(*new))
    assert position.kind == "impossible" and why in position.why
    run.program = program(*new)
    with pytest.raises(ValueError):
        run.tell("migrate")


def test_an_open_question_goes_only_to_a_step_that_understands_every_answer_to_it() -> None:
    def ask(name: str, what: str, *choices: str) -> AskPerson:
        return AskPerson(name, team="t", what=what, text="'?'", choices=choices)

    run = Driven(ask("q", "choose", "new", "worn"))
    assert "people were asked to choose" in seen(run, program(ask("q", "approve"))).why
    assert "people were asked to choose" in seen(run, program(ask("r", "approve")), q="r").why
    assert "no choice 'worn' any more" in seen(run, program(ask("q", "choose", "new", "old"))).why
    assert seen(run, program(ask("q", "choose", "lost", "worn", "new"))).kind == "same"


def test_a_run_that_left_its_loop_would_lose_its_items() -> None:
    assert "does not hold w" in seen(Driven(For("l", in_="[1]", steps=(W,))), program(W)).why


def test_a_run_that_is_being_ended_stays_where_it_is() -> None:
    run = Driven(A)
    run.tell("cancel")
    assert "being ended" in seen(run, run.program).why


def test_a_checkpoint_that_lies_behind_and_is_needed_ahead_keeps_a_run_back() -> None:
    point = Checkpoint("p", check="true", before=("sys.a",))
    assert "has not passed the checkpoint p" in seen(Driven(W, A), program(point, W, A)).why
    assert seen(Driven(W, A), program(W, point, A)).kind == "same"
    assert seen(Driven(point, W, A), program(point, W, A)).kind == "same"


def test_a_checkpoint_that_checks_otherwise_now_counts_as_not_passed_and_holds_what_it_guards() -> None:
    run = Driven(Checkpoint("p", check="true", before=("sys.a",)), W, A)
    new = program(Checkpoint("p", check="true && true", before=("sys.a",)), W, A)
    assert seen(run, new).kind == "impossible" and carried(run.program, new, run.state).passed == ()
    run.run = run.run.changed(state=carried(run.program, new, run.state))
    run.program = new
    run.later(hours=1)
    assert run.status == "stuck" and not run.asked()


def test_a_call_that_waits_for_its_next_try_is_held_by_a_new_checkpoint() -> None:
    run = Driven(A)
    run.settle("a", "failed", kind="retry")
    run.program = program(Checkpoint("p", check="true", before=("sys.a",)), A)
    run.tell("migrate")
    run.later(seconds=10)
    assert run.status == "stuck" and len(run.asked()) == 1


def test_what_was_done_has_its_new_name() -> None:
    run = Driven(A, W)
    run.settle("a", output={"n": 1})
    run.program = program(Call("aa", action="sys.a"), W)
    run.tell("migrate", positions={"a": "aa"})
    assert run.state.steps == {"aa": {"n": 1}} and run.state.did[0].step == "aa" and run.state.visits["aa"] == 1
