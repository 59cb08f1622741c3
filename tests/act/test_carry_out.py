from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from cxplane.act.carry_out import BACKOFF_S, PATIENCE_S, backoff_s, carry_out, deadline
from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.http import HttpConnector
from cxplane.domain.catalog import Action, Breaker, Confirm, ConfirmWhen, Limits
from cxplane.domain.decision import Allowed
from cxplane.domain.outcome import Outcome, Status
from tests.connectors.fake import FakeSystem
from tests.connectors.world import (
    ACCOUNT,
    CEL,
    CREDIT,
    CUSTOMER_VALUE,
    KEY,
    SECRET,
    allowed,
    always,
    guarded,
    plan,
    system,
)

CLOCK = SystemClock()
DONE, FAILED, UNKNOWN = Status.DONE, Status.FAILED, Status.UNKNOWN
UNCONFIRMED = replace(CREDIT, confirm=None)


async def act(fake: FakeSystem | str, action: Action = CREDIT, given: Allowed | None = None) -> Outcome:
    connector = guarded(fake)
    began = time.monotonic()
    outcome = await carry_out(given or allowed(action), plan(action), connector, CLOCK, chance=lambda: 0.1)
    assert time.monotonic() - began <= deadline(action).total_seconds() + 0.3
    await connector.aclose()
    for text in (repr(outcome), str(outcome.attempts), str(outcome.error)):
        assert SECRET not in text
        assert CUSTOMER_VALUE not in text
    return outcome


def results(outcome: Outcome) -> list[str]:
    return [attempt.result for attempt in outcome.attempts]


async def test_a_reply_is_enough_where_nothing_else_is_asked(billing: FakeSystem) -> None:
    outcome = await act(billing)
    assert (outcome.status, outcome.confirmed_by, results(outcome)) == (DONE, "reply", ["done"])
    assert outcome.output is not None
    assert outcome.output["credit_id"] == "cr-1"


async def test_what_was_not_done_is_tried_again_with_the_same_key(billing: FakeSystem) -> None:
    billing.fail("write", "503", "429")
    outcome = await act(billing)
    assert (outcome.status, results(outcome)) == (DONE, ["retry", "retry", "done"])
    assert {call.headers["idempotency-key"] for call in billing.seen} == {KEY}


async def test_after_the_last_try_it_is_certainly_not_done(billing: FakeSystem) -> None:
    billing.fail("write", "503", "503", "503")
    outcome = await act(billing)
    assert (outcome.status, outcome.kind, results(outcome)) == (FAILED, "retry", ["retry"] * 3)
    assert "tried 3 times" in (outcome.error or "")
    assert billing.credits == {}


async def test_a_no_is_not_asked_twice(billing: FakeSystem) -> None:
    billing.fail("write", "409")
    outcome = await act(billing)
    assert (outcome.status, outcome.kind, len(billing.seen)) == (FAILED, "refused", 1)


@pytest.mark.parametrize("fault", ["hang_after_commit", "drop_after_commit"])
async def test_done_without_an_answer_is_found_by_the_read(billing: FakeSystem, fault: str) -> None:
    billing.fail("write", fault)
    outcome = await act(billing)
    assert (outcome.status, outcome.confirmed_by) == (DONE, "read billing.find_credit")
    assert results(outcome) == ["unknown", "confirmed"]
    assert outcome.output == {"credit_id": "cr-1"}  # what was read stands for the reply
    assert len(billing.calls("POST")) == 1


@pytest.mark.parametrize("fault", ["500", "drop_before", "garbage", "cut", "off_contract", "redirect", "huge"])
async def test_not_done_without_an_answer_is_done_with_the_same_key(billing: FakeSystem, fault: str) -> None:
    billing.fail("write", fault)
    outcome = await act(billing)
    assert (outcome.status, results(outcome)) == (DONE, ["unknown", "not_done", "done"])
    assert len(billing.credits) == 1


async def test_without_a_read_the_same_key_finds_out(billing: FakeSystem) -> None:
    billing.fail("write", "drop_after_commit")
    outcome = await act(billing, UNCONFIRMED)
    assert (outcome.status, outcome.confirmed_by, results(outcome)) == (DONE, "reply", ["unknown", "done"])
    assert len(billing.credits) == 1


async def test_doubt_is_never_called_failure(billing: FakeSystem) -> None:
    billing.fail("write", "500", "503", "503")
    outcome = await act(billing, UNCONFIRMED)
    assert (outcome.status, outcome.kind) == (UNKNOWN, "unknown")
    billing.fail("write", "drop_before", "409")
    outcome = await act(billing)
    assert (outcome.status, results(outcome)) == (UNKNOWN, ["unknown", "not_done", "refused", "not_done"])


async def test_a_refusal_after_doubt_may_mean_that_it_was_done(billing: FakeSystem) -> None:
    billing.fail("read", "500", "500")
    billing.fail("write", "drop_after_commit", "409")
    outcome = await act(billing)
    assert (outcome.status, results(outcome)) == (UNKNOWN, ["unknown", "unclear"])  # nobody guesses
    billing.fail("write", "409")
    assert (await act(billing, UNCONFIRMED)).status is FAILED  # no doubt, no question


async def test_the_system_down_after_the_commit_leaves_it_unknown(billing: FakeSystem) -> None:
    billing.fail("write", "drop_after_commit")
    billing.fail("read", "503", "503")
    outcome = await act(billing)
    assert (outcome.status, results(outcome)) == (UNKNOWN, ["unknown", "unclear"])


async def test_a_read_that_is_forbidden_does_not_say_not_done(billing: FakeSystem) -> None:
    billing.fail("write", "drop_after_commit")
    billing.fail("read", "403", "403")
    outcome = await act(billing)
    assert (outcome.status, len(billing.calls("POST"))) == (UNKNOWN, 1)


async def test_where_it_must_be_confirmed_the_reply_alone_is_not_success(billing: FakeSystem) -> None:
    outcome = await act(billing, always(CREDIT))
    assert (outcome.status, outcome.confirmed_by) == (DONE, "read billing.find_credit")
    assert results(outcome) == ["done", "confirmed"]


async def test_a_system_that_lies_is_found_out(billing: FakeSystem) -> None:
    billing.fail("write", "lie")
    outcome = await act(billing, always(CREDIT))
    assert (outcome.status, results(outcome)) == (UNKNOWN, ["done", "not_done", "not_done"])
    assert "shows otherwise" in (outcome.error or "")
    assert outcome.output is not None


async def test_a_system_that_shows_late_what_it_did_is_looked_at_twice(billing: FakeSystem) -> None:
    billing.fail("read", "404")
    outcome = await act(billing, always(CREDIT))
    assert (outcome.status, results(outcome)) == (DONE, ["done", "not_done", "confirmed"])


async def test_a_confirmation_that_cannot_be_computed_tells_nothing(billing: FakeSystem) -> None:
    broken = Confirm("billing.find_credit", {"key": "request.key"}, "result.nothing > 1", ConfirmWhen.ALWAYS)
    outcome = await act(billing, replace(CREDIT, confirm=broken))
    assert (outcome.status, outcome.attempts[-1].result) == (UNKNOWN, "unclear")


async def test_a_system_that_asks_for_patience_is_left_in_peace(billing: FakeSystem) -> None:
    billing.extra_headers = "Retry-After: 60\r\n"
    billing.fail("write", "429")
    outcome = await act(billing)
    assert (outcome.status, len(billing.seen)) == (FAILED, 1)


async def test_an_open_breaker_ends_the_trying_at_once(billing: FakeSystem) -> None:
    connector = guarded(billing, breaker=Breaker(failures=1, open_for=timedelta(seconds=30)))
    billing.fail("write", "503", "503", "503")
    outcome = await carry_out(allowed(), plan(CREDIT), connector, CLOCK)
    await connector.aclose()
    assert (outcome.status, outcome.kind, len(billing.seen)) == (FAILED, "retry", 1)
    assert "calls pause for 30 s" in (outcome.error or "")


async def test_a_system_that_is_not_there_fails_certainly() -> None:
    outcome = await act("http://127.0.0.1:1")
    assert (outcome.status, outcome.kind, results(outcome)) == (FAILED, "retry", ["retry"] * 3)


async def test_reads_are_tried_again_and_give_their_output(billing: FakeSystem) -> None:
    billing.fail("read", "500", "hang")
    outcome = await act(billing, ACCOUNT, allowed(ACCOUNT, account_id="a1"))
    assert (outcome.status, results(outcome)) == (DONE, ["retry", "retry", "done"])
    assert outcome.output == {"account_id": "a1", "balance": 5}
    billing.fail("read", "garbage", "off_contract", "500")
    assert (await act(billing, ACCOUNT, allowed(ACCOUNT, account_id="a1"))).status is FAILED


async def test_an_input_that_cannot_be_sent_fails_before_the_call(billing: FakeSystem) -> None:
    outcome = await act(billing, CREDIT, allowed(account_id="../x", amount=1))
    assert (outcome.status, outcome.kind, billing.seen) == (FAILED, "refused", [])


async def test_a_missing_secret_fails_before_the_call_and_is_not_tried_again(billing: FakeSystem) -> None:
    connector = HttpConnector(system(billing), CEL, EnvironmentVault({}))
    outcome = await carry_out(allowed(), plan(CREDIT), connector, CLOCK)
    await connector.aclose()
    assert (outcome.status, outcome.kind, len(outcome.attempts)) == (FAILED, "retry", 1)
    assert "BILLING_TOKEN" in (outcome.error or "")
    assert billing.seen == []


async def test_a_fault_of_ours_after_sending_leaves_doubt(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks:
        async def read(self, *_: object, **__: object) -> object:
            raise KeyError(CUSTOMER_VALUE)

        write = preview = aclose = read

    outcome = await carry_out(allowed(UNCONFIRMED), plan(UNCONFIRMED), Breaks(), CLOCK, chance=lambda: 0)  # type: ignore[arg-type]
    assert outcome.status is UNKNOWN
    assert CUSTOMER_VALUE not in str(outcome.attempts) + caplog.text


async def test_only_an_allowed_is_carried_out(billing: FakeSystem) -> None:
    connector = guarded(billing)
    with pytest.raises(TypeError):
        await carry_out(allowed().request, plan(CREDIT), connector, CLOCK)  # type: ignore[arg-type]
    dry = msgspec.structs.replace(allowed(), request=allowed().request.changed(dry_run=True))
    with pytest.raises(ValueError, match="dry run"):
        await carry_out(dry, plan(CREDIT), connector, CLOCK)
    await connector.aclose()
    assert billing.seen == []


async def test_twenty_at_once_under_faults_do_it_once(billing: FakeSystem) -> None:
    billing.fail("write", *["drop_after_commit", "500", "hang_after_commit", "503", "garbage"] * 4)
    patient = replace(CREDIT, limits=Limits(timeout=timedelta(seconds=0.3), attempts=6))
    connector = guarded(billing)
    outcomes = await asyncio.gather(*(carry_out(allowed(), plan(patient), connector, CLOCK) for _ in range(20)))
    await connector.aclose()
    assert {outcome.status for outcome in outcomes} == {DONE}
    assert len(billing.credits) == 1


def test_waits_grow_and_spread() -> None:
    assert [backoff_s(n, lambda: 0.999) for n in range(6)] == pytest.approx(
        [0.999 * min(PATIENCE_S, BACKOFF_S * 2**n) for n in range(6)]
    )
    assert backoff_s(3, lambda: 0.0) == 0.0


def test_a_deadline_covers_every_try_wait_and_look() -> None:
    five = replace(CREDIT, limits=Limits(timeout=timedelta(seconds=5), attempts=3))
    assert deadline(five) == timedelta(seconds=27.3)
    assert deadline(replace(five, confirm=None)) == timedelta(seconds=17)
