"""No run goes on for ever unseen: it comes to a person, who can let it go on or end it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cxplane.domain.journey import Assign, Bounds, Branch, Emit, Fork, RunJourney, Step, Switch, Try, Wait
from cxplane.domain.run import SendSignal, Started, StartRun
from tests.journeys.driving import Driven

NAP = Wait("nap", for_=timedelta(seconds=1), then="nap")
SIGNAL, CHILD = Emit("tell", signal="case.opened"), RunJourney("child", journey="other", wait=False)


def bounded(*steps: Step, **about: Any) -> Driven:
    run = Driven(*steps, start=False, on_failure=about.pop("on_failure", "hand_over"))
    run.run = run.run.changed(**about)
    run.take(Started())
    return run


def error(run: Driven) -> tuple[str, str]:
    assert run.state.error is not None
    return run.state.error["name"], run.state.error["step"]


@pytest.mark.parametrize("on_failure", ["hand_over", "compensate", "fail"])
def test_a_run_that_naps_in_a_loop_is_stuck_whatever_its_journey_says_of_failures(on_failure: str) -> None:
    run = bounded(NAP, bounds=Bounds(steps=10, within=timedelta(hours=1)), on_failure=on_failure)
    run.later(minutes=2)
    assert (run.status, error(run), run.state.visits) == ("stuck", ("runaway", "nap"), {"nap": 10})
    assert run.tasks("stuck")[0].team == "desk"
    assert "10 steps within 1h, 10 times nap" in run.tasks("stuck")[0].text


def test_no_catch_takes_it() -> None:
    run = bounded(Try("t", steps=(NAP,), catch=(Assign("no", values={"x": "1"}),)), bounds=Bounds(steps=5))
    run.later(minutes=1)
    assert (run.status, error(run)) == ("stuck", ("runaway", "nap"))


def test_told_to_retry_it_goes_as_far_again_and_told_to_cancel_it_ends() -> None:
    run = bounded(NAP, bounds=Bounds(steps=10))
    run.later(minutes=1)
    run.tell("retry")
    assert run.status == "waiting"
    run.later(minutes=1)
    assert (run.status, run.state.visits) == ("stuck", {"nap": 20})
    run.tell("cancel")
    assert run.status == "cancelled"


def test_skipped_it_goes_on_behind_the_loop() -> None:
    again = Switch("again", cases=())
    run = bounded(
        replace(NAP, then=None), replace(again, then="nap"), Assign("end", values={"x": "1"}), bounds=Bounds(steps=4)
    )
    run.later(minutes=1)
    assert error(run)[1] in ("nap", "again")
    run.tell("move", step="end")
    assert (run.status, run.state.vars) == ("done", {"x": 1})


def test_a_slow_loop_goes_on_for_as_long_as_it_likes() -> None:
    run = bounded(NAP, bounds=Bounds(steps=10, within=timedelta(seconds=9)))
    run.later(minutes=5)
    assert run.status == "waiting" and run.state.visits["nap"] > 200


def test_an_ordinary_run_keeps_nothing_of_it() -> None:
    run = bounded(NAP)
    run.later(hours=1)
    assert run.state.pace is None


def test_every_branch_that_goes_round_is_stuck() -> None:
    naps = [replace(NAP, name=f"nap{n}", then=f"nap{n}") for n in (1, 2)]
    run = bounded(Fork("f", branches=tuple(Branch(nap.name, (nap,)) for nap in naps)), bounds=Bounds(steps=20))
    run.later(minutes=1)
    assert run.status == "stuck" and len(run.tasks("stuck")) == 2
    run.tell("retry", step="nap1")
    run.later(minutes=1)
    assert [t.step for t in run.tasks("stuck")][2:] == ["nap1"]


@pytest.mark.parametrize("step", [SIGNAL, CHILD])
def test_a_run_that_is_too_deep_starts_no_other_and_says_why(step: Step) -> None:
    about: dict[str, Any] = {"bounds": Bounds(depth=3), "starting": frozenset({"case.opened"})}
    fine, deep = (bounded(step, depth=depth, **about) for depth in (2, 3))
    assert fine.status == "done" and isinstance(fine.effects[0], SendSignal | StartRun)
    assert (deep.status, error(deep)) == ("stuck", ("runaway", step.name))
    assert not any(isinstance(e, SendSignal | StartRun) for e in deep.effects)
    assert "is 3 deep" in deep.tasks("stuck")[0].text
    deep.tell("skip")
    assert deep.status == "done"


def test_a_signal_that_starts_nothing_is_sent_from_any_depth() -> None:
    run = bounded(SIGNAL, depth=99, starting=frozenset({"another"}))
    assert run.status == "done" and isinstance(run.effects[0], SendSignal)
