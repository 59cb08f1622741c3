"""Work for people: approvals, choices, forms, calls by a person, hand-overs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cxplane.domain.catalog import Mode
from cxplane.domain.journey import AskPerson, Assign, Call, Checkpoint, Escalation, HandOver
from cxplane.domain.run import Answered, MoveTask
from tests.journeys.driving import START, Driven

HOUR = timedelta(hours=1)
NEXT = Call("next", action="s.next")


def moves(run: Driven) -> list[tuple[str, str | None]]:
    return [(e.how, e.team) for e in run.effects if isinstance(e, MoveTask)]


def test_a_question_is_a_task_and_its_answer_the_result() -> None:
    ask = AskPerson(
        "q", team="desk", what="choose", text="'Which?'", choices=("x", "y"), show={"n": "input.n"}, due=HOUR
    )
    run = Driven(ask, NEXT, input={"n": 1})
    (task,) = run.tasks()
    assert (task.what, task.team, task.text, task.choices, task.show) == (
        "choose",
        "desk",
        "Which?",
        ("x", "y"),
        {"n": 1},
    )
    assert task.due == (START + HOUR).isoformat()
    run.answer("q", choice="x")
    assert run.state.steps["q"] == {"choice": "x", "by": "person:lena", "at": START.isoformat(), "how": "answered"}


def test_an_answer_twice_or_to_another_task_changes_nothing() -> None:
    run = Driven(AskPerson("q", team="desk"), NEXT)
    run.answer("q", approved=True)
    before = run.state
    for task in (run.tasks()[0].task, "tsk_other"):
        assert run.take(Answered(task, {"approved": False}, "p")).went == () and run.state == before


def test_somebody_is_reminded_then_it_escalates_then_the_default_is_taken() -> None:
    escalate = Escalation(2 * HOUR, "leads")
    run = Driven(
        AskPerson("q", team="desk", due=3 * HOUR, remind=HOUR, escalate=escalate, default=False, has_default=True), NEXT
    )
    run.later(hours=1)
    run.later(hours=1)
    assert moves(run) == [("reminded", None), ("escalated", "leads")]
    run.later(hours=1)
    assert moves(run)[-1] == ("defaulted", None)
    answer = run.state.steps["q"]
    assert isinstance(answer, dict) and (answer["approved"], answer["by"], answer["how"]) == (
        False,
        "cxplane",
        "default",
    )


@pytest.mark.parametrize(("what", "name", "default"), [("choose", "choice", "x"), ("fill", "values", {"n": 1})])
def test_the_default_stands_where_the_answer_would(what: str, name: str, default: object) -> None:
    run = Driven(AskPerson("q", team="desk", what=what, due=HOUR, default=default, has_default=True), NEXT)  # type: ignore[arg-type]
    run.later(hours=1)
    assert run.state.steps["q"][name] == default  # type: ignore[index,call-overload]


def test_a_question_without_default_expires_and_is_closed() -> None:
    run = Driven(AskPerson("q", team="desk", due=HOUR), NEXT)
    run.later(hours=1)
    assert moves(run) == [("closed", None)] and run.state.error and run.state.error["name"] == "expired"


@pytest.mark.parametrize(("mode", "what"), [(Mode.PERSON, "do"), (Mode.PROPOSE, "propose")])
def test_a_call_by_a_person_is_asked_for_in_their_name(mode: Mode, what: str) -> None:
    run = Driven(Call("pay", action="s.pay", mode=mode, team="desk", with_={"n": "1"}), NEXT)
    (task,) = run.tasks()
    assert (task.what, task.action, task.show) == (what, "s.pay", {"input": {"n": 1}}) and not run.asked()
    run.answer("pay", approved=True)
    assert (run.asked()[0].caller, run.asked()[0].input) == ("person:lena", {"n": 1})


def test_a_person_may_edit_what_is_asked_and_a_retry_asks_the_same() -> None:
    run = Driven(Call("pay", action="s.pay", mode=Mode.PERSON, team="desk", with_={"n": "1"}), NEXT)
    run.answer("pay", approved=True, input={"n": 5})
    run.settle("pay", "failed", kind="retry")
    run.later(seconds=10)
    assert [(e.caller, e.input) for e in run.asked()] == [("person:lena", {"n": 5})] * 2


def test_a_person_who_does_not_do_it_rejects_it() -> None:
    run = Driven(Call("pay", action="s.pay", team="desk"), NEXT, mode=Mode.PROPOSE)
    run.answer("pay", approved=False)
    assert run.state.error and run.state.error["name"] == "rejected" and moves(run) == []


def test_a_person_is_not_asked_for_what_a_checkpoint_forbids() -> None:
    run = Driven(Call("pay", action="s.pay", team="desk", mode=Mode.PERSON), Checkpoint("p", before=("s.pay",)))
    assert [task.what for task in run.tasks()] == ["stuck"]


def test_a_hand_over_tells_what_is_done_and_waits_if_it_says_so() -> None:
    run = Driven(NEXT, HandOver("give", team="desk", text="'Please'"), Assign("by", values={"by": "steps.give.by"}))
    run.settle("next")
    (task,) = run.tasks("hand_over")
    assert task.text == "Please" and task.show["done"] == ["next"] and run.at() == [("give", "task")]
    run.answer("give", done=True)
    assert run.status == "done" and run.state.vars == {"by": "person:lena"}
    assert Driven(HandOver("give", team="desk", wait=False), NEXT).at() == [("next", "call")]
