"""What is held, and the people who decide it."""

import pytest

from cxplane.domain.errors import Conflict, Forbidden
from tests.loop.world import BUDGET, World, world


async def held(w: World, amount: int = 8000, *, by: str = "agent:fin", dispute: str = "d1") -> tuple[str, str]:
    await w.know()
    view = await w.ask(amount, by=by, dispute=dispute)
    assert view.decision == "hold"
    assert view.approval is not None
    return view.approval, view.id


async def test_an_approver_sees_all_that_is_needed_to_decide(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w)
        seen = await w.plane.approval(w.plane.caller("person:maria"), approval)
        assert seen.input["amount"] == 8000
        assert seen.evidence["balance"]["value"] == 5
        assert "spent at once" in seen.effect
        assert "not done" in seen.if_nothing_is_done
        assert seen.may_decide


async def test_what_is_approved_is_judged_again_and_done_once(dsn: str) -> None:
    async with world(dsn) as w:
        approval, id = await held(w)
        maria = w.plane.caller("person:maria")
        view = await w.plane.approve(maria, approval, comment="fine")
        assert (view.id, view.status, view.determined_by) == (id, "done", "person")
        assert len(w.billing.credits) == 1
        with pytest.raises(Conflict, match="already"):
            await w.plane.approve(maria, approval)
        assert len(w.billing.calls("POST")) == 1


async def test_a_change_of_facts_between_hold_and_approval_counts(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w)
        await w.know(fraud=True)
        with pytest.raises(Conflict, match="suspicion"):
            await w.plane.approve(w.plane.caller("person:maria"), approval)
        assert w.billing.credits == {}


async def test_a_system_that_does_not_answer_leaves_the_approval_open(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w)
        maria = w.plane.caller("person:maria")
        w.billing.fail("read", "500")
        with pytest.raises(Conflict, match="account") as told:
            await w.plane.approve(maria, approval)
        assert "again as soon as" in told.value.next
        assert w.billing.credits == {}
        assert (await w.plane.approve(maria, approval)).status == "done"


async def test_an_approver_edits_and_the_edited_one_is_done_instead(dsn: str) -> None:
    async with world(dsn, policies__billing=_without_four_eyes()) as w:
        approval, id = await held(w)
        maria = w.plane.caller("person:maria")
        view = await w.plane.approve(
            maria, approval, input={"account_id": "a1", "dispute_id": "d1", "amount": 6000}, comment="less"
        )
        assert view.status == "done"
        assert view.id != id
        old = await w.plane.request(maria, id)
        assert (old.status, old.replaced_by) == ("replaced", view.id)
        assert [c["amount"] for c in w.billing.credits.values()] == [6000]


async def test_with_four_eyes_who_edits_needs_a_second_person(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w)
        edit = {"account_id": "a1", "dispute_id": "d1", "amount": 9000}
        view = await w.plane.approve(w.plane.caller("person:maria"), approval, input=edit)
        assert (view.decision, view.status) == ("hold", "held")
        assert w.billing.credits == {}
        assert view.approval is not None
        with pytest.raises(Forbidden, match="four eyes"):
            await w.plane.approve(w.plane.caller("person:maria"), view.approval)
        done = await w.plane.approve(w.plane.caller("person:otto"), view.approval)
        assert done.status == "done"


async def test_an_edit_beyond_policy_is_refused_on_record_and_the_approval_stays_open(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w)
        maria = w.plane.caller("person:maria")
        view = await w.plane.approve(maria, approval, input={"account_id": "a1", "dispute_id": "d1", "amount": 90000})
        assert view.decision == "refuse"
        assert (await w.plane.approval(maria, approval)).approval.status == "open"


async def test_who_proposed_may_not_approve_and_neither_may_an_agent(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w, by="person:maria")
        for name in ("person:maria", "person:ben", "agent:fin"):
            with pytest.raises(Forbidden):
                await w.plane.approve(w.plane.caller(name), approval)
        assert (await w.plane.approve(w.plane.caller("person:otto"), approval)).status == "done"


async def test_rejecting_gives_the_key_back(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w)
        view = await w.plane.reject(w.plane.caller("person:maria"), approval, comment="no")
        assert view.status == "rejected"
        assert (await w.ask(1000)).status == "done"


async def test_an_approval_that_nobody_decides_expires_safely(dsn: str) -> None:
    import asyncio

    quick = _without_four_eyes().replace('@expires("1h")', '@expires("1s")')
    async with world(dsn, work=True, policies__billing=quick) as w:
        approval, id = await held(w)
        maria = w.plane.caller("person:maria")
        for _ in range(100):
            if (await w.plane.request(maria, id)).status == "expired":
                break
            await asyncio.sleep(0.1)
        assert (await w.plane.request(maria, id)).status == "expired"
        with pytest.raises(Conflict):
            await w.plane.approve(maria, approval)
        assert w.billing.credits == {}


async def test_two_people_at_the_same_moment_decide_once(dsn: str) -> None:
    import asyncio

    async with world(dsn) as w:
        approval, _ = await held(w)
        both = await asyncio.gather(
            w.plane.approve(w.plane.caller("person:maria"), approval),
            w.plane.approve(w.plane.caller("person:otto"), approval),
            w.plane.reject(w.plane.caller("person:otto"), approval, comment="no"),
            return_exceptions=True,
        )
        assert sum(not isinstance(one, BaseException) for one in both) == 1
        assert len(w.billing.calls("POST")) <= 1


async def test_a_budget_that_is_exhausted_waits_for_its_approver(dsn: str) -> None:
    async with world(dsn, budgets__daily=BUDGET.replace("10000", "1500")) as w:
        await w.know()
        assert (await w.ask(1000)).status == "done"
        over = await w.ask(1000, dispute="d2")
        assert over.decision == "hold"
        assert over.approval is not None
        done = await w.plane.approve(w.plane.caller("person:maria"), over.approval)
        assert done.status == "done"


async def test_only_those_concerned_see_an_approval(dsn: str) -> None:
    async with world(dsn) as w:
        approval, _ = await held(w)
        mine, _ = await w.plane.approvals(w.plane.caller("agent:fin"), status="open")
        assert [a.id for a in mine] == [approval]
        others, _ = await w.plane.approvals(w.plane.caller("agent:nosy"), status="open")
        assert list(others) == []
        with pytest.raises(Forbidden):
            await w.plane.approval(w.plane.caller("agent:nosy"), approval)


def _without_four_eyes() -> str:
    from tests.loop.world import POLICY

    return POLICY.replace(' @require("four-eyes")', "")
