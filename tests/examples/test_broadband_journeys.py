"""The journeys of the broadband provider, on a real plane, a real store and the four real systems."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.choose import Connectors
from cxplane.control.conform import conform
from cxplane.control.load import load
from examples.broadband.running import CONTROL, Estate
from tests.examples.broadband import Northwind, northwind, systems

JOURNEYS = {
    "billing_dispute",
    "outage_told_first",
    "refund_across_systems",
    "technician_appointment",
    "tell_one_customer",
}


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    running = systems(tmp_path_factory.mktemp("northwind"))
    yield running
    running.stop()


@pytest.fixture
async def here(estate: Estate, dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Northwind]:
    async with northwind(estate, dsn, monkeypatch) as opened:
        yield opened


def day(n: int) -> str:
    """A day on which the field service has free windows: 1 to 5 from today."""
    return (datetime.now(UTC).date() + timedelta(days=n)).isoformat()


# the control repo --------------------------------------------------------------------------------------


def test_each_journey_has_a_charter_and_calls_only_what_its_system_can_confirm() -> None:
    repo = load(CONTROL)
    assert set(repo.journeys) == JOURNEYS
    for journey in repo.journeys.values():
        charter = journey.charter
        assert charter.success and charter.counter and charter.text.strip(), journey.id
        assert journey.actions <= charter.actions
        assert f"journey:{journey.id}" in repo.callers


async def test_the_crm_conforms_with_its_new_writes(estate: Estate) -> None:
    repo, cel = load(CONTROL), CelExpressions()
    vault = EnvironmentVault({"CRM_TOKEN": estate.tokens["crm"]})
    connectors = Connectors(repo.systems, cel, vault, base_urls=estate.urls)
    try:
        results = await conform(repo, "crm", connectors, cel, CedarEngine(), SystemClock())
    finally:
        await connectors.aclose()
    assert [(r["action"], t) for r in results for t in r["tests"] if not t["passed"]] == []
    assert {"crm.send_message", "crm.flag_dispute", "crm.note_contract"} <= {r["action"] for r in results}


# a disputed bill -----------------------------------------------------------------------------------------


def dispute(amount: int = 1250, n: int = 1001, **more: Any) -> dict[str, Any]:
    usual = {"customer_id": f"c-{n}", "account_id": f"a-{n}", "dispute_id": "d-77", "case_id": f"ca-{n}"}
    return usual | {"amount": amount} | more


async def test_one_event_settles_a_dispute_in_three_systems(here: Northwind) -> None:
    await here.know(1001)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute())
    found = await here.ended(run)
    assert found.run.status == "done", found
    goal = found.goals["dispute_settled"]
    assert goal["achieved"] is True
    assert goal["evidence"]["amount"] == 1250 and goal["evidence"]["told"] is True
    assert here.did() == ["flag_dispute", "issue_credit", "log_note", "send_message"]
    assert here.body("crm", "flag_dispute") == [{"dispute_id": "d-77"}]
    assert "12.50 EUR" in here.body("cases", "log_note")[0]["text"]
    assert [c["amount"] for c in here.row("billing", "/accounts/a-1001")["credits"]] == [1250]
    assert here.letters(1001) == ["You were right about your bill. We have credited 12.50 EUR to your account."]


async def test_the_same_event_twice_settles_it_once(here: Northwind) -> None:
    await here.know(1001)
    run = await here.begins("billing.dispute_opened", "d-77", "e-1", **dispute())
    again = await here.signal("billing.dispute_opened", "d-77", "e-1", **dispute())
    assert again["repeated"]
    await here.ended(run)
    other = await here.signal("billing.dispute_opened", "d-77", "e-2", **dispute())  # billing sends it anew
    for started in other["runs_started"]:
        await here.ended(started)
    assert here.did().count("issue_credit") == 1
    assert here.did().count("flag_dispute") == 1


async def test_a_large_credit_waits_for_a_supervisor_who_changes_it(here: Northwind) -> None:
    await here.know(1001)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute(9000))
    await here.waits_at(run, "credit")
    assert here.did() == ["flag_dispute"]
    input = {"account_id": "a-1001", "dispute_id": "d-77", "amount": 6005, "reason": "overcharge"}
    approval = await here.approval("person:maria", "billing.issue_credit")
    await here.plane.approve(here.plane.caller("person:maria"), approval, input=input, comment="not the fee")
    found = await here.ended(run)
    assert found.goals["dispute_settled"]["evidence"]["amount"] == 6005
    assert "60.05 EUR" in here.letters(1001)[0]


async def test_a_credit_that_the_supervisor_refuses_leaves_no_mark(here: Northwind) -> None:
    await here.know(1001)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute(9000))
    approval = await here.approval("person:maria", "billing.issue_credit")
    await here.plane.reject(here.plane.caller("person:maria"), approval, comment="the bill is right")
    found = await here.ended(run)
    assert found.run.status == "done"
    assert found.goals["dispute_settled"]["achieved"] is False
    assert found.goals["dispute_settled"]["evidence"]["why"] == "rejected"
    assert here.did() == ["flag_dispute", "clear_dispute"]


async def test_a_note_that_cannot_be_logged_takes_the_credit_and_the_mark_back(here: Northwind) -> None:
    await here.know(1001)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute(case_id="ca-1004"))  # the case of somebody else
    found = await here.ended(run)
    assert found.run.status == "done", found
    assert found.goals["dispute_settled"]["evidence"] == {"why": "refused", "at": "note"}
    assert here.did() == ["flag_dispute", "issue_credit", "reverse_credit", "clear_dispute"]
    assert [d["step"] for d in found.did if d["undone"]] == ["flag", "credit"]
    assert here.row("billing", "/accounts/a-1001")["credits"] == []
    ((team, text),) = await here.handed_over(run)
    assert team == "billing-care" and "refused at note" in text
    assert here.letters(1001) == []


async def test_a_lost_answer_of_billing_makes_no_second_credit(here: Northwind) -> None:
    await here.know(1001)
    here.estate.fault("billing", "timeout_after_commit", path="/accounts/", seconds=10)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute())
    found = await here.ended(run)
    assert found.goals["dispute_settled"]["achieved"] is True
    assert here.did().count("issue_credit") == 1


async def test_an_account_of_somebody_else_stops_at_the_checkpoint(here: Northwind) -> None:
    await here.know(1001)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute(account_id="a-1004"))
    found = await here.ended(run)
    assert found.run.status == "stuck", found
    assert here.did() == []
    assert (await here.handed_over(run))[0][0] == "billing-care"


async def test_an_account_on_fraud_hold_stops_at_the_checkpoint(here: Northwind) -> None:
    await here.know(1002)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute(n=1002))
    found = await here.ended(run)
    assert found.run.status == "stuck"
    assert found.error is not None and (found.error["name"], found.error["step"]) == ("checkpoint", "eligible")
    assert here.did() == []


async def test_without_the_consent_of_the_customer_a_person_does_it(here: Northwind) -> None:
    await here.know(1001, consent=False)
    run = await here.begins("billing.dispute_opened", "d-77", **dispute())
    found = await here.ended(run)
    assert found.run.status == "stuck"
    assert found.error is not None and (found.error["name"], found.error["step"]) == ("refused", "holder")
    assert here.did() == []
    await here.know(1001)  # they agree, and the run goes on where it was
    await here.plane.steer(here.plane.caller("person:maria"), run, "retry", comment="they agreed on the telephone")

    async def settled() -> bool:
        return (await here.run(run)).run.status == "done"

    await here.until(settled, run)
    assert here.did() == ["flag_dispute", "issue_credit", "log_note", "send_message"]


# a refund across systems -----------------------------------------------------------------------------------


def refund(amount: int = 2000, n: int = 1004, **more: Any) -> dict[str, Any]:
    usual = {"customer_id": f"c-{n}", "account_id": f"a-{n}", "payment_id": f"pm-{n}-2", "reason": "double_payment"}
    return usual | {"amount": amount} | more


async def test_a_refund_is_known_to_every_system(here: Northwind) -> None:
    await here.know(1004)
    found = await here.ended(await here.begins("billing.refund_requested", "t-5", **refund()))
    assert found.run.status == "done", found
    assert found.goals["refund_settled"]["achieved"] is True
    assert here.did() == ["open_case", "note_contract", "process_refund", "log_note", "send_message"]
    assert here.row("billing", "/payments/pm-1004-2")["refunded"] == 2000
    case = found.goals["refund_settled"]["evidence"]["case"]
    assert here.row("cases", f"/cases/{case}")["notes"] == 1
    assert here.letters(1004)[0].startswith("20.00 EUR are on their way")


async def test_a_large_refund_waits_and_is_taken_apart_in_reverse_when_it_is_refused(here: Northwind) -> None:
    await here.know(1004)
    run = await here.begins("billing.refund_requested", "t-5", **refund(4000))
    await here.waits_at(run, "refund")
    assert here.did() == ["open_case", "note_contract"]
    approval = await here.approval("person:maria", "billing.process_refund")
    await here.plane.reject(here.plane.caller("person:maria"), approval, comment="no double payment")
    found = await here.ended(run)
    assert found.goals["refund_settled"]["achieved"] is False
    assert here.did() == ["open_case", "note_contract", "withdraw_contract_note", "withdraw_case"]
    assert here.row("billing", "/payments/pm-1004-2")["refunded"] == 0
    ((team, text),) = await here.handed_over(run)
    assert team == "billing-care" and "40.00 EUR" in text


async def test_a_large_refund_goes_through_once_a_supervisor_agrees(here: Northwind) -> None:
    await here.know(1004)
    run = await here.begins("billing.refund_requested", "t-5", **refund(4000))
    approval = await here.approval("person:maria", "billing.process_refund")
    await here.plane.approve(here.plane.caller("person:maria"), approval, comment="paid twice")
    found = await here.ended(run)
    assert found.goals["refund_settled"]["achieved"] is True
    assert here.body("billing", "process_refund") == [{"amount": 4000}]


async def test_a_refund_from_an_account_on_fraud_hold_is_taken_apart_too(here: Northwind) -> None:
    await here.know(1002)
    found = await here.ended(await here.begins("billing.refund_requested", "t-6", **refund(1000, 1002)))
    assert found.goals["refund_settled"]["evidence"] == {"why": "refused", "at": "refund"}
    assert here.did() == ["open_case", "note_contract", "withdraw_contract_note", "withdraw_case"]


async def test_what_was_not_paid_is_not_given_back(here: Northwind) -> None:
    await here.know(1004)
    found = await here.ended(await here.begins("billing.refund_requested", "t-5", **refund(900_00)))
    assert found.run.status == "done"
    assert found.goals["refund_settled"]["evidence"]["refund"] == "not eligible"
    assert here.did() == ["send_message"]


# a technician ------------------------------------------------------------------------------------------------


async def chooses(here: Northwind, run: str, n: int, window: str = "08-12") -> None:
    await here.waits_at(run, "soon")
    await here.signal("appointment.chosen", "ca-1008", day=day(n), window=window)


async def visit_of(here: Northwind, run: str) -> str:
    """The technician is on the way: the journey listens for what came of it."""
    found = await here.waits_at(run, "report")
    return str(found.state["steps"]["visit"]["visit_id"])


async def fault(here: Northwind, n: int = 1008) -> str:
    await here.know(n)
    return await here.begins("network.line_fault_reported", f"c-{n}", case_id=f"ca-{n}", customer_id=f"c-{n}")


async def test_a_technician_comes_when_it_suits_the_customer(here: Northwind) -> None:
    run = await fault(here)
    await here.waits_at(run, "soon")
    await here.signal("appointment.chosen", "ca-1008", day="2020-02-02", window="08-12")  # was never on offer
    await chooses(here, run, 2)
    await here.signal("visit.done", await visit_of(here, run))
    found = await here.ended(run)
    assert found.run.status == "done", found
    assert found.goals["fault_repaired"]["evidence"]["day"] == day(2)
    assert here.did() == ["send_message", "schedule_technician", "send_message", "log_note"]
    assert f"comes on {day(2)} between 08-12" in here.letters(1008)[1]


async def test_a_missed_visit_is_offered_again_on_another_day_at_most_twice(here: Northwind) -> None:
    run = await fault(here)
    seen: set[str] = set()
    for n in (1, 2, 3):
        await chooses(here, run, n)

        async def another() -> str | None:
            found = await here.run(run)
            visit = (found.state.get("steps") or {}).get("visit", {}).get("visit_id", "")
            there = any(t["step"] == "report" for t in found.tokens)
            return visit if there and visit not in seen else None

        visit = await here.until(another, run)
        seen.add(visit)
        await here.signal("visit.missed", visit)
    found = await here.ended(run)
    assert found.goals["fault_repaired"]["achieved"] is False
    assert found.goals["fault_repaired"]["evidence"] == {"why": "visit.missed", "missed_before": 2}
    assert here.did().count("schedule_technician") == 3 and len(seen) == 3
    offers = [text for text in here.letters(1008) if "Please choose" in text]
    assert day(1) in offers[0] and day(1) not in offers[1] and day(2) not in offers[2]
    ((team, text),) = await here.handed_over(run)
    assert team == "field-operations" and "after 3 visits" in text


async def test_a_window_that_somebody_else_took_is_asked_for_again(here: Northwind) -> None:
    run = await fault(here)
    await here.waits_at(run, "soon")
    with here.estate.system("field_service") as desk:
        for n in (1001, 1003, 1005):  # three visits fill a window
            body = {"customer_id": f"c-{n}", "day": day(1), "window": "08-12"}
            desk.post("/visits", json=body, headers={"Idempotency-Key": f"desk-{n}"}).raise_for_status()
    await here.signal("appointment.chosen", "ca-1008", id="first", day=day(1), window="08-12")

    async def asked_again() -> bool:
        return sum("Please choose" in text for text in here.letters(1008)) == 2

    await here.until(asked_again, run)
    await chooses(here, run, 1, "12-16")
    await here.signal("visit.done", await visit_of(here, run))
    assert (await here.ended(run)).goals["fault_repaired"]["achieved"] is True
    assert here.body("field_service", "schedule_technician")[-1]["window"] == "12-16"


async def test_a_line_without_a_fault_gets_no_technician(here: Northwind) -> None:
    found = await here.ended(await fault(here, 1001))
    assert found.goals["fault_repaired"]["evidence"] == {"test": "ok"}
    assert here.did() == ["send_message"]


async def test_who_chooses_nothing_is_reminded_and_then_called(
    estate: Estate, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with northwind(estate, dsn, monkeypatch, day="1s") as here:
        run = await fault(here)
        found = await here.ended(run)
        assert found.goals["fault_repaired"]["evidence"]["why"] == "the customer chose no day"
        offer, reminder = here.letters(1008)
        assert "Please choose" in offer and "still has a fault" in reminder
        ((team, text),) = await here.handed_over(run)
        assert team == "field-operations" and "Call them" in text
        assert here.did() == ["send_message", "send_message"]


# an outage -----------------------------------------------------------------------------------------------------


async def test_whom_an_outage_hits_is_told_before_they_call_and_when_it_is_over(here: Northwind) -> None:
    await here.know(1011, 1012, 1013)
    await here.know(1014, consent=False)
    affected = ["c-1011", "c-1012", "c-1013", "c-1014", "c-1011"]
    run = await here.begins("network.outage_detected", "out-3", area="Grünfurt", customers=affected, called=["c-1013"])
    await here.waits_at(run, "cleared")

    async def told() -> bool:
        return all(len(here.letters(n)) == 1 for n in (1011, 1012, 1013))

    await here.until(told, run)  # some of these runs do not listen yet; what comes now is kept for them
    assert here.letters(1011)[0].startswith("The network is down in Grünfurt")
    await here.signal("network.outage_cleared", "out-3")
    assert (await here.ended(run)).goals["outage_over"]["achieved"] is True

    children = {found.run.customer: await here.ended(found.run.id) for found in await here.runs_of("tell_one_customer")}
    assert set(children) == {"c-1011", "c-1012", "c-1013", "c-1014"}
    for n in (1011, 1012, 1013):
        assert [text[:19] for text in here.letters(n)] == ["The network is down", "The network is back"]
        first = children[f"c-{n}"].goals["told_before_they_called"]
        assert first["achieved"] is (n != 1013)  # who had called already was told, but not first
    assert here.letters(1014) == []  # who wants no messages gets none
    assert children["c-1014"].goals["told_before_they_called"]["evidence"] == {"why": "refused"}
    assert {found.run.status for found in children.values()} == {"done"}
