"""The insurer: its control repo holds together, its systems conform, its journeys do what they promise."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.choose import Connectors
from cxplane.control.check import check
from cxplane.control.conform import conform
from cxplane.control.load import load
from cxplane.control.release import build, go_live, make_release, run_gates
from cxplane.control.test import run_tests
from cxplane.domain.run import TaskRow
from cxplane.domain.views import Ask, RunView
from cxplane.loop import Plane
from cxplane.wiring import Settings, expressions, open_plane, open_store, policy_engine
from examples.insurer.running import CONTROL, SYSTEMS, Services, control_copy, shortened
from tests.replayed import differing

ROOT = Path(__file__).parents[2]
ENDED = ("done", "failed", "cancelled", "stuck")
CUSTOMERS = range(3001, 3013)
UNVERIFIED = 3008


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = Services(tmp_path_factory.mktemp("services"))
    try:
        for name in SYSTEMS:
            services.start_system(name)
        yield services
    finally:
        services.stop()


@pytest.fixture
def services(running: Services) -> Services:
    """The four systems, as on the first day."""
    running.reset()
    return running


# the control repo ------------------------------------------------------------------------------------------


def test_the_control_repo_has_no_mistakes() -> None:
    assert check(CONTROL, CedarEngine(), CelExpressions()) == []


async def test_every_policy_test_passes_and_every_policy_has_one_that_it_decides() -> None:
    report = await run_tests(build(CONTROL), CedarEngine(), CelExpressions())
    assert report.passed, report.words()
    assert report.untested == ()


def test_each_journey_has_a_charter_that_says_when_a_person_is_asked() -> None:
    journeys = load(CONTROL).journeys
    assert set(journeys) == {"claim_eligibility", "complaint"}
    for journey in journeys.values():
        charter = journey.charter
        assert charter.success and charter.counter and charter.approvals and charter.text.strip(), journey.id


def test_a_shorter_day_shortens_every_wait_and_nothing_else() -> None:
    text = (CONTROL / "journeys" / "claim_eligibility" / "journey.yaml").read_text()
    short = shortened(text, 2000)
    assert "within: 4000ms" in short and "wait: 2000ms" in short and "remind: 1000ms" in short
    assert [b for a, b in zip(text.splitlines(), short.splitlines(), strict=True) if a != b and "ms" not in b] == []


@pytest.mark.parametrize("system", SYSTEMS)
async def test_every_write_conforms(system: str, services: Services) -> None:
    repo, cel = load(CONTROL), CelExpressions()
    vault = EnvironmentVault({f"{name.upper()}_TOKEN": token for name, token in services.tokens.items()})
    connectors = Connectors(repo.systems, cel, vault, base_urls=services.urls)
    try:
        results = await conform(repo, system, connectors, cel, CedarEngine(), SystemClock())
    finally:
        await connectors.aclose()
    assert [(r["action"], t) for r in results for t in r["tests"] if not t["passed"]] == []
    assert {r["action"] for r in results} == {a.id for a in repo.actions.values() if a.system == system and a.writes}


# the journeys ----------------------------------------------------------------------------------------------


@dataclass
class Insurer:
    """A plane on a real store, in front of the systems; it can be ended and started again."""

    services: Services
    settings: Settings
    control: Path
    plane: Plane = None  # type: ignore[assignment]
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def begin(self) -> None:
        made = build(self.control)
        async with open_store(self.settings, tenant=made.repo.plane.tenant) as store:
            gates = await run_gates(made, policy_engine(), expressions(), store=store)
            now = datetime.now(UTC)
            await make_release(store, made, gates, by="person:nora", at=now)
            await go_live(store, made, by="person:nora", at=now)
        await self.up()
        portal = self.plane.caller("system:portal")
        for n in CUSTOMERS:
            await self.plane.put_customer(portal, f"c-{n}", attributes={}, identities=[])
            await self.plane.consent(portal, f"c-{n}", purpose="service", granted=True, source="contract")
            if n != UNVERIFIED:
                await self.verify(n)

    async def up(self) -> None:
        self.plane = await self.stack.enter_async_context(open_plane(self.settings))

    async def down(self) -> None:
        odd = await differing(self.plane.store, self.plane.tenant, self.plane.replays)
        assert not odd, odd[0]
        await self.stack.aclose()
        self.stack = AsyncExitStack()

    async def verify(self, n: int) -> None:
        await self.plane.assure(
            self.plane.caller("system:portal"), f"c-{n}", level=2, method="one-time code", lifetime="8h"
        )

    async def claim(self, n: int, kind: str, amount: int, *, by: str = "agent:wren", **more: Any) -> str:
        input = {
            "policy_id": f"hp-{n}",
            "reference": f"call-{uuid.uuid4().hex[:8]}",
            "kind": kind,
            "happened_on": datetime.now(UTC).date().isoformat(),
            "amount": amount,
        }
        customer = more.pop("customer", f"c-{n}")
        view = await self.plane.start_run(self.plane.caller(by), "claim_eligibility", input | more, customer=customer)
        return view.run.id

    async def signal(self, type: str, key: str, **data: Any) -> Mapping[str, Any]:
        portal = self.plane.caller("system:portal")
        return await self.plane.signal(portal, type=type, source="/portal", id=uuid.uuid4().hex, key=key, data=data)

    async def complains(self, n: int, words: str = "It took too long") -> str:
        told = await self.signal("complaint.received", f"c-{n}", customer_id=f"c-{n}", words=words)
        return str(told["runs_started"][0])

    async def sends(self, claim_id: str, document: str) -> None:
        self.services.upload(claim_id, document)
        await self.signal("claims.document_received", claim_id, document=document)

    async def run(self, id: str) -> RunView:
        return await self.plane.run(self.plane.caller("person:ruth"), id)

    async def claim_id(self, id: str) -> str:
        return str((await self.run(id)).state["steps"]["claim"]["claim_id"])

    async def ended(self, id: str) -> RunView:
        async def over() -> RunView | None:
            found = await self.run(id)
            return found if found.run.status in ENDED else None

        return await self.until(over, id)

    async def waits_at(self, id: str, step: str) -> RunView:
        async def there() -> RunView | None:
            found = await self.run(id)
            assert found.run.status not in ENDED, found
            return found if any(t["step"] == step and t.get("waits_for") for t in found.tokens) else None

        return await self.until(there, id)

    async def until(self, true: Callable[[], Any], run: str = "") -> Any:
        end = time.monotonic() + 60
        while not (found := await true()):
            assert time.monotonic() < end, await self.run(run) if run else "it did not come to that"
            await asyncio.sleep(0.05)
        return found

    async def task(self, run: str, step: str) -> TaskRow:
        found = await self.waits_at(run, step)
        return next(t for t in found.tasks if t.step == step)

    async def answer(self, by: str, run: str, step: str, **answer: Any) -> None:
        task = await self.task(run, step)
        await self.plane.answer(self.plane.caller(by), task.id, answer)

    async def approval(self, by: str, action: str) -> str:
        async def waiting() -> str | None:
            rows, _ = await self.plane.approvals(self.plane.caller(by), status="open")
            return next((row.id for row in rows if row.action == action), None)

        return str(await self.until(waiting))

    async def approve(self, by: str, action: str) -> None:
        await self.plane.approve(self.plane.caller(by), await self.approval(by, action), comment="agreed")

    async def tasks_of(self, team: str, run: str) -> list[TaskRow]:
        rows, _ = await self.plane.tasks(self.plane.caller("person:ruth"), team=team)
        return [row for row in rows if row.run == run]


Open = Callable[..., Any]


@pytest.fixture
async def opened(services: Services, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """A plane with the control repo as it is, or with a shorter day."""
    for name, token in services.tokens.items():
        monkeypatch.setenv(f"{name.upper()}_TOKEN", token)
    begun: list[Insurer] = []

    async def begin(day_ms: int | None = None) -> Insurer:
        control = control_copy(tmp_path / "control", services.urls, day_ms=day_ms)
        plane = control / "plane.yaml"  # policy tests and conformance are run above
        plane.write_text(plane.read_text().replace("gates: [check, test, conformance]", "gates: [check]"))
        world = Insurer(services, Settings(dsn=dsn), control)
        begun.append(world)
        await world.begin()
        return world

    yield begin
    for world in begun:
        await world.down()


@pytest.fixture
async def world(opened: Open) -> Insurer:
    made: Insurer = await opened()
    return made


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


# complaints ------------------------------------------------------------------------------------------------


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


# the account of it all -------------------------------------------------------------------------------------


def test_the_stories_are_played_and_every_check_holds() -> None:
    done = subprocess.run(
        [sys.executable, "examples/insurer/run.py"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every check held" in done.stdout
    for shown in ("a day lasts", "the plane is killed", "approves claims.pay_out", "One day is left"):
        assert shown in done.stdout
    for secret in ("cxp_", "_TOKEN"):
        assert secret not in done.stdout
