from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from cxplane.act.carry_out import carry_out
from cxplane.act.resolve import MAX_LOOKS, next_look, resolve
from cxplane.adapters.clock import SystemClock
from cxplane.domain.catalog import Action, Confirm, ConfirmWhen
from cxplane.domain.outcome import Outcome, Status
from tests.connectors.fake import FakeSystem
from tests.connectors.world import ACCOUNT, CREDIT, CUSTOMER_VALUE, KEY, SECRET, allowed, always, guarded, plan

CLOCK = SystemClock()
ALWAYS = ConfirmWhen.ALWAYS
UNCONFIRMED = replace(CREDIT, confirm=None)


async def look_into(
    fake: FakeSystem, action: Action = CREDIT, *, looks: int = 0, last: Outcome | None = None
) -> Outcome:
    connector = guarded(fake)
    outcome = await resolve(allowed(action), plan(action), connector, CLOCK, looks=looks, last=last)
    await connector.aclose()
    assert SECRET not in f"{outcome!r}{outcome.error}"
    assert CUSTOMER_VALUE not in f"{outcome!r}{outcome.error}"
    return outcome


def done_before_the_crash(fake: FakeSystem) -> None:
    fake.credits[KEY] = {"credit_id": "cr-9", "dispute_id": "d1", "amount": 500}


async def test_after_a_crash_the_read_finds_what_was_done(billing: FakeSystem) -> None:
    done_before_the_crash(billing)
    outcome = await look_into(billing)
    assert (outcome.status, outcome.confirmed_by) == (Status.DONE, "read billing.find_credit")
    assert outcome.output == {"credit_id": "cr-9"}
    assert billing.calls("POST") == []


async def test_after_a_crash_before_the_call_it_is_done_now_with_the_same_key(billing: FakeSystem) -> None:
    outcome = await look_into(billing)
    assert (outcome.status, [a.result for a in outcome.attempts]) == (Status.DONE, ["not_done", "done"])
    assert list(billing.credits) == [KEY]


async def test_without_a_read_the_same_key_finds_out(billing: FakeSystem) -> None:
    done_before_the_crash(billing)
    outcome = await look_into(billing, UNCONFIRMED)
    assert (outcome.status, outcome.confirmed_by) == (Status.DONE, "reply")
    assert len(billing.credits) == 1


async def test_where_the_read_needs_an_output_that_nobody_got_the_same_key_finds_out(billing: FakeSystem) -> None:
    done_before_the_crash(billing)
    by_output = Confirm("billing.find_credit", {"key": "request.key"}, "result.credit_id == output.credit_id", ALWAYS)
    outcome = await look_into(billing, replace(CREDIT, confirm=by_output))
    assert (outcome.status, [a.result for a in outcome.attempts]) == (Status.DONE, ["done", "confirmed"])
    assert len(billing.credits) == 1


async def test_while_the_system_is_down_it_stays_unknown_and_then_a_person_must_look(billing: FakeSystem) -> None:
    for looks in range(MAX_LOOKS):
        billing.fail("read", "503", "503")
        outcome = await look_into(billing, looks=looks)
        assert outcome.status is (Status.STUCK if looks == MAX_LOOKS - 1 else Status.UNKNOWN)
    assert "settle the request as done or not done" in (outcome.error or "")
    assert billing.calls("POST") == []


async def test_not_done_and_then_refused_is_certainly_not_done(billing: FakeSystem) -> None:
    billing.fail("write", "409")
    outcome = await look_into(billing)
    assert (outcome.status, outcome.kind) == (Status.FAILED, "refused")


async def test_refused_without_a_read_stays_open_until_a_person_looks(billing: FakeSystem) -> None:
    billing.fail("write", "409", "409")
    assert (await look_into(billing, UNCONFIRMED)).status is Status.UNKNOWN
    assert (await look_into(billing, UNCONFIRMED, looks=MAX_LOOKS)).status is Status.STUCK


async def test_a_system_that_lied_once_gets_the_same_key_again(billing: FakeSystem) -> None:
    billing.fail("write", "lie")
    connector = guarded(billing)
    first = await carry_out(allowed(), plan(always(CREDIT)), connector, CLOCK)
    await connector.aclose()
    assert first.status is Status.UNKNOWN
    outcome = await look_into(billing, always(CREDIT), looks=1, last=first)
    assert (outcome.status, len(billing.credits)) == (Status.DONE, 1)


async def test_a_system_that_keeps_lying_goes_to_a_person(billing: FakeSystem) -> None:
    billing.fail("write", "lie", "lie")
    connector = guarded(billing)
    first = await carry_out(allowed(), plan(always(CREDIT)), connector, CLOCK)
    await connector.aclose()
    outcome = await look_into(billing, always(CREDIT), looks=1, last=first)
    assert outcome.status is Status.STUCK
    assert "said it was done, but billing.find_credit shows otherwise" in (outcome.error or "")


async def test_an_open_read_is_read_again(billing: FakeSystem) -> None:
    connector = guarded(billing)
    given = allowed(ACCOUNT, account_id="a1")
    outcome = await resolve(given, plan(ACCOUNT), connector, CLOCK)
    assert outcome.status is Status.DONE
    billing.fail("read", "500")
    assert (await resolve(given, plan(ACCOUNT), connector, CLOCK)).status is Status.FAILED
    await connector.aclose()


async def test_only_an_allowed_is_resolved(billing: FakeSystem) -> None:
    connector = guarded(billing)
    with pytest.raises(TypeError):
        await resolve(allowed().request, plan(CREDIT), connector, CLOCK)  # type: ignore[arg-type]
    await connector.aclose()


def test_looks_come_ever_later() -> None:
    waits = [next_look(n) for n in range(MAX_LOOKS + 2)]
    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=1)
    assert sum(waits[:MAX_LOOKS], timedelta()) > timedelta(minutes=20)
