"""Runs as those who ask are told."""

from __future__ import annotations

from cxplane.domain.journey import Call, Expected, Listen, Try
from cxplane.domain.run import RunRow
from cxplane.loop.run_views import run_view
from tests.journeys.driving import START, Driven


def test_a_catch_that_was_not_needed_is_no_longer_to_come() -> None:
    listens = Listen("came", signals=(Expected("shop.came"),))
    run = Driven(Try("parcel", steps=(listens,), catch=(Call("chase", action="a.b"),)), Call("pay", action="a.c"))

    def left() -> tuple[str, ...]:
        row = RunRow("run_1", "j", "r1", "waiting", START, START, "person:sam")
        return run_view(row, {}, run.state, run.journey, (), whole=True).left

    assert left() == ("came", "chase", "pay")
    run.hear("shop.came")
    assert left() == ("pay",)
