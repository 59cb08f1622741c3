"""Journeys on a real plane: through the gate, over waits, to people and back."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import Any

import pytest

from cxplane.domain.errors import Conflict, Forbidden, Malformed, NotFound
from cxplane.loop.leg import Leg
from tests.loop.journeys import CREDIT_STEP, DISPUTE, country, journeys


async def test_a_journey_asks_at_the_gate_like_anybody_and_reaches_its_goal(dsn: str) -> None:
    async with country(dsn) as here:
        run = await here.dispute()
        view = await here.until(run)
        assert view.run.status == "done"
        assert view.goals["settled"]["achieved"] is True
        assert [d["step"] for d in view.did] == ["credit"]  # a read changes nothing
        assert len(here.billing.credits) == 1
        request = await here.plane.request(here.maria, view.did[0]["request"])
        assert (request.caller, request.decision, request.status) == ("journey:dispute", "allow", "done")


async def test_a_held_call_waits_without_holding_a_worker_and_goes_on_when_it_is_approved(dsn: str) -> None:
    async with country(dsn) as here:
        run = await here.dispute(amount=9000)
        view = await here.until(run, "waiting")
        assert view.tokens[0]["waits_for"] == "call"
        assert (await here.plane.store.stats())["appends_waiting"] == 0
        approvals, _ = await here.plane.approvals(here.maria, status="open")
        await here.plane.approve(here.maria, approvals[0].id)
        view = await here.until(run)
        assert view.run.status == "done" and len(here.billing.credits) == 1


async def test_an_edited_call_goes_on_with_what_the_approver_wrote(dsn: str) -> None:
    async with country(dsn) as here:
        run = await here.dispute(amount=9000)
        await here.until(run, "waiting")
        approvals, _ = await here.plane.approvals(here.maria, status="open")
        await here.plane.approve(
            here.maria, approvals[0].id, input={"account_id": "a1", "dispute_id": "d1", "amount": 4000}
        )
        view = await here.until(run)
        assert view.run.status == "done"
        assert [c["amount"] for c in here.billing.credits.values()] == [4000]


async def test_what_is_refused_and_not_caught_waits_for_a_person_at_the_exact_step(dsn: str) -> None:
    async with country(dsn) as here:
        run = await here.dispute(amount=60000)
        view = await here.until(run, "stuck")
        assert view.error is not None and (view.error["name"], view.error["step"]) == ("refused", "credit")
        assert view.left == ("credit", "settled") and view.did == ()
        assert {f["do"] for f in view.frees} >= {"retry", "skip", "cancel", "switch"}
        stuck, _ = await here.plane.runs(here.maria, stuck=True)
        assert [r.id for r in stuck] == [run]
        tasks, _ = await here.plane.tasks(here.maria)
        assert [(t.what, t.team, t.step) for t in tasks] == [("stuck", "care", "credit")]


async def test_rejecting_ends_the_call_and_the_run_says_so(dsn: str) -> None:
    async with country(dsn) as here:
        run = await here.dispute(amount=9000)
        await here.until(run, "waiting")
        approvals, _ = await here.plane.approvals(here.maria, status="open")
        await here.plane.reject(here.maria, approvals[0].id, comment="no")
        view = await here.until(run, "stuck")
        assert view.error is not None and view.error["name"] == "rejected"


async def test_one_event_starts_one_run_however_often_it_comes(dsn: str) -> None:
    async with country(dsn) as here:
        told = [await here.signal("dispute.opened", "d7", customer="c1", account="a1", amount=1500) for _ in range(3)]
        assert [t["repeated"] for t in told] == [False, True, True]
        assert len(told[0]["runs_started"]) == 1
        view = await here.until(told[0]["runs_started"][0])
        assert view.run.status == "done" and view.run.customer == "c1"
        again = await here.signal("dispute.opened", "d7", id="2", customer="c1", account="a1", amount=1500)
        assert len(again["runs_started"]) == 1  # the first has ended; its credit is not done twice
        await here.until(again["runs_started"][0])
        assert len(here.billing.credits) == 1


async def test_a_signal_whose_data_does_not_fit_is_sent_back(dsn: str) -> None:
    async with country(dsn) as here:
        with pytest.raises(Malformed, match="does not fit"):
            await here.signal("dispute.opened", "d7", customer="c1")
        with pytest.raises(Forbidden):
            await here.plane.signal(here.plane.caller("agent:fin"), type="x", source="s", id="1", key="k", data={})


async def test_two_runs_of_one_key_are_not_under_way_at_once(dsn: str) -> None:
    async with country(dsn) as here:
        run = await here.dispute(amount=9000)
        await here.until(run, "waiting")
        with pytest.raises(Conflict, match=run):
            await here.dispute(amount=8000)


CLAIM = """
journey: claim
version: 1
summary: Waits for a document
owner: care
input: {type: object, required: [claim_id], properties: {claim_id: {type: string}}}
do:
  - document:
      listen: {signal: claim.document, key: input.claim_id, where: "signal.data.kind == 'invoice'", within: 2d}
  - noted:
      set: {kind: steps.document.data.kind}
  - settled:
      goal: {name: decided, achieved: "vars.kind == 'invoice'"}
"""


async def test_a_run_waits_for_its_signal_early_late_foreign_and_twice(dsn: str) -> None:
    async with country(dsn, claim=CLAIM) as here:
        await here.signal("claim.document", "cl-1", id="early", kind="invoice")
        early = await here.start("claim", claim_id="cl-1")
        assert (await here.until(early)).run.status == "done"
        late = await here.start("claim", claim_id="cl-2")
        view = await here.until(late, "waiting")
        assert view.run.waits[0].startswith("signal claim.document until")
        assert (await here.signal("claim.document", "cl-3", id="foreign", kind="invoice"))["runs_reached"] == 0
        assert (await here.signal("claim.document", "cl-2", id="wrong", kind="photo"))["runs_reached"] == 1
        await asyncio.sleep(0.3)
        assert (await here.view(late)).run.status == "waiting"
        await here.signal("claim.document", "cl-2", id="right", kind="invoice")
        assert (await here.signal("claim.document", "cl-2", id="right", kind="invoice"))["repeated"]
        assert (await here.until(late)).run.status == "done"


SAGA = f"""
journey: saga
version: 1
summary: Credits, then fails
owner: care
input:
  type: object
  required: [account_id, dispute_id, amount]
  properties: {{account_id: {{type: string}}, dispute_id: {{type: string}}, amount: {{type: integer}}}}
do:
  - both:
      try:
        - first:
            call: billing.issue_credit
            {CREDIT_STEP}
        - second:
            call: billing.issue_credit
            with: {{account_id: input.account_id, dispute_id: "input.dispute_id + '-2'", amount: input.amount}}
        - no:
            raise: {{error: too_bad}}
      catch:
        errors: [too_bad]
        compensate: true
        do:
          - why:
              set: {{why: error.name}}
"""


async def test_what_was_done_is_taken_back_in_reverse_order(dsn: str) -> None:
    async with country(dsn, saga=SAGA) as here:
        run = await here.dispute(journey="saga")
        view = await here.until(run)
        assert view.run.status == "done" and view.state["vars"] == {"why": "too_bad"}
        assert [(d["step"], d["undone"]) for d in view.did] == [("first", True), ("second", True)]
        paths = [s.path for s in here.billing.calls("POST")]
        assert paths == ["/credits", "/credits", "/credits/cr-2/reversal", "/credits/cr-1/reversal"]


async def test_cancelling_takes_back_what_was_done(dsn: str) -> None:
    waiting = (
        SAGA.replace("raise: {error: too_bad}", "wait: 1d")
        .replace("errors: [too_bad]", "errors: [failed]")
        .replace("journey: saga", "journey: slow")
    )
    async with country(dsn, slow=waiting) as here:
        run = await here.dispute(journey="slow")
        await here.until(run, "waiting")
        await here.plane.steer(here.maria, run, "cancel", comment="changed their mind")
        view = await here.until(run)
        assert view.run.status == "cancelled" and all(d["undone"] for d in view.did)
        with pytest.raises(Conflict):
            await here.plane.steer(here.maria, run, "retry")


async def test_a_system_that_is_down_is_waited_for(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxplane.journeys.errors.FIRST", timedelta(seconds=0.3))
    async with country(dsn) as here:
        here.billing.fail("write", "503", "503", "503", "503")
        run = await here.dispute()
        view = await here.until(run)
        assert view.run.status == "done" and len(here.billing.credits) == 1
        told = await here.plane.timeline(here.maria, run)
        assert isinstance(told, list)


async def test_a_system_that_policy_needs_a_fact_of_is_waited_for(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxplane.journeys.errors.FIRST", timedelta(seconds=0.3))
    text = DISPUTE.replace(
        "  - look:\n      call: billing.get_account\n      with: {account_id: input.account_id}\n", ""
    )
    assert "get_account" not in text
    async with country(dsn, dispute=text) as here:
        here.billing.fail("read", "500", "drop_before")
        view = await here.until(await here.dispute())
        assert view.run.status == "done" and len(here.billing.credits) == 1
        store, tenant = here.plane.store, here.plane.tenant
        refused = [row.id for row in (await store.requests(tenant, limit=9))[0] if row.status == "refused"]
        decisions = [e for id in refused for e in await store.stream(tenant, id) if e.kind == "decision"]
        assert [e.body["reasons"][0]["code"] for e in decisions] == ["unavailable", "unavailable"]


async def test_a_call_that_times_out_after_it_was_done_is_found_and_done_once(dsn: str) -> None:
    async with country(dsn) as here:
        here.billing.fail("write", "drop_after_commit")
        view = await here.until(await here.dispute())
        assert view.run.status == "done" and len(here.billing.credits) == 1


PEOPLE = f"""
journey: people
version: 1
summary: Asks people
owner: care
input:
  type: object
  required: [account_id, dispute_id, amount]
  properties: {{account_id: {{type: string}}, dispute_id: {{type: string}}, amount: {{type: integer}}}}
do:
  - which:
      ask: {{team: care, choose: "'How much?'", choices: [all, half], show: {{asked: input.amount}}}}
  - form:
      ask: {{team: care, fill: "'Why?'", form: {{type: object, required: [why], properties: {{why: {{type: string}}}}}}}}
  - credit:
      mode: propose
      team: care
      call: billing.issue_credit
      {CREDIT_STEP}
  - quick:
      ask: {{team: care, approve: "'Fine?'", due: 300ms, default: false}}
"""


async def test_people_choose_fill_in_release_and_are_not_waited_for_for_ever(dsn: str) -> None:
    async with country(dsn, people=PEOPLE) as here:
        run = await here.dispute(journey="people")

        async def task(what: str) -> Any:
            for _ in range(500):
                found = [t for t in (await here.plane.tasks(here.maria))[0] if t.what == what]
                if found:
                    return found[0]
                await asyncio.sleep(0.02)
            raise AssertionError(what)

        choose = await task("choose")
        assert choose.show == {"asked": 1000}
        with pytest.raises(Malformed):
            await here.plane.answer(here.maria, choose.id, {"choice": "none"})
        with pytest.raises(Forbidden):
            await here.plane.answer(here.crm, choose.id, {"choice": "all"})
        await here.plane.answer(here.maria, choose.id, {"choice": "half"})
        with pytest.raises(Conflict):
            await here.plane.answer(here.plane.caller("person:otto"), choose.id, {"choice": "all"})
        fill = await task("fill")
        with pytest.raises(Malformed):
            await here.plane.answer(here.maria, fill.id, {"values": {"why": 5}})
        await here.plane.answer(here.maria, fill.id, {"values": {"why": "late"}})
        propose = await task("propose")
        assert here.billing.credits == {}
        given = {"account_id": "a1", "dispute_id": "d1", "amount": 500}
        await here.plane.answer(here.maria, propose.id, {"approved": True, "input": given})
        view = await here.until(run)
        assert view.run.status == "done"
        assert view.state["steps"]["which"]["choice"] == "half"
        assert view.state["steps"]["quick"]["how"] == "default"
        assert [c["amount"] for c in here.billing.credits.values()] == [500]
        request = await here.plane.request(here.maria, view.did[0]["request"])
        assert request.caller == "person:maria"


FAMILY = """
journey: family
version: 1
summary: Starts another
owner: care
input: {type: object}
do:
  - child:
      run: claim
      with: {claim_id: "'cl-9'"}
  - told:
      emit: {signal: family.done, key: "'f'", data: {ok: steps.child.decided.achieved}}
"""
LISTENER = """
journey: listener
version: 1
summary: Hears of it
owner: care
input: {type: object}
do:
  - hear:
      listen: {signal: family.done, key: "'f'"}
"""


async def test_a_journey_starts_another_and_signals_a_third(dsn: str) -> None:
    async with country(dsn, claim=CLAIM, family=FAMILY, listener=LISTENER) as here:
        listener = await here.start("listener")
        family = await here.start("family")
        await here.until(family, "waiting")
        await here.signal("claim.document", "cl-9", kind="invoice")
        assert (await here.until(family)).run.status == "done"
        view = await here.until(listener)
        assert view.state["steps"]["hear"]["data"] == {"ok": True}


async def test_suspend_resume_switch(dsn: str) -> None:
    async with country(dsn, claim=CLAIM) as here:
        run = await here.start("claim", claim_id="cl-1")
        await here.until(run, "waiting")
        await here.plane.steer(here.maria, run, "suspend")
        await here.until(run, "suspended")
        await here.signal("claim.document", "cl-1", kind="invoice")
        await asyncio.sleep(0.3)
        assert (await here.view(run)).run.status == "suspended"
        await here.plane.steer(here.maria, run, "resume")
        assert (await here.until(run)).run.status == "done"
        other = await here.start("claim", claim_id="cl-2")
        await here.until(other, "waiting")
        new = await here.plane.switch(
            here.maria, other, "dispute", input={"account_id": "a1", "dispute_id": "d5", "amount": 5}
        )
        assert (await here.until(new.run.id)).run.status == "done"
        assert (await here.until(other)).run.status == "cancelled"
        with pytest.raises(Conflict):
            await here.plane.switch(here.maria, other, "claim")
        with pytest.raises(NotFound):
            await here.start("nothing")


async def test_a_run_keeps_its_release_until_it_is_migrated(dsn: str) -> None:
    from tests.loop.world import release

    async with country(dsn, claim=CLAIM) as here:
        runs = [await here.start("claim", claim_id=f"cl-{n}") for n in range(3)]
        for run in runs:
            await here.until(run, "waiting")
        old = here.plane.live.need().release.hash
        changed = CLAIM.replace("version: 1", "version: 2").replace("decided", "decided_anew")
        new = await release(here.settings, journeys(claim=changed))
        for _ in range(200):
            if here.plane.live.need().release.hash == new:
                break
            await asyncio.sleep(0.02)
        seen = await here.plane.migrate(here.maria, "claim", from_=old[:12], to="live", positions={})
        assert (seen["runs"], seen["same"], seen["moved"]) == (3, 3, 0)
        await here.signal("claim.document", "cl-0", id="0", kind="invoice")
        assert "decided" in (await here.until(runs[0])).goals
        done = await here.plane.migrate(here.maria, "claim", from_=old, to=new, positions={}, apply=True)
        assert done["moved"] == 2
        await here.signal("claim.document", "cl-1", id="1", kind="invoice")
        view = await here.until(runs[1])
        assert "decided_anew" in view.goals and view.run.release == new


async def test_a_run_survives_the_stop_of_its_plane(dsn: str) -> None:
    from cxplane.wiring import open_plane
    from tests.loop.journeys import Country

    async with country(dsn, claim=CLAIM) as here:
        run = await here.start("claim", claim_id="cl-1")
        await here.until(run, "waiting")
        await here.plane.stop()
        async with open_plane(here.settings) as plane:
            there = Country(plane, here.billing, here.settings)
            await there.signal("claim.document", "cl-1", kind="invoice")
            assert (await there.until(run)).run.status == "done"


@pytest.mark.parametrize(("do", "ends"), [("retry", "done"), ("cancel", "cancelled"), ("fail", "failed")])
async def test_a_leg_that_fails_for_a_reason_of_ours_waits_for_a_person_who_is_heard(
    dsn: str, monkeypatch: pytest.MonkeyPatch, do: str, ends: str
) -> None:
    from cxplane.loop import leg

    real = leg.event_of
    broken = True

    def event_of(body: Any, private: Any) -> Any:
        if broken and body["kind"] == "started":
            raise KeyError("a fault of ours")
        return real(body, private)

    monkeypatch.setattr(leg, "event_of", event_of)
    monkeypatch.setattr("cxplane.loop.legs.TRIES", 2)
    async with country(dsn) as here:
        run = await here.dispute()
        view = await here.until(run, "stuck")
        assert view.error is not None and view.error["name"] == "internal" and view.tasks[0].what == "stuck"
        broken = False
        await here.plane.answer(here.maria, view.tasks[0].id, {"do": do})
        view = await here.until(run)
        assert view.run.status == ends
        assert len(here.billing.credits) == (1 if do == "retry" else 0)
        assert (await here.plane.tasks(here.maria))[0] == []


async def test_a_leg_is_gone_when_it_has_ended(dsn: str) -> None:
    """Nothing of it waits for the search for cycles, which stops everything: under load there are hundreds a second."""
    async with country(dsn) as here:
        gc.collect()
        gc.disable()
        try:
            assert (await here.until(await here.dispute())).run.status == "done"
            for _ in range(100):
                if not (left := [one for one in gc.get_objects() if isinstance(one, Leg)]):
                    break
                await asyncio.sleep(0.01)
            assert left == []
        finally:
            gc.enable()
