"""One request through all stages, on a real store and over real HTTP."""

import asyncio

import pytest

from cxplane.domain.errors import Conflict, Malformed
from cxplane.domain.views import Ask
from tests.loop.world import world


async def test_what_policy_allows_is_done_and_confirmed_by_the_system(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        view = await w.ask(1000)
        assert (view.decision, view.status) == ("allow", "done")
        assert view.output is not None
        assert view.output["amount"] == 1000
        assert [r["policy"] for r in view.reasons] == ["small"]
        assert len(w.billing.credits) == 1


@pytest.mark.parametrize(
    ("level", "consent", "attributes", "amount", "by", "decision", "reasons"),
    [
        (2, True, {}, 5000, "agent:fin", "allow", {"small"}),
        (2, True, {}, 5001, "agent:fin", "hold", {"large"}),
        (0, True, {}, 1000, "agent:fin", "hold", {"large"}),
        (2, True, {}, 50001, "agent:fin", "refuse", {"no_policy"}),
        (2, True, {"fraud": True}, 1000, "agent:fin", "refuse", {"fraud"}),
        (2, False, {}, 1000, "agent:fin", "refuse", {"consent"}),
        (2, True, {}, 1000, "agent:nosy", "refuse", {"scope"}),
        (2, True, {}, 1000, "system:crm", "refuse", {"no_policy"}),
    ],
)
async def test_the_answer_names_its_reason(
    dsn: str,
    level: int,
    consent: bool,
    attributes: dict[str, bool],
    amount: int,
    by: str,
    decision: str,
    reasons: set[str],
) -> None:
    async with world(dsn) as w:
        await w.know(level=level, consent=consent, **attributes)
        view = await w.ask(amount, by=by)
        assert view.decision == decision
        assert {r.get("policy") or r["code"] for r in view.reasons} == reasons
        assert bool(w.billing.credits) is (decision == "allow")


@pytest.mark.parametrize(
    ("input", "where"),
    [
        ({"account_id": "a1", "dispute_id": "d1", "amount": 10.5}, "/amount"),
        ({"account_id": "a1", "dispute_id": "d1", "amount": "10"}, "/amount"),
        ({"account_id": "a1", "dispute_id": "d1", "amount": True}, "/amount"),
        ({"account_id": 7, "dispute_id": "d1", "amount": 10}, "/account_id"),
        ({"account_id": "a1", "dispute_id": "d1", "amount": 10, "extra": 1}, None),
        ({"account_id": "a1", "dispute_id": "d1"}, None),
    ],
)
async def test_input_off_the_contract_is_refused_before_anything_is_read(
    dsn: str, input: dict[str, object], where: str | None
) -> None:
    async with world(dsn) as w:
        await w.know()
        view = await w.ask(input=input)
        assert view.decision == "refuse"
        assert view.reasons[0]["code"] == "input"
        if where:
            assert view.reasons[0]["where"] == where
        assert w.billing.seen == []


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), 2**53 + 2])
async def test_what_is_not_plain_json_is_malformed(dsn: str, amount: float) -> None:
    async with world(dsn) as w:
        await w.know()
        with pytest.raises(Malformed):
            await w.ask(input={"account_id": "a1", "dispute_id": "d1", "amount": amount})


async def test_an_unknown_action_or_customer_is_refused_with_what_to_do(dsn: str) -> None:
    async with world(dsn) as w:
        unknown = await w.plane.ask(w.plane.caller("agent:fin"), Ask("billing.issue_credits", {}))
        assert unknown.reasons[0]["code"] == "action"
        assert "billing.issue_credit" in unknown.reasons[0]["text"]
        stranger = await w.ask(customer="nobody")
        assert stranger.reasons[0]["code"] == "customer"


async def test_the_same_key_again_gives_the_same_answer_and_no_second_effect(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        first = await w.ask(1000)
        again = await w.ask(1000)
        assert again.repeated
        assert (again.id, again.output) == (first.id, first.output)
        assert len(w.billing.credits) == 1
        assert len(w.billing.calls("POST")) == 1


async def test_a_key_used_again_with_other_input_is_a_conflict(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        await w.ask(1000)
        with pytest.raises(Conflict, match="other input") as raised:
            await w.ask(1100)
        assert "undo" in raised.value.next


async def test_many_callers_with_one_key_at_the_same_moment_do_it_once(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        views = await asyncio.gather(*(w.ask(1000, by="agent:fin" if n % 2 else "person:ben") for n in range(12)))
        assert {v.status for v in views} == {"done"}
        assert len({v.id for v in views}) == 1
        assert len(w.billing.calls("POST")) == 1


async def test_a_stale_fact_source_refuses_and_names_the_fact(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        w.billing.fail("read", "500", "500")
        view = await w.ask(1000)
        assert view.decision == "refuse"
        assert view.reasons[0]["code"] == "unavailable" and "Ask again in a minute" in view.next
        assert (await w.plane.request(w.plane.caller("person:maria"), view.id)).next == view.next
        assert "account" in view.reasons[0]["text"]


async def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        view = await w.ask(1000, dry_run=True)
        assert (view.decision, view.status) == ("allow", "previewed")
        assert view.preview is not None
        assert view.preview["would_send"]["path"] == "/credits"
        assert w.billing.calls("POST") == []
        assert (await w.ask(1000)).status == "done"  # a dry run claims nothing


async def test_a_budget_is_never_passed_by_callers_at_the_same_moment(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        views = await asyncio.gather(*(w.ask(1000, dispute=f"d{n}") for n in range(15)))
        assert sorted(v.decision or "" for v in views) == ["allow"] * 10 + ["hold"] * 5
        assert len(w.billing.credits) == 10
        held = next(v for v in views if v.decision == "hold")
        assert held.reasons[-1]["code"] == "budget"
        assert held.reasons[-1]["where"] == "daily"


async def test_what_certainly_failed_gives_key_and_budget_back(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        w.billing.fail("write", "422")
        assert (await w.ask(1000)).status == "failed"
        assert (await w.ask(1000)).status == "done"
        budgets = await w.plane.budgets(w.plane.caller("person:maria"))
        assert budgets[0]["used"][0]["money"] == 1000


@pytest.mark.parametrize("fault", ["hang_after_commit", "drop_after_commit", "garbage", "off_contract"])
async def test_a_reply_that_got_lost_is_found_by_confirm_and_not_repeated(dsn: str, fault: str) -> None:
    async with world(dsn) as w:
        await w.know()
        w.billing.fail("write", fault)
        view = await w.ask(1000)
        assert view.status == "done"
        assert len(w.billing.credits) == 1


async def test_an_unknown_outcome_is_found_out_in_the_background(dsn: str) -> None:
    async with world(dsn, work=True) as w:
        await w.know()
        w.billing.fail("write", "drop_after_commit")
        w.billing.fail("read", "", "500", "500", "500", "500")  # the fact is read, then the system is down for a while
        view = await w.ask(1000)
        assert view.status == "unknown"
        for _ in range(150):
            if (now := await w.plane.request(w.plane.caller("agent:fin"), view.id)).status == "done":
                break
            await asyncio.sleep(0.1)
        assert now.status == "done"
        assert len(w.billing.credits) == 1
        assert len(w.billing.calls("POST")) == 1


async def test_a_new_release_decides_without_a_restart_and_the_old_one_is_named_on_what_it_decided(dsn: str) -> None:
    from cxplane.wiring import Settings
    from tests.loop.world import POLICY, control, release

    async with world(dsn) as w:
        await w.know()
        before = await w.ask(1000)
        strict = POLICY.replace("context.input.amount <= 5000", "context.input.amount <= 500")
        hash = await release(Settings(dsn=dsn), control(policies__billing=strict))
        for _ in range(50):
            if w.plane.release and w.plane.release.hash == hash:
                break
            await asyncio.sleep(0.1)
        after = await w.ask(1000, dispute="d2")
        assert (before.decision, after.decision) == ("allow", "hold")
        assert after.release == hash != before.release
