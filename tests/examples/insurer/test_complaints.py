"""The insurer's complaints: the journey does what it promises."""

from __future__ import annotations

from tests.examples.insurer.world import Insurer, Open


async def _answered(world: Insurer, run: str, offered: int, finding: str = "upheld") -> str:
    values = {"finding": finding, "offered": offered, "text": "You are right, and we are sorry."}
    await world.answer("person:emil", run, "answer", values=values)
    found = await world.waits_at(run, "customer_reply")
    return str(found.state["steps"]["logged"]["complaint_id"])


async def test_a_complaint_is_answered_by_a_person_and_made_good(world: Insurer) -> None:
    run = await world.complains(3009)
    task = await world.task(run, "answer")
    assert (task.team, task.show["words"]) == ("complaints", "It took too long")
    assert len(world.services.letters("c-3009")) == 1  # acknowledged
    complaint = await _answered(world, run, 5_000)
    await world.signal("complaint.answered", complaint, accepted=True)
    found = await world.ended(run)
    assert found.goals["complaint_settled"]["achieved"] is True, found
    assert found.goals["complaint_settled"]["evidence"]["redress"] == 5_000
    assert world.services.did("complaints") == ["log_complaint", "record_answer", "pay_redress"]


async def test_large_redress_is_approved_by_a_lead(world: Insurer) -> None:
    run = await world.complains(3010)
    complaint = await _answered(world, run, 25_000)
    await world.signal("complaint.answered", complaint, accepted=True)
    await world.approve("person:vera", "complaints.pay_redress")
    assert (await world.ended(run)).goals["complaint_settled"]["evidence"]["redress"] == 25_000


async def test_whoever_does_not_accept_is_taken_to_the_ombudsman(world: Insurer) -> None:
    run = await world.complains(3011)
    complaint = await _answered(world, run, 5_000, "partly_upheld")
    await world.signal("complaint.answered", complaint, accepted=False)
    task = await world.task(run, "to_ombudsman")
    assert (task.team, task.what) == ("ombudsman-desk", "hand_over")
    await world.answer("person:opal", run, "to_ombudsman", done=True, note="papers sent")
    found = await world.ended(run)
    assert found.goals["complaint_settled"]["achieved"] is False
    assert found.goals["complaint_settled"]["evidence"]["ombudsman"] is True
    assert "pay_redress" not in world.services.did("complaints")


async def test_an_answer_that_does_not_come_is_reminded_of_escalated_and_taken_over(opened: Open) -> None:
    world: Insurer = await opened(day_ms=1000)
    run = await world.complains(3012)
    first = await world.task(run, "answer")
    found = await world.ended(run)
    assert found.goals["complaint_settled"]["evidence"]["why"] == "not answered in time"
    late = await world.plane.task(world.plane.caller("person:vera"), first.id)
    assert late.escalated and late.team == "complaints-leads" and late.reminded_at is not None
    assert [t.step for t in await world.tasks_of("ombudsman-desk", run)] == ["too_late"]
