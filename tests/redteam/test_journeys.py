"""Ways around the gate by way of journeys, and runs that nobody could free: each was tried on a real plane."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cxplane.domain.errors import Conflict, CxplaneError, Forbidden, Malformed, where_it_broke
from tests.loop.journeys import CREDIT_STEP, Country, country


async def approval(here: Country) -> str:
    found, _ = await here.plane.approvals(here.maria, status="open")
    return str(found[0].id)


@pytest.mark.parametrize("what", ["cancel", "fail"])
async def test_a_held_call_of_a_run_that_was_ended_is_not_done_when_somebody_approves_it_later(
    dsn: str, what: str
) -> None:
    async with country(dsn) as here:
        run = await here.dispute(amount=9000)
        await here.until(run, "waiting")
        held = await approval(here)
        await here.plane.steer(here.maria, run, what)
        await asyncio.sleep(1)
        try:
            await here.plane.approve(here.maria, held)
        except CxplaneError:
            pass
        view = await here.until(run)
        await asyncio.sleep(0.5)
        done = len(here.billing.credits) - len(getattr(here.billing, "reversed", ()))
        assert done == 0, (view.run.status, here.billing.credits)
        if what == "cancel":  # nobody is asked any more, and the key is free
            assert (await here.plane.approvals(here.maria, status="open"))[0] == []
            await here.until(await here.dispute(amount=1000))


EMITS = """
journey: emits
version: 1
summary: Tells others what they cannot take
owner: care
input: {type: object, required: [account_id], properties: {account_id: {type: string}}}
do:
  - look:
      call: billing.get_account
      with: {account_id: input.account_id}
  - tell:
      emit: {signal: dispute.opened, key: "'d1'", data: {amount: "1"}}
"""


async def test_a_signal_that_starts_nothing_for_want_of_data_leaves_a_run_that_can_be_freed(dsn: str) -> None:
    async with country(dsn, emits=EMITS) as here:
        run = await here.start("emits", account_id="a1")
        view = await here.until(run, "stuck", "done", "failed", within_s=45)
        assert view.run.status in ("stuck", "done"), view
        if view.run.status == "stuck":
            assert view.frees
            await here.plane.steer(here.maria, run, "cancel")
            assert (await here.until(run)).run.status == "cancelled"


async def test_a_signal_about_an_unknown_customer_starts_nothing_and_says_why(dsn: str) -> None:
    async with country(dsn) as here:
        with pytest.raises(Malformed, match="customer"):
            await here.signal("dispute.opened", "d7", customer="nobody", account="a1", amount=1500)
        await here.know("nobody")
        told = await here.signal("dispute.opened", "d7", customer="nobody", account="a1", amount=1500)
        assert len(told["runs_started"]) == 1  # the same signal again is taken once the customer is known


ASKS = """
journey: asks
version: 1
summary: Asks a team
owner: care
input: {type: object, required: [account_id], properties: {account_id: {type: string}}}
do:
  - choose:
      ask: {team: care, choose: "'which'", choices: [a, b]}
"""


async def test_of_two_answers_at_the_same_moment_one_counts_and_the_record_says_which(dsn: str) -> None:
    async with country(dsn, asks=ASKS) as here:
        for n in range(5):
            run = await here.start("asks", account_id=f"a{n}")
            await here.until(run, "waiting")
            (task,), _ = await here.plane.tasks(here.maria)
            told = await asyncio.gather(
                *(here.plane.answer(here.maria, task.id, {"choice": c}) for c in ("a", "b")), return_exceptions=True
            )
            view = await here.until(run)
            row = await here.plane.task(here.maria, task.id)
            assert view.state["steps"]["choose"]["choice"] == row.answer["choice"]
            assert sum(isinstance(t, Conflict) for t in told) == 1, told


async def test_an_agent_or_a_system_answers_no_task(dsn: str) -> None:
    async with country(dsn, asks=ASKS) as here:
        run = await here.start("asks", account_id="a1")
        await here.until(run, "waiting")
        (task,), _ = await here.plane.tasks(here.maria)
        for caller in (here.crm, here.plane.caller("agent:fin")):
            with pytest.raises(Forbidden):
                await here.plane.answer(caller, task.id, {"choice": "a"})
        for answer in ({"choice": "c"}, {"choice": "a", "approved": True}, {"choice": ["a"]}, {}):
            with pytest.raises(Malformed):
                await here.plane.answer(here.maria, task.id, answer)


PROPOSES = f"""
journey: proposes
version: 1
summary: A person releases
owner: care
input:
  type: object
  properties: {{account_id: {{type: string}}, dispute_id: {{type: string}}, amount: {{type: integer}}}}
mode: propose
do:
  - ready:
      checkpoint: {{check: "input.amount < 5000", text: small, before: [billing.issue_credit]}}
  - credit:
      call: billing.issue_credit
      team: care
      {CREDIT_STEP}
"""


async def test_no_steering_passes_a_checkpoint(dsn: str) -> None:
    async with country(dsn, proposes=PROPOSES) as here:
        run = await here.dispute(journey="proposes", amount=7000)
        await here.until(run, "stuck")
        for what, step in (("skip", "ready"), ("skip", None)):
            with pytest.raises(CxplaneError):
                await here.plane.steer(here.maria, run, what, step=step)
        await here.plane.steer(here.maria, run, "move", step="credit")
        await asyncio.sleep(0.7)
        view = await here.view(run)
        assert view.run.status == "stuck" and not here.billing.credits
        assert view.error is not None and view.error["name"] == "checkpoint"
        tasks, _ = await here.plane.tasks(here.maria)
        assert [t.what for t in tasks] == ["stuck"]


@pytest.mark.parametrize(
    ("how", "data"),
    [("nul", {"x": "a\x00b"}), ("nan", {"x": float("nan")}), ("deep", None), ("long", {"x": "a" * 1_000_000})],
)
async def test_odd_data_of_a_signal_is_taken_or_sent_back_with_words(dsn: str, how: str, data: Any) -> None:
    if data is None:
        data = {}
        for _ in range(3000):
            data = {"x": data}
    async with country(dsn) as here:
        said = ""
        try:
            told = await here.plane.signal(here.crm, type="odd", source="test", id="1", key="k", data=data)
            said = told["id"]
        except CxplaneError as problem:
            said = str(problem)
        assert said


@pytest.mark.parametrize("key", ["a/../b", "a\u202eb", "'; drop table runs; --", "💥", "x" * 5000])
async def test_a_run_of_an_odd_key_goes_its_way(dsn: str, key: str) -> None:
    async with country(dsn) as here:
        run = await here.dispute(key)
        view = await here.until(run, "done", "stuck")
        assert view.run.status in ("done", "stuck") and (view.run.status == "done" or view.error)


ROUND = """
journey: round
version: 1
summary: Looks again and again
owner: care
input: {type: object, required: [account_id], properties: {account_id: {type: string}}}
do:
  - look: {call: billing.get_account, with: {account_id: input.account_id}}
  - again: {switch: [{closed: {when: "input.account_id == ''", then: end}}, {open: {then: look}}]}
"""


async def test_a_run_that_reads_for_ever_comes_to_a_person_who_can_end_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxplane.loop.leg.MOST_ROUNDS", 60)
    async with country(dsn, round=ROUND) as here:
        run = await here.start("round", account_id="a1")
        view = await here.until(run, "stuck")
        assert view.error is not None and "without ever waiting" in view.error["text"]
        assert (await here.plane.tasks(here.maria))[0][0].what == "stuck"
        await here.plane.steer(here.maria, run, "retry")
        await asyncio.sleep(0.1)
        await here.until(run, "stuck")
        await here.plane.steer(here.maria, run, "cancel")
        await here.until(run, "cancelled")


def test_what_a_log_says_of_an_error_holds_no_value() -> None:
    who = "@".join(("jane", "example.org"))

    def fails() -> None:
        try:
            raise KeyError(who)
        except KeyError as problem:
            raise ValueError(f"row ({who}, 5)") from problem

    with pytest.raises(ValueError) as caught:
        fails()
    told = where_it_broke(caught.value)
    assert who not in told
    assert told.startswith("ValueError from KeyError\n")
    assert "in fails" in told
