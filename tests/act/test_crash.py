"""The plane is killed between intent and outcome; what happened is found out afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from cxplane.act.resolve import resolve
from cxplane.adapters.clock import SystemClock
from cxplane.domain.outcome import Status
from tests.connectors.fake import FakeSystem
from tests.connectors.world import CREDIT, KEY, allowed, guarded, plan

ROOT = Path(__file__).parents[2]
ACTS = """
import asyncio, sys
from dataclasses import replace
from datetime import timedelta
from cxplane.act.carry_out import carry_out
from cxplane.adapters.clock import SystemClock
from cxplane.domain.catalog import Limits
from tests.connectors.world import CREDIT, allowed, guarded, plan

patient = replace(CREDIT, limits=Limits(timeout=timedelta(seconds=30)))
asyncio.run(carry_out(allowed(), plan(patient), guarded(sys.argv[1]), SystemClock()))
"""


@pytest.mark.parametrize(("fault", "done_at_the_crash"), [("hang_after_commit", True), ("hang", False)])
async def test_killed_in_the_middle_of_a_call_it_is_done_once(
    billing: FakeSystem, fault: str, done_at_the_crash: bool
) -> None:
    billing.fail("write", fault)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    plane = await asyncio.create_subprocess_exec(sys.executable, "-c", ACTS, billing.url, env=environment)
    async with asyncio.timeout(30):
        while not billing.calls("POST"):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    plane.send_signal(signal.SIGKILL)
    await plane.wait()
    assert (KEY in billing.credits) is done_at_the_crash

    connector = guarded(billing)
    outcome = await resolve(allowed(), plan(CREDIT), connector, SystemClock())
    await connector.aclose()
    assert outcome.status is Status.DONE
    assert list(billing.credits) == [KEY]
    assert len(billing.calls("POST")) == (1 if done_at_the_crash else 2)
