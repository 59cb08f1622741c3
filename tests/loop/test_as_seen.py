"""A leg reads once what is known of its customer; what it decides by that goes on record only while it is still so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from cxplane.domain.record import AppendResult, Changed, Write
from cxplane.loop.at_hand import AtHand
from tests.loop.journeys import CREDIT_STEP, DISPUTE, Country, country

MORE = "input.dispute_id + '-more'"
TWICE = DISPUTE.replace(
    "  - settled:",
    f"  - more:\n      call: billing.issue_credit\n      {CREDIT_STEP.replace('input.dispute_id', MORE)}\n  - settled:",
)


def watched(here: Country, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Write]]:
    """What was read of customers, and the writes on condition that it is still so."""
    reads: list[Any] = []
    conditional: list[Write] = []
    store = here.plane.store
    situation, append = store.situation, store.append

    async def read(*about: Any) -> Any:
        reads.append(about)
        return await situation(*about)

    async def appended(write: Write) -> AppendResult:
        if write.as_seen is not None:
            conditional.append(write)
        return await append(write)

    monkeypatch.setattr(store, "situation", read)
    monkeypatch.setattr(store, "append", appended)
    return reads, conditional


async def test_a_leg_reads_once_what_is_known_of_its_customer(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with country(dsn, dispute=TWICE) as here:
        reads, conditional = watched(here, monkeypatch)
        view = await here.until(await here.dispute())
        assert view.run.status == "done" and len(here.billing.credits) == 2
        assert len(reads) == 1 and len(conditional) == 2  # it begins with a read, for which nothing is assumed


async def test_what_is_known_of_its_customer_comes_with_the_run(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look = "  - look:\n      call: billing.get_account\n      with: {account_id: input.account_id}\n"
    assert look in TWICE
    async with country(dsn, dispute=TWICE.replace(look, "")) as here:
        reads, conditional = watched(here, monkeypatch)
        told = await here.signal("dispute.opened", "d1", customer="c1", account="a1", amount=100)
        view = await here.until(told["runs_started"][0])
        assert view.run.status == "done" and len(here.billing.credits) == 2
        assert len(reads) == 1 and len(conditional) == 2  # what the signal saw goes with the run
        monkeypatch.setattr(AtHand, "room", lambda self: False)
        view = await here.until(await here.dispute("d2"))
        assert view.run.status == "done" and len(here.billing.credits) == 4
        assert len(reads) == 1 and len(conditional) == 4  # as does what is read by who takes it from the queue


async def withdraw(here: Country) -> None:
    await here.plane.consent(here.crm, "c1", purpose="service", granted=False, source="test")


async def other(here: Country) -> None:
    await here.plane.put_customer(here.crm, "c1", attributes={"segment": "gold"}, identities=[])


@pytest.mark.parametrize(("change", "status", "credits"), [(withdraw, "stuck", 1), (other, "done", 2)])
async def test_what_changes_between_the_judgement_and_the_record_is_judged_again(
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Country], Awaitable[None]],
    status: str,
    credits: int,
) -> None:
    async with country(dsn, dispute=TWICE) as here:
        reads, _ = watched(here, monkeypatch)
        append = here.plane.store.append
        answers: list[AppendResult] = []

        async def meanwhile(write: Write) -> AppendResult:
            second = write.as_seen is not None and len(here.billing.credits) == 1
            if second and not answers:
                await change(here)
            answer = await append(write)
            if second:
                answers.append(answer)
            return answer

        monkeypatch.setattr(here.plane.store, "append", meanwhile)
        view = await here.until(await here.dispute(), "done", "stuck")
        assert view.run.status == status and len(here.billing.credits) == credits
        assert answers == [Changed("c1")] and len(reads) == 2
        if status == "stuck":
            assert view.error is not None and (view.error["name"], view.error["step"]) == ("refused", "more")


async def test_a_refusal_rests_on_what_is_so_now(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A yes is put on record on condition; a no is judged once more, by what is read anew."""
    async with country(dsn, dispute=TWICE) as here:
        reads, _ = watched(here, monkeypatch)
        await withdraw(here)
        judged = here.plane.gate.judged

        async def stale(live: Any, request: Any, *, seen: Any = None, **more: Any) -> Any:
            if seen is not None and request.action == "billing.issue_credit" and seen.situation is not None:
                customer = seen.situation.customer
                gone = replace(seen.situation, customer=replace(customer, consents=()), version="of a moment ago")
                seen.situation = gone
            return await judged(live, request, seen=seen, **more)

        await here.plane.consent(here.crm, "c1", purpose="service", granted=True, source="test")
        monkeypatch.setattr(here.plane.gate, "judged", stale)
        view = await here.until(await here.dispute())
        assert view.run.status == "done" and len(here.billing.credits) == 2
        assert (
            len(reads) == 5
        )  # by the first step, and twice by each credit: to see that it is not so any more, and anew
