"""Why something ended as it did, and the same decision once more, on a real store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cxplane.domain.errors import Forbidden, NotFound
from cxplane.loop.replays import lost
from cxplane.wiring import open_replays
from tests.loop.journeys import country
from tests.loop.test_approvals import held
from tests.loop.world import BUDGET, POLICY, TENANT, control, release, world, write


async def test_an_approved_request_is_explained_from_the_question_to_the_receipt(dsn: str) -> None:
    async with world(dsn) as w:
        approval, id = await held(w)
        maria = w.plane.caller("person:maria")
        await w.plane.approve(maria, approval, comment="fair enough")
        told = await w.plane.explain(maria, id)
        assert json.loads(json.dumps(told.told)) == told.told
        for words in (
            "It was done, confirmed by ",
            "Times are those of Europe/Berlin.",
            "agent:fin asked for billing.issue_credit (version 1) for customer c1",
            "(system billing, owner care)",
            "amount = 8000",
            "large, policies/billing.cedar:9",
            '| permit (principal in Role::"service-agent", action == Action::"billing.issue_credit:request", resource)',
            "(from billing.get_account, read ",
            "billing.issue_credit, may it go ahead? no, no policy speaks for it",
            "billing.issue_credit:request, may it be asked for? yes, by large",
            "who could decide it: person:maria, person:otto",
            "approved by person:maria at ",
            "saying: fair enough",
            "released by person:maria",
            "Budget daily for agent:fin, this day (from ",
            "money: 0.00 EUR used before, 80.00 EUR after, 100.00 EUR allowed",
            "The intent was on record at ",
            "The system's receipt",
            "credit_id = ",
            "having the facts",
            "waiting for a person",
        ):
            assert words in told.text, words
        by_approval = await w.plane.explain(maria, approval)
        assert by_approval.text == told.text


async def test_a_refusal_by_silence_shows_the_policies_that_did_not_speak_and_what_they_ask_for(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        view = await w.ask(60000)
        assert view.status == "refused"
        told = await w.plane.explain(w.plane.caller("agent:fin"), view.id)
        (decision,) = told.told["decisions"]
        assert {p["policy"]: p["line"] for p in decision["tried"]} == {
            "small": 5,
            "large": 9,
        }  # not that for supervisors
        for words in (
            "Policies that could have spoken for it",
            "permit: Up to 500.00 may be asked for [large, policies/billing.cedar:9]",
            "| when { context.input.amount <= 50000 };",
        ):
            assert words in told.text, words


async def test_what_nothing_takes_back_is_not_said_to_have_an_undo(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        told = await w.plane.explain(w.plane.caller("agent:fin"), (await w.ask(1000)).id)
        assert told.told["next"] == "Nothing: it is done. Nothing takes it back: a credit is spent at once"


async def test_what_was_used_of_a_budget_is_summed_up_as_it_stood_then(dsn: str) -> None:
    async with world(dsn, budgets__daily=BUDGET.replace("exhausted: hold", "exhausted: refuse")) as w:
        await w.know()
        views = [await w.ask(4000, dispute=f"d{n}") for n in range(3)]
        fin = w.plane.caller("agent:fin")
        told = [(await w.plane.explain(fin, view.id)).told["decisions"][0]["budgets"][0] for view in views]
        assert [(one["before"]["money"], one["took"]["money"], one["no_room"]) for one in told] == [
            (0, 4000, False),
            (4000, 4000, False),
            (8000, 4000, True),
        ]
        text = (await w.plane.explain(fin, views[2].id)).text
        assert text.startswith("It was refused.\n  Because: the budget 'daily' has no room")
        assert "money: 80.00 EUR used before, 40.00 EUR asked, 100.00 EUR allowed" in text


async def test_what_was_given_back_before_does_not_count_as_used(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        w.billing.fail("write", "422")
        assert (await w.ask(4000)).status == "failed"
        view = await w.ask(1000, dispute="d2")
        one = (await w.plane.explain(w.plane.caller("agent:fin"), view.id)).told["decisions"][0]["budgets"][0]
        assert (one["before"]["money"], one["took"]["money"]) == (0, 1000)


async def test_who_may_not_see_a_request_may_neither_explain_nor_replay_it(dsn: str) -> None:
    async with world(dsn) as w:
        approval, id = await held(w)
        nosy, fin = w.plane.caller("agent:nosy"), w.plane.caller("agent:fin")
        for name in (id, approval):
            with pytest.raises(Forbidden):
                await w.plane.explain(nosy, name)
            with pytest.raises(Forbidden):
                await w.plane.replay(nosy, name)
        assert (await w.plane.replay(fin, id)).told["result"] == "same"
        with pytest.raises(Forbidden):  # another release is for who sees the record
            await w.plane.replay(fin, id, release="live")
        with pytest.raises(NotFound, match="nothing on record has the id") as problem:
            await w.plane.explain(fin, "req_no_such")
        assert "cxplane decisions" in problem.value.next
        with pytest.raises(NotFound):
            await w.plane.replay(fin, "req_no_such")


async def test_a_chain_of_hold_approval_and_act_is_the_same_once_more(dsn: str) -> None:
    async with world(dsn) as w:
        approval, id = await held(w)
        maria = w.plane.caller("person:maria")
        await w.plane.approve(maria, approval)
        replay = await w.plane.replay(maria, approval)
        assert replay.told["request"] == id
        assert [d["verdict"] for d in replay.told["decisions"]] == ["hold", "allow"]
        assert {d["result"] for d in replay.told["decisions"]} == {"same"}
        assert replay.text.startswith("The same.")


@pytest.mark.parametrize(
    "odd", [1e22, 1.7976931348623157e308, 1000.0, -0.0, 5e-324, [1e22, {"a": 2.0**60}], None, "ünï"]
)
async def test_numbers_that_the_store_writes_in_its_own_way_come_back_as_they_were(dsn: str, odd: object) -> None:
    async with world(dsn) as w:  # which makes every decision once more at its end
        await w.know()
        view = await w.ask(input={"account_id": "a1", "dispute_id": "d1", "amount": odd})
        assert view.decision == "refuse"
        assert (await w.ask(100, recorded={"customer_confirmed": odd, "odd": odd}, dispute="d2")).decision == "allow"


async def test_another_release_shows_what_would_have_been_different(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        view = await w.ask(4000)
        hash = await release(w.settings, control(policies__billing=POLICY.replace("<= 5000", "<= 500")))
        maria = w.plane.caller("person:maria")
        replay = await w.plane.replay(maria, view.id, release=hash[:12])
        (one,) = replay.told["decisions"]
        assert (replay.told["result"], one["verdict"], one["would_be"]) == ("different", "allow", "hold")
        assert "This is hypothetical" in replay.text
        assert "It would be: hold" in replay.text
        assert "now: hold: Up to 500.00 may be asked for [large]" in replay.text
        assert (await w.plane.replay(maria, view.id)).told["result"] == "same"


async def test_a_smaller_budget_would_have_had_no_room_at_what_was_used_then(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        first, second = await w.ask(3000), await w.ask(3000, dispute="d2")
        hash = await release(w.settings, control(budgets__daily=BUDGET.replace("10000", "5000")))
        maria = w.plane.caller("person:maria")
        before, after = [await w.plane.replay(maria, view.id, release=hash) for view in (first, second)]
        limits = {"what": "budget daily", "then": {"money": 10000}, "now": {"money": 5000}}
        assert before.told["decisions"][0]["differences"] == [limits]
        assert after.told["decisions"][0]["would_be"] == "hold"
        assert limits in after.told["decisions"][0]["differences"]
        assert "3000 asked, 3000 of 5000 used" in after.text


async def test_a_control_repo_that_is_no_release_yet_is_tried_on_many_decisions(dsn: str, tmp_path: Path) -> None:
    async with world(dsn) as w:
        await w.know()
        for n, amount in enumerate((100, 4000, 4500, 90000)):
            await w.ask(amount, dispute=f"d{n}")
        folder = write(tmp_path / "control", control(policies__billing=POLICY.replace("<= 5000", "<= 500")))
        async with open_replays(w.settings, folder) as (replays, other):
            found = [one async for one in replays.many(other, action="billing.issue_credit")]
            assert [one["result"] for one in found] == ["same", "different", "different", "same"]
            assert [one["result"] async for one in replays.many(other, most=2)] == ["same", "different"]
            assert [one async for one in replays.many()] == [await replays.one(one["request"]) for one in found]


async def test_a_decision_whose_data_is_gone_is_said_to_be_impossible_to_repeat(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        view = await w.ask(100)
        asked, decided = (await w.plane.store.stream(TENANT, view.id))[:2]
        assert lost(asked, decided) is None
        for one, other in ((replace(asked, private=None), decided), (asked, replace(decided, private=None))):
            assert "erased" in (lost(one, other) or "")


async def test_a_run_and_what_it_asked_for_are_explained_by_each_id(dsn: str) -> None:
    async with country(dsn) as c:
        run = await c.dispute()
        await c.until(run)
        told = await c.plane.explain(c.maria, run)
        assert told.kind == "run"
        assert told.text.startswith(f"It reached its end.\n  Run {run} of the journey dispute for customer c1\n")
        asked = next(r for r in told.told["requests"] if r["action"] == "billing.issue_credit")
        assert f"{asked['request']}  billing.issue_credit: allow, done" in told.text
        request = await c.plane.explain(c.maria, asked["request"])
        assert f"the run {run} of the journey dispute, step credit asked for it" in request.text
        assert (await c.plane.replay(c.maria, asked["request"])).told["result"] == "same"
        with pytest.raises(NotFound, match="no request"):
            await c.plane.replay(c.maria, run)
