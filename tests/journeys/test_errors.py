"""Where errors go: catches, retries, compensation, and what a journey says of what nobody catches."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from cxplane.domain.journey import (
    AskPerson,
    Assign,
    Branch,
    Call,
    Checkpoint,
    Expected,
    For,
    Fork,
    Listen,
    Raise,
    Retry,
    RunJourney,
    Say,
    Step,
    Try,
    Undo,
    Wait,
)
from cxplane.domain.run import MoveTask, StopRun, UndoRequest
from tests.journeys.driving import START, Driven

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
A, B, C = (Call(name, action=f"sys.{name}") for name in "abc")
SEEN = Assign("seen", values={"e": "error"})


def caught(*steps: Step, **more: object) -> Driven:
    return Driven(Try("t", steps=steps, catch=(SEEN,), **more), C)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "more", "name"),
    [
        ("refused", {"reasons": ("too much",)}, "refused"),
        ("rejected", {}, "rejected"),
        ("expired", {}, "expired"),
        ("failed", {"kind": "refused", "error": "no"}, "failed"),
    ],
)
def test_how_a_call_ended_is_an_error_of_that_name(status: str, more: dict[str, object], name: str) -> None:
    run = caught(A)
    run.settle("a", status, **more)
    error = run.state.vars["e"]
    assert isinstance(error, dict) and (error["name"], error["step"]) == (name, "a")
    assert run.at() == [("c", "call")] and run.token("c").caught == {}


def test_a_system_that_does_not_answer_is_asked_again_ever_later_until_patience_is_over() -> None:
    run = caught(Call("a", action="s.a", patience=timedelta(minutes=10)))
    waits = []
    while run.at()[0][0] == "a":
        run.settle("a", "failed", kind="retry")
        if (token := next((t for t in run.state.tokens if t.at == "a"), None)) is None:
            break
        assert token.wait is not None and token.wait.due is not None
        waits.append((datetime.fromisoformat(token.wait.due) - run.now).total_seconds())
        run.later(seconds=waits[-1])
    assert waits == [10, 20, 40, 80, 160, 290]
    assert run.now == START + 10 * MINUTE and run.state.vars["e"]["name"] == "unavailable"  # type: ignore[index,call-overload]
    assert len({e.request for e in run.asked("a")}) == 7


def test_a_refusal_that_stands_only_for_now_is_waited_out_like_a_system_that_does_not_answer() -> None:
    run = caught(Call("a", action="s.a", patience=timedelta(minutes=1)))
    why = "'account' could not be had: no answer"
    for seconds in (10, 20, 30):
        run.settle("a", "refused", kind="retry", reasons=(why,))
        assert run.at() == [("a", "retry")]
        run.later(seconds=seconds)
    run.settle("a", "refused", kind="retry", reasons=(why,))
    error = run.state.vars["e"]
    assert isinstance(error, dict) and (error["name"], error["text"]) == ("unavailable", why)
    assert len({e.request for e in run.asked("a")}) == 4


def test_a_signal_that_does_not_come_an_answer_and_a_journey_that_fails_are_errors() -> None:
    run = caught(Listen("l", signals=(Expected("go"),), within=HOUR))
    run.later(hours=1)
    assert run.state.vars["e"]["name"] == "timeout"  # type: ignore[index,call-overload]
    run = caught(AskPerson("q", team="desk", due=HOUR))
    run.later(hours=1)
    assert run.state.vars["e"]["name"] == "expired"  # type: ignore[index,call-overload]
    run = caught(RunJourney("kid", journey="k"))
    run.child("cancelled")
    assert run.state.vars["e"]["name"] == "journey"  # type: ignore[index,call-overload]
    assert not [e for e in run.effects if isinstance(e, StopRun)]


def test_expressions_and_raise_are_errors() -> None:
    assert caught(Assign("s", values={"n": "input.no"})).state.vars["e"]["name"] == "expression"  # type: ignore[index,call-overload]
    error = caught(Raise("r", error="own", text="'so ' + run.id")).state.vars["e"]
    assert error == {"name": "own", "text": "so run_1", "step": "r"}


def test_the_innermost_catch_that_takes_it_gets_it() -> None:
    inner = Try("in_", errors=("failed",), steps=(A,), catch=(Assign("s", values={"who": "'inner'"}),))
    outer = Try("out", steps=(inner,), catch=(Assign("s2", values={"who": "'outer'"}),))
    run = Driven(outer, C)
    run.settle("a", "failed")
    assert run.state.vars == {"who": "inner"}
    run = Driven(outer, C)
    run.settle("a", "refused")
    assert run.state.vars == {"who": "outer"}


def test_a_condition_of_a_catch_sees_the_new_error_not_the_one_around_it() -> None:
    inner = Try("in_", catch_when="error.name == 'second'", steps=(Raise("r2", error="second"),), catch=(SEEN,))
    run = Driven(Try("zz", steps=(Raise("r1", error="first"),), catch=(inner,)), C)
    assert run.state.vars["e"]["name"] == "second"  # type: ignore[index,call-overload]


def test_an_error_in_a_catch_goes_further_out() -> None:
    inner = Try("in_", steps=(Raise("r1", error="first"),), catch=(Raise("r2", error="second"),))
    run = Driven(Try("out", steps=(inner,), catch=(SEEN,)), C)
    assert run.state.vars["e"]["name"] == "second"  # type: ignore[index,call-overload]


@pytest.mark.parametrize("condition", ["error.name == 'other'", "error.nothing"])
def test_a_condition_that_fails_takes_nothing(condition: str) -> None:
    assert caught(Raise("r", error="own"), catch_when=condition).status == "stuck"


def test_no_catch_takes_a_checkpoint() -> None:
    run = caught(Checkpoint("p", check="false"))
    assert run.status == "stuck" and run.at() == [("p", "person")]


def test_a_try_begins_again_ever_later_and_then_does_what_its_catch_says() -> None:
    run = caught(A, B, retry=Retry(times=3, delay=MINUTE, backoff=3, longest=5 * MINUTE))
    waits = []
    for _ in range(3):
        run.settle("a")
        run.settle("b", "failed")
        wait = run.token("t").wait
        assert wait is not None and wait.kind == "retry" and wait.due is not None
        waits.append(datetime.fromisoformat(wait.due) - run.now)
        run.later(hours=1)
    assert waits == [MINUTE, 3 * MINUTE, 5 * MINUTE] and run.at() == [("a", "call")]
    run.settle("a")
    run.settle("b", "failed")
    assert run.at() == [("c", "call")] and len({e.request for e in run.asked("a")}) == 4


def test_a_try_that_is_entered_again_has_all_its_retries() -> None:
    retry = Retry(times=1, delay=MINUTE)
    run = Driven(For("f", in_="[1, 2]", steps=(Try("t", steps=(A,), retry=retry),)), C)
    for _ in range(2):
        run.settle("a", "failed")
        assert run.at() == [("t", "retry")]
        run.later(minutes=1)
        run.settle("a", "failed")
    assert run.at() == [("c", "call")]


def test_what_was_done_inside_is_taken_back_in_reverse_one_after_the_other_before_the_catch() -> None:
    run = Driven(C, Try("t", steps=(A, B, Raise("r", error="own")), compensate=True, catch=(Say("sorry"),)))
    for step in "cab":
        run.settle(step)
    assert run.undone() == ["b"]
    run.undo()
    assert run.undone() == ["b", "a"] and run.at() == [("t", "undo")]
    run.undo()
    assert run.at() == [("sorry", "call")] and [d.undone for d in run.state.did] == [False, True, True]


def test_a_round_of_a_loop_takes_back_what_this_round_did() -> None:
    body = Try("t", steps=(A, Raise("r", error="own", when="item == 2")), compensate=True)
    run = Driven(For("f", in_="[1, 2]", steps=(body,)), C)
    run.settle("a")
    run.settle("a")
    run.undo()
    assert run.at() == [("c", "call")] and [d.undone for d in run.state.did] == [False, True]


def test_an_error_in_a_branch_leaves_the_other_branches() -> None:
    ask = AskPerson("q", team="desk")
    run = caught(Fork("f", branches=(Branch("x", (A,)), Branch("y", (ask,)), Branch("z", (B,)))))
    lost = run.token("b").wait
    run.settle("a", "refused")
    assert sorted(run.at()) == [("b", "call"), ("c", "call")] and run.token("b").lost
    assert [e.how for e in run.effects if isinstance(e, MoveTask)] == ["closed"]
    assert lost is not None
    run.settle("b")
    run.settle("c")
    assert run.status == "done"


@pytest.mark.parametrize("on_failure", ["fail", "compensate"])
def test_a_refusal_that_nobody_catches_ends_the_run(on_failure: str) -> None:
    run = Driven(A, B, on_failure=on_failure)
    run.settle("a")
    run.settle("b", "refused")
    if on_failure == "compensate":
        assert run.status == "cancelling" and run.undone() == ["a"]
        run.undo()
    assert run.status == "failed" and run.state.error and run.state.error["name"] == "refused"


def test_what_nobody_catches_is_handed_to_a_person_and_other_branches_go_on() -> None:
    run = Driven(Fork("f", branches=(Branch("x", (A,)), Branch("y", (B, C)))))
    run.settle("a", "refused", reasons=("no",))
    (task,) = run.tasks("stuck")
    assert (task.team, task.step, task.text) == ("desk", "a", "no")
    assert task.show["error"] == "refused" and set(task.show["left"]) >= {"a", "b", "c"}
    run.settle("b")
    assert run.status == "stuck" and ("c", "call") in run.at()


def test_each_time_it_is_stuck_there_is_another_task() -> None:
    run = Driven(Call("a", action="s.a", when="input.no"))
    for _ in range(3):
        run.tell("retry")
    tasks = [task.task for task in run.tasks("stuck")]
    assert len(tasks) == len(set(tasks)) == 4


def test_undo_takes_back_the_calls_it_names_and_goes_on() -> None:
    run = Driven(A, B, Undo("back", steps=("a",)), C)
    run.settle("a")
    run.settle("b")
    assert run.undone() == ["a"]
    run.undo()
    assert run.at() == [("c", "call")]


def test_undo_of_everything_passes_over_what_is_undone_already() -> None:
    run = Driven(A, B, Undo("one", steps=("b",)), Undo("rest"), C)
    run.settle("a")
    run.settle("b")
    run.undo()
    run.undo()
    assert run.undone() == ["b", "a"] and run.at() == [("c", "call")]


@pytest.mark.parametrize("status", ["failed", "refused"])
def test_an_undo_that_a_system_does_not_answer_is_asked_again(status: str) -> None:
    run = Driven(A, Undo("back"), C)
    run.settle("a")
    run.undo(status, kind="retry")
    assert run.at() == [("back", "retry")]
    run.later(seconds=10)
    first, second = (e.request for e in run.effects if isinstance(e, UndoRequest))
    assert first != second
    run.undo()
    assert run.at() == [("c", "call")]


@pytest.mark.parametrize("status", ["refused", "rejected", "expired", "failed"])
def test_an_undo_that_cannot_be_done_is_never_dropped(status: str) -> None:
    run = Driven(A, B, Undo("back"), C)
    run.settle("a")
    run.settle("b")
    run.undo(status)
    assert run.status == "stuck" and run.at() == [("back", "person")]
    run.tell("retry")
    run.undo()
    run.undo()
    assert run.at() == [("c", "call")] and all(d.undone for d in run.state.did)


def test_a_while_that_fails_after_a_fork_is_an_error_of_the_loop() -> None:
    fork = Fork("f", branches=(Branch("x", (A,)), Branch("y", (Wait("w", for_=HOUR),))))
    loop = For("loop", in_="[1, 2]", while_="item == 1 || input.no", steps=(fork,))
    run = Driven(Try("t", steps=(loop,), catch=(SEEN,)), C)
    run.settle("a")
    run.later(hours=1)
    assert run.at() == [("c", "call")] and run.state.vars["e"]["step"] == "loop"  # type: ignore[index,call-overload]


def test_what_catches_its_own_endless_round_ends_at_a_person() -> None:
    again = Assign("again", values={"n": "1"}, then="again")
    run = Driven(Try("t", steps=(again,), catch=(Assign("too", values={"n": "1"}, then="too"),)))
    assert run.status == "stuck" and run.at() == [("too", "person")]
