"""What a run waits for, in times, signals and words."""

from __future__ import annotations

from datetime import timedelta

from cxplane.domain.journey import AskPerson, Branch, Call, Escalation, Expected, Fork, Listen, Raise, RunJourney, Wait
from cxplane.journeys.waits import describe_waits, due, listening
from tests.journeys.driving import START, Driven

HOUR = timedelta(hours=1)


def words(run: Driven) -> tuple[str, ...]:
    return describe_waits(run.program, run.state)[1]


def test_every_time_that_brings_a_run_on_is_told() -> None:
    run = Driven(AskPerson("q", team="desk", due=3 * HOUR, remind=HOUR, escalate=Escalation(2 * HOUR, "leads")))
    times = [("due", 3), ("remind", 1), ("escalate", 2)]
    assert due(run.state) == [(1, what, (START + n * HOUR).isoformat()) for what, n in times]


def test_a_next_try_does_not_ring_while_suspended() -> None:
    run = Driven(Call("a", action="s.a"))
    run.settle("a", "failed", kind="retry")
    assert due(run.state)
    run.tell("suspend")
    assert not due(run.state)
    run.tell("resume")
    assert due(run.state)


def test_every_signal_that_is_still_listened_for_is_told() -> None:
    run = Driven(Listen("l", until="all", signals=(Expected("x", key="'k'"), Expected("y"))))
    assert listening(run.state) == [(1, "x", "k"), (1, "y", "run_1")]
    run.hear("x", "k")
    assert listening(run.state) == [(1, "y", "run_1")]


def test_what_it_waits_for_in_words() -> None:
    assert words(Driven(Wait("w", for_=HOUR))) == ("until 2026-03-01 10:00",)
    assert words(Driven(Listen("l", signals=(Expected("x"), Expected("y"))))) == ("signal x or y",)
    assert words(Driven(Raise("r", error="own"))) == ("a person: own at r",)
    assert words(Driven(RunJourney("k", journey="kid")))[0].startswith("run run_")
    assert words(Driven(AskPerson("q", team="desk", due=HOUR)))[0].endswith("until 2026-03-01 10:00")
    branches = (Branch("x", (Call("a", action="s.a"),)), Branch("y", (Wait("w", for_=HOUR),)))
    run = Driven(Fork("f", branches=branches))
    assert describe_waits(run.program, run.state)[0] == ("a", "w") and words(run)[0].startswith("request req_")
