"""What people may tell a run to do, and what they may not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cxplane.domain.journey import (
    AskPerson,
    Branch,
    Call,
    Checkpoint,
    Expected,
    For,
    Fork,
    Listen,
    Raise,
    RunJourney,
    Say,
    Step,
    Try,
    Undo,
    Wait,
)
from cxplane.domain.run import MoveTask, Settled, Started, StopRun
from tests.journeys.driving import Driven

HOUR = timedelta(hours=1)
A, B, C = (Call(name, action=f"sys.{name}") for name in "abc")


@pytest.mark.parametrize(
    "step",
    [
        A,
        Say("a", with_={"text": "'x'"}),
        Wait("a", for_=HOUR),
        Listen("a", signals=(Expected("x"),)),
        AskPerson("a", team="desk"),
        RunJourney("a", journey="k"),
        Fork("a", branches=(Branch("x", (C,)), Branch("y", (AskPerson("q", team="desk"),)))),
        Try("a", steps=(C,)),
        For("a", in_="[1]", steps=(C,)),
        Raise("a", error="own"),
    ],
    ids=lambda step: step.kind,
)
def test_a_run_can_be_cancelled_at_every_step_and_takes_back_what_it_did(step: Step) -> None:
    run = Driven(B, step)
    run.settle("b")
    waits = [t.wait.request for t in run.state.tokens if t.wait is not None and t.wait.kind == "call"]
    run.tell("cancel")
    for request in waits:
        assert run.status == "cancelling" and not run.undone()
        run.take(Settled(request or "", "refused"))
    assert run.undone() == ["b"]
    run.undo()
    assert run.status == "cancelled" and not run.state.tokens
    opened = {task.task for task in run.tasks()}
    assert {e.task for e in run.effects if isinstance(e, MoveTask) and e.how == "closed"} == opened


def test_a_cancelled_run_may_keep_what_it_did() -> None:
    run = Driven(A, Wait("w", for_=HOUR))
    run.settle("a")
    run.tell("cancel", compensate=False)
    assert run.status == "cancelled" and not run.undone()


def test_a_call_that_is_done_after_the_cancel_is_taken_back_too() -> None:
    run = Driven(A)
    run.tell("cancel")
    run.settle("a")
    assert run.undone() == ["a"]


def test_a_journey_that_it_started_is_stopped() -> None:
    run = Driven(RunJourney("kid", journey="k"))
    run.tell("cancel")
    assert [type(e) for e in run.effects][-1] is StopRun


def test_a_suspended_run_keeps_what_happens_and_begins_nothing() -> None:
    run = Driven(A, B)
    run.tell("suspend")
    run.settle("a", output={"n": 1})
    assert run.status == "suspended" and run.state.steps == {"a": {"n": 1}} and not run.asked("b")
    run.tell("resume")
    assert run.status == "waiting" and run.asked("b")


def test_what_falls_due_while_suspended_is_tried_when_it_is_resumed() -> None:
    run = Driven(A)
    run.settle("a", "failed", kind="retry")
    run.tell("suspend")
    run.later(hours=2)
    assert len(run.asked()) == 1
    run.tell("resume")
    run.later()
    assert len(run.asked()) == 2


def test_taking_back_rests_while_suspended() -> None:
    run = Driven(A, B, Undo("back"), C)
    run.settle("a")
    run.settle("b")
    run.tell("suspend")
    run.undo()
    assert run.undone() == ["b"]
    run.tell("resume")
    run.later()
    assert run.undone() == ["b", "a"]


def test_a_run_that_was_suspended_before_it_began_begins_when_resumed() -> None:
    run = Driven(A, start=False)
    run.tell("suspend")
    run.take(Started())
    assert run.status == "suspended" and not run.asked()
    run.tell("resume")
    assert run.at() == [("a", "call")]


def test_a_run_that_is_told_to_migrate_before_it_began_still_begins() -> None:
    run = Driven(A, start=False)
    run.tell("migrate")
    assert run.status == "ready"
    run.take(Started())
    assert run.at() == [("a", "call")]


def test_a_stuck_step_is_tried_again_under_a_new_id_or_skipped() -> None:
    run = Driven(A, B)
    run.settle("a", "refused")
    run.tell("retry", step="a")
    assert run.status == "waiting" and len({e.request for e in run.asked("a")}) == 2
    run.settle("a", "refused")
    run.tell("skip")
    assert run.at() == [("b", "call")] and run.state.error is None


def test_a_call_that_waits_for_its_next_try_is_tried_at_once() -> None:
    run = Driven(A)
    run.settle("a", "failed", kind="retry")
    run.tell("retry")
    assert len(run.asked()) == 2 and run.at() == [("a", "call")]


def test_an_undo_that_cannot_be_done_may_be_skipped_by_a_person() -> None:
    run = Driven(A, Undo("back"), C)
    run.settle("a")
    run.undo("refused")
    with pytest.raises(ValueError, match="being taken back"):
        run.tell("move", step="c")
    run.tell("skip")
    assert run.at() == [("c", "call")] and not run.state.did[0].undone


def test_an_expression_that_fails_again_leaves_it_stuck() -> None:
    run = Driven(Call("a", action="s.a", with_={"n": "input.no"}))
    run.tell("retry")
    assert run.status == "stuck"


def test_nothing_skips_a_checkpoint_nor_moves_around_it() -> None:
    point = Checkpoint("p", check="input.no", before=("sys.a",))
    run = Driven(point, A, B)
    with pytest.raises(ValueError, match="nothing skips it"):
        run.tell("skip")
    run.tell("move", step="a")
    assert run.at() == [("a", "person")] and not run.asked()
    run.tell("skip")
    assert run.at() == [("b", "call")] and not run.asked("a")


@pytest.mark.parametrize(
    ("what", "step", "why"),
    [
        ("move", "nowhere", "no step"),
        ("move", "in_fork", "stands in the fork"),
        ("move", "in_loop", "stands in the loop"),
        ("move", "in_catch", "is for what t catches"),
        ("retry", None, "nothing is stuck"),
        ("skip", "w", "nothing is stuck"),
        ("resume", None, "not suspended"),
        ("dance", None, "cannot be told"),
    ],
)
def test_what_cannot_be_is_said_in_words(what: str, step: str | None, why: str) -> None:
    run = Driven(
        Wait("w", for_=HOUR),
        Fork("f", branches=(Branch("x", (Wait("in_fork", for_=HOUR),)),)),
        For("l", in_="[1]", steps=(Wait("in_loop", for_=HOUR),)),
        Try("t", steps=(A,), catch=(Wait("in_catch", for_=HOUR),)),
    )
    with pytest.raises(ValueError, match=why):
        run.tell(what, step=step)


def test_a_run_in_a_fork_or_waiting_for_a_request_is_not_moved() -> None:
    with pytest.raises(ValueError, match="in a fork"):
        Driven(Fork("f", branches=(Branch("x", (A,)), Branch("y", (B,)))), C).tell("move", step="c")
    with pytest.raises(ValueError, match="settle that first"):
        Driven(A, B).tell("move", step="b")


def test_a_run_is_moved_to_another_step_and_its_task_closed() -> None:
    run = Driven(AskPerson("q", team="desk"), A, B)
    run.tell("move", step="b")
    assert run.at() == [("b", "call")] and [type(e) for e in run.effects][-2] is MoveTask


def test_a_run_that_is_told_to_fail_is_over_at_once() -> None:
    run = Driven(Fork("f", branches=(Branch("x", (A,)), Branch("y", (Wait("w", for_=HOUR),)))))
    run.tell("fail")
    assert run.status == "failed" and not run.undone()
