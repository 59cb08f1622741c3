"""What each task word does, and how a run goes from step to step."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cxplane.domain.journey import (
    AskPerson,
    Assign,
    Branch,
    Call,
    Case,
    Checkpoint,
    Do,
    Emit,
    Expected,
    For,
    Fork,
    Goal,
    Listen,
    RunJourney,
    Say,
    Step,
    Switch,
    Undo,
    Wait,
)
from cxplane.domain.run import Due, Event, Heard, MoveTask, SendSignal, Settled, Started, StartRun, StopRun, Unasked
from tests.journeys.driving import START, Driven

HOUR = timedelta(hours=1)
A, B, C = (Call(name, action=f"sys.{name}") for name in "abc")


def test_a_call_is_asked_with_its_input_and_waits_for_how_it_ends() -> None:
    call = Call("pay", action="s.pay", with_={"n": "input.n * 2"}, recorded={"why": "'x'"}, reason="'because'")
    run = Driven(call, Assign("end_", values={"id": "steps.pay.id"}), input={"n": 2})
    (asked,) = run.asked()
    assert (asked.action, asked.input, asked.recorded, asked.reason) == ("s.pay", {"n": 4}, {"why": "x"}, "because")
    assert run.status == "waiting" and run.at() == [("pay", "call")]
    run.settle("pay", output={"id": "p1"})
    assert run.status == "done" and run.state.vars == {"id": "p1"}
    assert [(d.step, d.action) for d in run.state.did] == [("pay", "s.pay")]


@pytest.mark.parametrize("status", ["held", "running", "unknown", "stuck"])
def test_a_call_that_has_not_ended_goes_on_waiting(status: str) -> None:
    run = Driven(A)
    before = run.state
    run.settle("a", status)
    assert run.state == before


def test_a_call_that_an_approver_edited_waits_for_the_one_in_its_place() -> None:
    run = Driven(A)
    run.settle("a", "replaced", replaced_by="req_new")
    assert run.take(Settled(run.asked()[0].request, "done")).went == ()
    run.take(Settled("req_new", "done"))
    assert run.status == "done" and run.state.did[0].request == "req_new"


def test_a_call_that_never_came_on_record_is_asked_again_under_the_same_id() -> None:
    run = Driven(A)
    run.take(Unasked(run.asked()[0].request))
    first, second = run.asked()
    assert first == second


def test_what_only_read_is_not_among_what_can_be_taken_back() -> None:
    run = Driven(A, B)
    run.settle("a", read=True)
    assert run.state.did == ()


def test_say_asks_for_the_journeys_action() -> None:
    run = Driven(Say("hello", with_={"text": "'Hi ' + customer"}))
    assert (run.asked()[0].action, run.asked()[0].input) == ("crm.say", {"text": "Hi c-1"})


def test_if_passes_a_step_by_together_with_its_then() -> None:
    run = Driven(Call("a", action="s.a", when="false", then="end"), B)
    assert run.at() == [("b", "call")] and "a" not in run.state.visits


def test_then_goes_to_a_step_of_the_same_list_or_to_the_end() -> None:
    run = Driven(Assign("one", values={"x": "1"}, then="c"), B, Call("c", action="s.c", then="b"))
    run.settle("c")
    assert run.at() == [("b", "call")]
    assert Driven(Assign("one", values={"x": "1"}, then="end"), B).status == "done"


def test_a_step_that_is_visited_again_asks_under_another_id() -> None:
    run = Driven(Call("a", action="s.a", then="a"))
    for _ in range(5):
        run.settle("a")
    assert len({asked.request for asked in run.asked()}) == 6


def test_a_switch_takes_the_first_case_that_holds_the_default_or_none() -> None:
    cases = (
        Case("small", "input.n < 5", (A,)),
        Case("large", "input.n < 50", then="c"),
        Case("other", None, then="end"),
    )
    assert Driven(Switch("s", cases=cases), B, C, input={"n": 1}).at() == [("a", "call")]
    assert Driven(Switch("s", cases=cases), B, C, input={"n": 9}).at() == [("c", "call")]
    assert Driven(Switch("s", cases=cases), B, C, input={"n": 99}).status == "done"
    assert Driven(Switch("s", cases=cases[:1]), B, input={"n": 9}).at() == [("b", "call")]


def test_a_case_with_both_steps_and_a_target_goes_there_after_its_steps() -> None:
    run = Driven(Switch("s", cases=(Case("x", "true", (A,), then="c"),)), B, C)
    run.settle("a")
    assert run.at() == [("c", "call")]


def test_a_loop_goes_through_its_items_while_it_may() -> None:
    loop = For("f", each="n", in_="[1, 2, 3]", while_="n < 3", steps=(Call("a", action="s.a", with_={"n": "n"}),))
    run = Driven(loop, B)
    run.settle("a")
    run.settle("a")
    assert run.at() == [("b", "call")] and [e.input for e in run.asked("a")] == [{"n": 1}, {"n": 2}]
    assert Driven(For("f", in_="[]", steps=(A,)), B).at() == [("b", "call")]


def test_loops_within_loops_know_both_items_after_they_were_stored() -> None:
    inner = For("aa", each="x", in_="[3, 4]", steps=(Call("call", action="s.a", with_={"v": "[x, y]"}),))
    run = Driven(For("zz", each="y", in_="[1, 2]", steps=(inner,)))
    while run.status == "waiting":
        run.settle("call")
    assert [e.input["v"] for e in run.asked()] == [[3, 1], [4, 1], [3, 2], [4, 2]]


def test_an_inner_loop_hides_the_item_of_an_outer_one_of_the_same_name() -> None:
    inner = For("aa", each="x", in_="[3]", steps=(Call("call", action="s.a", with_={"v": "x"}),))
    run = Driven(For("zz", each="x", in_="[1]", steps=(inner,)))
    assert run.asked()[0].input == {"v": 3}


def test_a_while_that_cannot_be_computed_is_tried_again_with_the_same_item() -> None:
    loop = For("f", in_="[1, 2]", while_="item == 1 || input.more", steps=(A,))
    run = Driven(loop, B)
    run.settle("a")
    assert run.status == "stuck" and run.at() == [("f", "person")]
    run.tell("retry")
    assert run.status == "stuck" and len(run.asked("a")) == 1
    run.tell("skip")
    assert run.at() == [("b", "call")] and run.token("b").loops == {}


def test_a_fork_of_all_waits_for_every_branch() -> None:
    run = Driven(Fork("f", branches=(Branch("x", (A,)), Branch("y", (B,)))), C)
    assert run.at() == [("f", "fork"), ("a", "call"), ("b", "call")]
    run.settle("b")
    assert ("f", "fork") in run.at()
    run.settle("a")
    assert run.at() == [("c", "call")]


def test_a_fork_of_any_goes_on_with_the_first_and_keeps_what_the_others_did() -> None:
    run = Driven(Fork("f", until="any", branches=(Branch("x", (A,)), Branch("y", (B,)))), C)
    lost = run.token("a").wait
    run.settle("b")
    assert run.token("a").lost and sorted(run.at()) == [("a", "call"), ("c", "call")]
    run.take(Settled(lost.request if lost else "", "done", {"late": True}))
    assert [d.step for d in run.state.did] == ["b", "a"] and "a" not in run.state.steps
    run.settle("c")
    assert run.status == "done"


def test_a_run_is_over_only_when_its_lost_calls_are() -> None:
    run = Driven(Fork("f", until="any", branches=(Branch("x", (A,)), Branch("y", (B,)))))
    run.settle("b")
    assert run.status == "waiting"
    run.settle("a", "failed")
    assert run.status == "done" and [d.step for d in run.state.did] == ["b"]


def test_one_signal_that_two_branches_of_any_wait_for_brings_one_of_them_on() -> None:
    x, y = (Branch(n, (Listen(f"l{n}", signals=(Expected("go"),)),)) for n in "xy")
    run = Driven(Fork("f", until="any", branches=(x, y)), A)
    run.hear("go")
    assert run.at() == [("a", "call")] and "ly" not in run.state.steps


def test_a_branch_of_any_that_is_taking_back_takes_back_to_the_end() -> None:
    x = Branch("x", (A, Undo("back", steps=("a",))))
    run = Driven(Fork("f", until="any", branches=(x, Branch("y", (B,)))), C)
    run.settle("a")
    run.settle("b")
    assert run.token("back").lost
    run.undo("failed", kind="retry")
    run.later(minutes=1)
    run.undo()
    assert [d.undone for d in run.state.did] == [True, False] and run.at() == [("c", "call")]


def test_forks_within_forks_come_together_from_inside() -> None:
    inner = Fork("g", branches=(Branch("x", (A,)), Branch("y", (B,))))
    run = Driven(Fork("f", until="any", branches=(Branch("p", (inner,)), Branch("q", (Wait("w", for_=HOUR),)))), C)
    run.settle("a")
    run.settle("b")
    assert run.at() == [("c", "call")]


def test_then_end_ends_the_whole_journey_from_within_a_fork() -> None:
    child = RunJourney("kid", journey="k")
    run = Driven(Fork("f", branches=(Branch("x", (Wait("w", for_=HOUR, then="end"),)), Branch("y", (child,)))), C)
    run.later(hours=1)
    assert run.status == "done" and [e for e in run.effects if isinstance(e, StopRun)]


def test_a_wait_lasts_as_long_as_it_says_or_until_a_time() -> None:
    run = Driven(Wait("w", for_=HOUR), Wait("v", until="run.started_at + duration('3h')"), A)
    run.later(minutes=59)
    assert run.at() == [("w", "time")]
    run.later(minutes=1)
    assert run.token("v").wait.due == (START + 3 * HOUR).isoformat()  # type: ignore[union-attr]
    run.later(hours=2)
    assert run.at() == [("a", "call")]


def test_a_time_that_rings_too_early_or_twice_changes_nothing() -> None:
    run = Driven(Wait("w", for_=HOUR), Wait("v", for_=HOUR))
    for event in (Due(1), Due(1, "remind"), Due(99)):
        before = run.state
        assert run.take(event).went == () and run.state == before
    run.later(hours=1)
    before = run.state
    run.take(Due(1))
    assert run.state == before


def test_a_listen_takes_the_signal_with_its_key_that_fits() -> None:
    run = Driven(Listen("l", signals=(Expected("go", key="input.k", where="signal.data.n > 1"),)), A, input={"k": "7"})
    for signal, key, n in (("go", "8", 2), ("gone", "7", 2), ("go", "7", 1)):
        before = run.state
        run.hear(signal, key, n=n)
        assert run.state == before
    run.hear("go", "7", n=2)
    assert run.state.steps["l"] == {"signal": "go", "data": {"n": 2}, "at": ""}


def test_each_of_several_signals_has_a_key_and_a_condition_of_its_own() -> None:
    both = (Expected("go", key="'1'", where="signal.data.n == 1"), Expected("go", key="'2'"))
    run = Driven(Listen("l", signals=both))
    run.hear("go", "1", n=2)
    assert run.status == "waiting"
    run.hear("go", "2", n=2)
    assert run.status == "done"


def test_a_listen_for_all_has_heard_each_once() -> None:
    run = Driven(
        Listen("l", until="all", signals=(Expected("x"), Expected("y"))), Listen("m", signals=(Expected("x"),))
    )
    run.hear("y", n=1)
    run.hear("y", n=2)
    run.hear("x", n=3)
    assert run.state.steps["l"] == {"y": {"n": 1}, "x": {"n": 3}} and run.at() == [("m", "signal")]


def test_emit_sends_a_signal_once_whatever_is_repeated() -> None:
    run = Driven(Emit("e", signal="z", key="'k'", data={"n": "input.n"}), A, input={"n": 1})
    (sent,) = [e for e in run.effects if isinstance(e, SendSignal)]
    assert (sent.signal, sent.key, sent.data) == ("z", "k", {"n": 1})
    again = Driven(Emit("e", signal="z", key="'k'", data={"n": "input.n"}), A, input={"n": 1})
    assert sent in again.effects


def test_a_goal_keeps_what_was_reached_with_its_evidence() -> None:
    run = Driven(Goal("g", goal="paid", achieved="input.n > 0", evidence={"n": "input.n"}), input={"n": 1})
    assert run.state.goals["paid"] == {"achieved": True, "evidence": {"n": 1}, "at": START.isoformat()}


def test_another_journey_is_started_and_its_goals_are_the_result() -> None:
    run = Driven(RunJourney("kid", journey="k", with_={"n": "1"}), Assign("s", values={"g": "steps.kid.paid.achieved"}))
    (started,) = [e for e in run.effects if isinstance(e, StartRun)]
    assert (started.journey, started.input, started.wait) == ("k", {"n": 1}, True)
    run.child("done", paid={"achieved": True})
    assert run.state.vars == {"g": True}


def test_a_journey_that_is_not_waited_for_is_only_started() -> None:
    run = Driven(RunJourney("kid", journey="k", wait=False), A)
    assert run.at() == [("a", "call")] and "run" in run.state.steps["kid"]


def test_a_checkpoint_that_is_passed_lets_its_actions_be_asked_for() -> None:
    run = Driven(Checkpoint("p", check="input.ok", before=("sys.a",)), A, input={"ok": True})
    assert run.state.passed == ("p",) and run.asked("a")


@pytest.mark.parametrize("check", ["input.ok", "input.missing", "'yes'"])
def test_a_checkpoint_that_is_not_passed_stops_at_a_person(check: str) -> None:
    run = Driven(Checkpoint("p", check=check, before=("sys.a",)), A, input={"ok": False}, on_failure="fail")
    assert run.status == "stuck" and run.state.error and run.state.error["name"] == "checkpoint" and not run.asked()


def test_a_block_and_an_empty_journey_come_to_their_end() -> None:
    assert Driven(Do("d", steps=(Do("e", steps=(Assign("s", values={"n": "1"}),)),))).status == "done"
    assert Driven().status == "done"


def test_what_goes_round_without_waiting_ends_at_a_person() -> None:
    run = Driven(Assign("s", values={"n": "1"}, then="s"))
    assert run.status == "stuck" and run.state.error and "goes round" in run.state.error["text"]


EVENTS: list[Event] = [Started(), Settled("req_x", "done"), Unasked("req_x"), Heard("go", "k", {}), Due(1)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("steps", [(A,), ()], ids=["waiting", "done"])
def test_an_event_that_concerns_nothing_changes_nothing(steps: tuple[Step, ...], event: Event) -> None:
    run = Driven(*steps)
    before = run.state
    told = run.take(event)
    assert (told.state, told.effects, told.went) == (before, (), ())


def test_the_same_events_again_give_the_same_effects() -> None:
    def once() -> Driven:
        run = Driven(A, Fork("f", branches=(Branch("x", (B,)), Branch("y", (Listen("l", signals=(Expected("go"),)),)))))
        run.settle("a", "failed", kind="retry")
        run.later(minutes=1)
        run.settle("a")
        run.hear("go")
        return run

    assert once().effects == once().effects and once().state == once().state


def test_tasks_of_branches_that_are_left_are_closed() -> None:
    ask = AskPerson("q", team="desk", text="'?'")
    run = Driven(Fork("f", until="any", branches=(Branch("x", (ask,)), Branch("y", (Wait("w", for_=HOUR),)))))
    run.later(hours=1)
    assert [e.how for e in run.effects if isinstance(e, MoveTask)] == ["closed"] and run.status == "done"
