from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.guarded import CircuitBreaker, Fuse, Guarded, Guards, Pace
from cxplane.connectors.http import HttpConnector
from cxplane.domain.catalog import Breaker, Limits
from cxplane.domain.errors import FailureKind, SystemFailure
from tests.connectors.fake import FakeSystem
from tests.connectors.world import ACCOUNT, CEL, SECRET, guarded, system

INPUT = {"account_id": "a1"}


class Ticks:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_a_breaker_opens_probes_and_closes() -> None:
    now = Ticks()
    breaker = CircuitBreaker(Breaker(failures=2, open_for=timedelta(seconds=10)), now)
    for _ in range(2):
        assert not breaker.blocks()
        breaker.leave(well=False, probe=breaker.enter())
    assert (breaker.state, breaker.blocks(), breaker.wait_s()) == (Fuse.OPEN, True, 10.0)
    now.at += 10
    assert (breaker.state, breaker.blocks()) == (Fuse.PROBING, False)
    probe = breaker.enter()
    assert breaker.blocks()  # one call finds out, the others wait
    breaker.leave(well=False, probe=probe)
    assert breaker.state is Fuse.OPEN
    now.at += 10
    breaker.leave(well=None, probe=breaker.enter())  # the probe was cancelled: the next one tries
    assert not breaker.blocks()
    breaker.leave(well=True, probe=breaker.enter())
    assert breaker.state is Fuse.CLOSED


def test_only_failures_in_a_row_open_a_breaker() -> None:
    breaker = CircuitBreaker(Breaker(failures=2, open_for=timedelta(seconds=10)), Ticks())
    for well in (False, True, False, None, True, False):
        breaker.leave(well=well, probe=breaker.enter())
    assert breaker.state is Fuse.CLOSED


async def test_an_open_breaker_fails_at_once_and_says_why(billing: FakeSystem) -> None:
    connector = guarded(billing, breaker=Breaker(failures=2, open_for=timedelta(seconds=0.3)))
    billing.fail("read", "500", "503")
    for _ in range(2):
        with pytest.raises(SystemFailure):
            await connector.read(ACCOUNT, INPUT, timeout_s=1)
    with pytest.raises(SystemFailure, match="failed several times in a row") as caught:
        await connector.read(ACCOUNT, INPUT, timeout_s=1)
    assert caught.value.kind is FailureKind.RETRY
    assert len(billing.seen) == 2
    assert connector.states() == {"billing": Fuse.OPEN}
    await asyncio.sleep(0.35)
    await connector.read(ACCOUNT, INPUT, timeout_s=1)
    assert connector.states() == {"billing": Fuse.CLOSED}
    await connector.aclose()


@pytest.mark.parametrize("back", [True, False])
async def test_who_comes_with_the_call_that_finds_out_waits_for_it_and_loses_no_round(
    billing: FakeSystem, back: bool
) -> None:
    connector = guarded(billing, breaker=Breaker(failures=2, open_for=timedelta(seconds=0.3)))
    billing.fail("read", "500", "503")
    for _ in range(2):
        with pytest.raises(SystemFailure):
            await connector.read(ACCOUNT, {"account_id": "a1"}, timeout_s=1)
    await asyncio.sleep(0.35)
    seen = len(billing.seen)
    billing.fail("read", "slow" if back else "503")
    asked = (connector.read(ACCOUNT, {"account_id": f"a{n}"}, timeout_s=3) for n in range(5))
    told = await asyncio.gather(*asked, return_exceptions=True)
    failed = [one for one in told if isinstance(one, SystemFailure)]
    assert (len(failed), len(billing.seen) - seen) == ((0, 5) if back else (5, 1)), told


async def test_what_callers_get_wrong_opens_no_breaker(billing: FakeSystem) -> None:
    connector = guarded(billing, breaker=Breaker(failures=1, open_for=timedelta(seconds=60)))
    billing.fail("read", "404", "429", "400")
    for _ in range(3):
        with pytest.raises(SystemFailure):
            await connector.read(ACCOUNT, INPUT, timeout_s=1)
    with pytest.raises(SystemFailure):
        await connector.read(ACCOUNT, {"account_id": "../x"}, timeout_s=1)
    await connector.read(ACCOUNT, INPUT, timeout_s=1)
    await connector.aclose()


async def test_no_more_calls_at_once_than_the_system_takes(billing: FakeSystem) -> None:
    connector = guarded(billing, concurrency=3)
    billing.fail("read", *["slow"] * 3)
    await asyncio.gather(*(connector.read(ACCOUNT, INPUT, timeout_s=5) for _ in range(20)))
    assert billing.most_at_once == 3
    await connector.aclose()


async def test_waiting_for_a_place_ends_with_the_time_limit(billing: FakeSystem) -> None:
    connector = guarded(billing, concurrency=1)
    billing.fail("read", "slow")
    first = asyncio.create_task(connector.read(ACCOUNT, INPUT, timeout_s=5))
    await asyncio.sleep(0.05)
    with pytest.raises(SystemFailure, match="no place became free") as caught:
        await connector.read(ACCOUNT, INPUT, timeout_s=0.1)
    assert caught.value.kind is FailureKind.RETRY
    await first
    await connector.read(ACCOUNT, INPUT, timeout_s=1)
    await connector.aclose()


async def test_a_cancelled_call_gives_its_place_back(billing: FakeSystem) -> None:
    connector = guarded(billing, concurrency=1, breaker=Breaker(failures=1, open_for=timedelta(seconds=60)))
    billing.fail("read", "hang")
    task = asyncio.create_task(connector.read(ACCOUNT, INPUT, timeout_s=5))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await connector.read(ACCOUNT, INPUT, timeout_s=1)
    await connector.aclose()


async def test_an_action_has_a_limit_of_its_own(billing: FakeSystem) -> None:
    connector = guarded(billing, concurrency=10)
    narrow = replace(ACCOUNT, limits=Limits(concurrency=1))
    billing.fail("read", *["slow"] * 2)
    await asyncio.gather(*(connector.read(narrow, INPUT, timeout_s=5) for _ in range(2)))
    assert billing.most_at_once == 1
    await connector.aclose()


async def test_the_rate_holds(billing: FakeSystem) -> None:
    connector = guarded(billing, rate=20.0)
    began = time.monotonic()
    await asyncio.gather(*(connector.read(ACCOUNT, INPUT, timeout_s=5) for _ in range(10)))
    assert time.monotonic() - began >= 0.35  # two at once, then one every 50 ms
    await connector.aclose()


def test_a_turn_that_would_come_too_late_is_not_taken() -> None:
    now = Ticks()
    pace = Pace(1.0, now)
    assert [pace.reserve(2.5) for _ in range(4)] == [0.0, 1.0, 2.0, None]
    now.at += 1
    assert pace.reserve(2.5) == 2.0


async def test_releases_share_the_state_of_limits_that_they_do_not_change(billing: FakeSystem) -> None:
    guards, one = Guards(), system(billing, breaker=Breaker(failures=1, open_for=timedelta(seconds=60)))
    connectors = [
        Guarded(HttpConnector(one, CEL, EnvironmentVault({"BILLING_TOKEN": SECRET})), {"billing": one}, guards)
        for _ in range(2)
    ]
    billing.fail("read", "500")
    with pytest.raises(SystemFailure):
        await connectors[0].read(ACCOUNT, INPUT, timeout_s=1)
    with pytest.raises(SystemFailure, match="in a row"):
        await connectors[1].read(ACCOUNT, INPUT, timeout_s=1)
    for connector in connectors:
        await connector.aclose()
