"""The insurer's claims: the journey does what it promises, whatever people and systems do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from cxplane.domain.views import Ask
from tests.examples.insurer.world import UNVERIFIED, Insurer, Open


@pytest.mark.parametrize("by", ["agent:wren", "person:tilda"])
async def test_a_small_clear_claim_is_paid_at_once_whoever_reports_it(world: Insurer, by: str) -> None:
    run = await world.claim(3001, "glass", 18_000, by=by)
    found = await world.ended(run)
    assert found.run.status == "done", found
    goal = found.goals["claim_decided"]
    assert goal["achieved"] is True
    assert (goal["evidence"]["outcome"], goal["evidence"]["amount"]) == ("paid", 13_000)
    claim = goal["evidence"]["claim"]
    assert world.services.did("claims", about=claim) == ["open_claim", "assess_claim", "pay_out"]
    assert (
        "130" in world.services.letters("c-3001")[0] and "account ending in 3001" in world.services.letters("c-3001")[0]
    )


async def test_it_waits_for_a_document_over_a_restart_and_goes_on_as_if_nothing_had_happened(world: Insurer) -> None:
    run = await world.claim(3002, "water", 42_000)
    waiting = await world.waits_at(run, "document")
    claim = await world.claim_id(run)
    assert "plumber_report" in world.services.letters("c-3002")[0]
    due = next(t["due"] for t in waiting.tokens if t["step"] == "document")
    assert 47 < (_moment(due) - datetime.now(UTC)).total_seconds() / 3600 <= 48  # two days
    await world.down()
    await world.up()
    await world.sends(claim, "holiday_photo")  # not what is missing
    assert (await world.waits_at(run, "document")).run.status == "waiting"
    await world.sends(claim, "plumber_report")
    found = await world.ended(run)
    assert found.goals["claim_decided"]["evidence"]["amount"] == 27_000, found
    assert world.services.did("claims", about=claim) == [
        "open_claim",
        "add_document",
        "add_document",
        "assess_claim",
        "pay_out",
    ]
    assert len(world.services.letters("c-3002")) == 2  # what is missing, and what is paid; no reminder


def _moment(due: Any) -> datetime:
    return due if isinstance(due, datetime) else datetime.fromisoformat(str(due).replace("Z", "+00:00"))


async def test_a_document_that_came_while_the_plane_was_down_is_found(opened: Open) -> None:
    world: Insurer = await opened(day_ms=6000)
    run = await world.claim(3002, "water", 42_000)
    await world.waits_at(run, "document")
    claim = await world.claim_id(run)
    await world.down()
    await asyncio.sleep(6.5)  # a day passes, and the reminder falls due while nobody is there
    await world.up()
    await world.until(lambda: _letters(world, 3002, 2), run)
    await world.sends(claim, "plumber_report")
    found = await world.ended(run)
    assert found.goals["claim_decided"]["evidence"]["outcome"] == "paid", found
    assert "One day is left" in world.services.letters("c-3002")[1]
    assert len(world.services.letters("c-3002")) == 3


async def _letters(world: Insurer, n: int, most: int) -> bool:
    return len(world.services.letters(f"c-{n}")) >= most


async def test_a_document_that_never_comes_is_reminded_of_and_handed_over(opened: Open) -> None:
    world: Insurer = await opened(day_ms=2000)
    run = await world.claim(3007, "storm", 90_000)
    found = await world.ended(run)
    assert found.run.status == "done", found
    assert found.goals["claim_decided"]["evidence"]["why"] == "documents are missing"
    assert found.goals["claim_decided"]["achieved"] is False
    assert [t.step for t in await world.tasks_of("claims-desk", run)] == ["no_papers"]
    assert len(world.services.letters("c-3007")) == 2


async def test_above_the_limit_a_claims_handler_approves_the_payout(world: Insurer) -> None:
    run = await world.claim(3003, "water", 240_000)
    await world.waits_at(run, "document")
    claim = await world.claim_id(run)
    await world.sends(claim, "plumber_report")
    await world.approval("person:tilda", "claims.pay_out")
    assert (await world.waits_at(run, "payout")).run.status == "waiting"
    assert world.services.claim(claim)["status"] == "assessed"
    await world.approve("person:tilda", "claims.pay_out")
    found = await world.ended(run)
    assert found.goals["claim_decided"]["evidence"]["amount"] == 225_000


async def test_a_rejected_payout_gives_back_what_was_set_aside(world: Insurer) -> None:
    run = await world.claim(3003, "water", 240_000)
    await world.waits_at(run, "document")
    await world.sends(await world.claim_id(run), "plumber_report")
    id = await world.approval("person:tilda", "claims.pay_out")
    await world.plane.reject(world.plane.caller("person:tilda"), id, comment="paid by the builder")
    found = await world.ended(run)
    assert found.goals["claim_decided"]["achieved"] is False
    assert [d["step"] for d in found.did if d["undone"]] == ["reserve"]
    assert world.services.did("policy_admin") == ["reserve_cover", "release_cover"]
    assert [t.step for t in await world.tasks_of("claims-leads", run)] == ["not_paid"]


@pytest.mark.parametrize(("verdict", "outcome"), [("genuine", "paid"), ("not_genuine", "declined")])
async def test_what_is_not_clear_is_decided_by_people(world: Insurer, verdict: str, outcome: str) -> None:
    run = await world.claim(3004, "theft", 60_000)
    await world.waits_at(run, "document")
    await world.sends(await world.claim_id(run), "police_report")
    task = await world.task(run, "decide_by_hand")
    assert (task.team, task.show["would_pay"], task.show["documents"]) == ("claims-desk", 33_000, ["police_report"])
    with pytest.raises(Exception, match="no answer to what was asked"):
        await world.plane.answer(world.plane.caller("person:tilda"), task.id, {"choice": "toss a coin"})
    with pytest.raises(Exception, match="claims-desk"):
        await world.plane.answer(world.plane.caller("person:emil"), task.id, {"choice": "pay"})
    await world.answer("person:tilda", run, "decide_by_hand", choice="investigate")
    values = {"verdict": verdict, "note": "the neighbour was asked"}
    await world.answer("person:bruno", run, "look_into_it", values=values)
    found = await world.ended(run)
    assert found.goals["claim_decided"]["achieved"] is True, found
    assert found.goals["claim_decided"]["evidence"]["outcome"] == outcome
    assert "bruno" in found.goals["claim_decided"]["evidence"]["by"]


async def test_what_nobody_decides_is_looked_into_and_never_declined_by_default(opened: Open) -> None:
    world: Insurer = await opened(day_ms=2500)
    run = await world.claim(3004, "theft", 60_000)
    await world.waits_at(run, "document")
    await world.sends(await world.claim_id(run), "police_report")
    task = await world.task(run, "look_into_it")
    assert task.team == "fraud"
    rows, _ = await world.plane.tasks(world.plane.caller("person:ruth"), status="defaulted")
    assert [(r.step, r.escalated) for r in rows] == [("decide_by_hand", True)]
    found = await world.run(run)
    assert found.state["steps"]["decide_by_hand"]["how"] == "default"
    assert found.state["steps"]["decide_by_hand"]["choice"] == "investigate"


@pytest.mark.parametrize(
    ("customer", "kind", "amount", "why"),
    [
        (3005, "water", 42_000, "not in force"),
        (3006, "glass", 18_000, "does not cover"),
        (3001, "glass", 5_000, "above"),
    ],
)
async def test_what_is_not_covered_is_declined_with_the_reason(
    world: Insurer, customer: int, kind: str, amount: int, why: str
) -> None:
    found = await world.ended(await world.claim(customer, kind, amount))
    assert found.goals["claim_decided"]["evidence"]["outcome"] == "declined", found
    assert why in found.goals["claim_decided"]["evidence"]["why"]
    assert "pay_out" not in world.services.did("claims")
    assert why in world.services.letters(f"c-{customer}")[0]


async def test_nothing_is_shown_or_opened_before_the_customer_is_verified(world: Insurer) -> None:
    run = await world.claim(UNVERIFIED, "glass", 18_000)
    await world.waits_at(run, "verified")
    assert world.services.effects("claims") == []
    await world.signal("customer.verified", f"c-{UNVERIFIED}")  # somebody says so, but nobody recorded it
    await world.until(lambda: _went(world, run, "please_verify", 2), run)
    await world.verify(UNVERIFIED)
    await world.signal("customer.verified", f"c-{UNVERIFIED}")
    found = await world.ended(run)
    assert found.goals["claim_decided"]["achieved"] is True, found
    assert len(world.services.letters(f"c-{UNVERIFIED}")) == 2  # asked once, and told of the payment


async def _went(world: Insurer, run: str, step: str, times: int) -> bool:
    lines = await world.plane.timeline(world.plane.caller("person:ruth"), run)
    return sum(line.get("step") == step and line.get("how") == "done" for line in lines) >= times


async def test_another_customers_policy_stops_at_the_checkpoint(world: Insurer) -> None:
    run = await world.claim(3001, "glass", 18_000, customer="c-3002")
    found = await world.ended(run)
    assert (found.run.status, found.error["name"]) == ("stuck", "checkpoint")
    assert world.services.effects("claims") == []
    with pytest.raises(Exception, match="checkpoint"):
        await world.plane.steer(world.plane.caller("person:ruth"), run, "skip")
    await world.plane.steer(world.plane.caller("person:ruth"), run, "cancel", compensate=False, comment="wrong number")

    async def cancelled() -> bool:
        return (await world.run(run)).run.status == "cancelled"

    await world.until(cancelled, run)


async def test_a_loss_that_nobody_can_name_is_named_by_a_handler(world: Insurer) -> None:
    run = await world.claim(3009, "unsure", 18_000, words="there is a stone on the carpet and a hole in the pane")
    task = await world.task(run, "which_kind")
    assert "stone on the carpet" in task.text
    await world.answer("person:tilda", run, "which_kind", choice="glass")
    assert (await world.ended(run)).goals["claim_decided"]["evidence"]["outcome"] == "paid"


async def test_a_claims_system_that_pays_and_never_answers_pays_once(world: Insurer) -> None:
    world.services.fault("claims", "timeout_after_commit", path="/claims/cm-10001/payouts", seconds=3)
    run = await world.claim(3001, "glass", 18_000)
    found = await world.ended(run)
    assert found.goals["claim_decided"]["achieved"] is True, found
    assert world.services.did("claims").count("pay_out") == 1


async def test_a_system_that_is_down_for_a_while_is_waited_for(world: Insurer) -> None:
    world.services.fault("policy_admin", "down", times=3)
    world.services.fault("letters", "error", times=2)
    found = await world.ended(await world.claim(3001, "glass", 18_000))
    assert found.goals["claim_decided"]["evidence"]["outcome"] == "paid", found
    assert len(world.services.letters("c-3001")) == 1


async def test_what_a_journey_may_pay_in_a_day_is_limited(world: Insurer) -> None:
    """The budget: 10,000 EUR a day; what is approved counts as well."""
    amounts = {3001: 235_000, 3002: 235_000, 3003: 235_000, 3004: 235_000, 3009: 125_000}  # 9,900 EUR are paid
    for n, amount in amounts.items():
        run = await world.claim(n, "water", amount)
        await world.waits_at(run, "document")
        await world.sends(await world.claim_id(run), "plumber_report")
        await world.approve("person:tilda", "claims.pay_out")
        await world.ended(run)
    run = await world.claim(3010, "glass", 18_000)
    await world.waits_at(run, "payout")
    id = await world.approval("person:tilda", "claims.pay_out")
    view = await world.plane.approval(world.plane.caller("person:tilda"), id)
    assert "budget" in [reason["code"] for reason in view.request.reasons]
    await world.approve("person:tilda", "claims.pay_out")
    assert (await world.ended(run)).goals["claim_decided"]["evidence"]["outcome"] == "paid"


async def test_an_assistant_cannot_go_round_the_journey(world: Insurer) -> None:
    ask = Ask("claims.pay_out", {"claim_id": "cm-21", "amount": 100}, customer="c-3001", confidence=0.9)
    view = await world.plane.ask(world.plane.caller("agent:wren"), ask)
    assert (view.decision, view.status) == ("refuse", "refused")
    assert world.services.effects("claims") == []
