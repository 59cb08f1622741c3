"""Ways around the gate that an agent, a confused deputy or an impatient person might try."""

import asyncio
from dataclasses import replace

import pytest

from cxplane.domain.errors import Conflict, Forbidden, NotFound
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.views import Ask
from tests.edges.collector import Collector
from tests.loop.world import world


async def test_an_agent_may_not_vouch_for_a_customer(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know(level=0)
        fin = w.plane.caller("agent:fin")
        with pytest.raises(Forbidden):
            await w.plane.assure(fin, "c1", level=3, method="said so", lifetime="8h")
        with pytest.raises(Forbidden):
            await w.plane.consent(fin, "c1", purpose="service", granted=True, source="said so")
        with pytest.raises(Forbidden):
            await w.plane.put_customer(fin, "c1", attributes={"fraud": False}, identities=[])


async def test_roles_and_scope_that_a_caller_claims_do_not_count(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        nosy = w.plane.caller("agent:nosy")
        claims = replace(nosy, roles=frozenset({"supervisor", "service-agent"}), data=frozenset({"billing"}))
        input = {"account_id": "a1", "dispute_id": "d1", "amount": 100}
        view = await w.plane.ask(claims, Ask("billing.issue_credit", input, customer="c1"))
        assert (view.decision, view.reasons[0]["code"]) == ("refuse", "scope")
        stranger = Caller(CallerKind.PERSON, "mallory", frozenset({"supervisor"}))
        view = await w.plane.ask(stranger, Ask("billing.issue_credit", input, customer="c1"))
        assert (view.decision, view.reasons[0]["code"]) == ("refuse", "caller")


async def test_a_conversation_with_one_customer_gives_no_way_to_another(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know("c1")
        await w.know("c2")
        fin = w.plane.caller("agent:fin")
        talk = await w.plane.open_conversation(fin, id=None, customer="c2", channel="chat")
        view = await w.ask(100, conversation=talk)
        assert (view.decision, view.reasons[0]["code"]) == ("refuse", "conversation")
        assert (await w.ask(100, conversation="con_invented")).reasons[0]["code"] == "conversation"


async def test_somebody_elses_request_is_neither_shown_nor_undone(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        done = await w.ask(100)
        nosy = w.plane.caller("agent:nosy")
        for attempt in (w.plane.request, w.plane.explain, w.plane.undo):
            with pytest.raises(Forbidden):
                await attempt(nosy, done.id)  # type: ignore[operator]
        with pytest.raises(Forbidden):
            await w.plane.requests(nosy, caller_name="agent:fin")
        with pytest.raises(Forbidden):
            await w.plane.entries(nosy)
        with pytest.raises(NotFound):
            await w.plane.request(nosy, "req_0")


async def test_another_callers_repeat_is_judged_before_it_is_answered(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        await w.ask(100)
        other = await w.ask(100, by="agent:nosy")
        assert (other.decision, other.output) == ("refuse", None)


async def test_an_approval_cannot_be_used_twice_or_after_it_was_rejected(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        held = await w.ask(8000)
        assert held.approval is not None
        maria = w.plane.caller("person:maria")
        await w.plane.reject(maria, held.approval, comment="no")
        for _ in range(2):
            with pytest.raises(Conflict):
                await w.plane.approve(maria, held.approval)
        assert w.billing.calls("POST") == []


async def test_a_stuck_request_is_settled_by_a_person_who_may_and_by_nobody_else(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        w.billing.fail("write", "drop_after_commit")
        w.billing.fail("read", "", "500", "500", "500", "500")
        view = await w.ask(1000)
        assert view.status == "unknown"
        for name in ("agent:fin", "person:ben"):
            with pytest.raises(Forbidden):
                await w.plane.settle(w.plane.caller(name), view.id, done=True, comment="")
        settled = await w.plane.settle(w.plane.caller("person:maria"), view.id, done=True, comment="seen in billing")
        assert settled.status == "done"
        with pytest.raises(Conflict):
            await w.plane.settle(w.plane.caller("person:maria"), view.id, done=False, comment="")


async def test_planted_secrets_and_personal_data_stay_out_of_what_is_not_private(dsn: str) -> None:
    planted = "Planted-Marrow-4711"
    async with world(dsn) as w:
        await w.know(segment=planted)
        await w.ask(100, input={"account_id": planted, "dispute_id": planted, "amount": 100}, reason=planted)
        await w.ask(input={"account_id": planted, "dispute_id": "d3", "amount": planted})
        w.billing.fail("write", "422")
        await w.ask(100, input={"account_id": planted, "dispute_id": "d2", "amount": 100})
        entries = await w.plane.entries(w.plane.caller("person:maria"), limit=200)
        assert any(planted in str(e.private) for e in entries)
        assert [e.kind for e in entries if planted in str(e.body)] == []
        metrics, _ = w.plane.telemetry.render()
        assert planted.encode() not in metrics


async def test_an_action_that_nobody_knows_is_counted_and_traced_without_its_name(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up = "made.up-marrow"
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    try:
        async with world(dsn) as w:
            await w.know()
            await w.ask(100)
            view = await w.plane.ask(w.plane.caller("agent:fin"), Ask(made_up, {}, customer="c1"))
            assert view.decision == "refuse"
            metrics = w.plane.telemetry.render()[0].decode()
        assert 'cxplane_decisions_total{action="(unknown)",verdict="refuse"} 1.0' in metrics
        assert 'cxplane_decisions_total{action="billing.issue_credit",verdict="allow"} 1.0' in metrics
        assert made_up not in metrics
        told = [a.value.string_value for s in collector.spans if s.name == "decide" for a in s.attributes]
        assert {"(unknown)", "billing.issue_credit"} <= set(told) and made_up not in str(collector.spans)
    finally:
        collector.close()


async def test_a_dry_run_leaves_no_claim_no_budget_and_no_effect(dsn: str) -> None:
    async with world(dsn) as w:
        await w.know()
        await asyncio.gather(*(w.ask(5000, dispute=f"d{n}", dry_run=True) for n in range(5)))
        budgets = await w.plane.budgets(w.plane.caller("person:maria"))
        assert budgets[0]["used"] == []
        assert w.billing.calls("POST") == []
