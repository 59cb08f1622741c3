"""Wall clocks that are wrong, as real processes see them: one that steps an hour under a worker, and one of two that is off by an hour.

Times are the store's. A machine with a wrong clock does nothing early, nothing late and nothing twice.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.clocks import step_clock
from tests.crash.land import Land, land

HOUR = 3600
WITHIN_S = 1800
PAUSE_S = 4

PACED = f"""
journey: paced
version: 1
summary: Waits for a time, for an approval where the amount asks for it, and for a signal
owner: care
input:
  type: object
  required: [account_id, dispute_id, amount]
  properties: {{account_id: {{type: string}}, dispute_id: {{type: string}}, amount: {{type: integer}}}}
do:
  - flag:
      call: crm.flag
      with: {{dispute_id: input.dispute_id}}
  - pause:
      wait: {PAUSE_S}s
  - credit:
      call: billing.issue_credit
      with: {{account_id: input.account_id, dispute_id: input.dispute_id, amount: input.amount}}
  - document:
      listen: {{signal: claim.document, key: input.dispute_id, within: {WITHIN_S}s}}
  - note:
      call: cases.note
      with: {{dispute_id: input.dispute_id}}
  - settled:
      goal: {{name: settled, achieved: "steps.note.credit_id != ''"}}
"""

PACES = {"p1": 1000, "p2": 1000, "p3": 9000, "p4": 9000}  # the last two are held for an approval
LISTENING = "select count(*) from cxplane.timer where not fired and due > clock_timestamp() + interval '10 min'"
HELD = "select count(*) from cxplane.approval where status = 'open'"


def test_the_shim_moves_the_wall_clock_of_a_process_and_nothing_else(tmp_path: Path) -> None:
    clock = step_clock(tmp_path)
    script = (
        "import sys, time, datetime\n"
        "for line in sys.stdin:\n"
        "    wall = (time.time(), datetime.datetime.now(datetime.UTC).timestamp(), time.clock_gettime(time.CLOCK_REALTIME))\n"
        "    print(*wall, time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=clock.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as seen:
        assert seen.stdin is not None and seen.stdout is not None
        for off in (0, HOUR, -HOUR):
            clock.off_by(off)
            before = time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
            seen.stdin.write("\n")
            seen.stdin.flush()
            *walls, monotonic, boot = map(float, seen.stdout.readline().split())
            after = time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
            assert all(before[0] - 0.01 <= wall - off <= after[0] + 0.01 for wall in walls)
            assert before[1] <= monotonic <= after[1] and before[2] <= boot <= after[2]
        seen.stdin.close()


async def _paced(world: Land) -> list[str]:
    starts = (world.here.start("paced", account_id="a1", dispute_id=d, amount=amount) for d, amount in PACES.items())
    return list(await asyncio.gather(*starts))


async def _disputes(world: Land, *names: str) -> list[str]:
    return list(await asyncio.gather(*(world.here.dispute(name) for name in names)))


async def _unknown(world: Land, name: str) -> list[str]:
    """A dispute whose first effect was done and got no answer, and is not to be seen yet."""
    world.billing.fail("write", "drop_after_commit")
    world.billing.fail("read", *["503"] * 4)
    runs = await _disputes(world, name)
    await world.comes_to("select count(*) from cxplane.request where status = 'unknown'", 1)
    return runs


async def _times_are_right(world: Land, listening: int, held: int) -> None:
    """What waits now ends when its journey and its policy say, by the store's clock."""
    await world.comes_to(LISTENING, listening)
    await world.comes_to(HELD, held)
    left = await world.ask(
        "select extract(epoch from due - clock_timestamp())::float from cxplane.timer where not fired"
    )
    assert len(left) == listening and all(WITHIN_S - 120 < row[0] <= WITHIN_S + 1 for row in left), left
    ends = (
        "select extract(epoch from expires_at - clock_timestamp())::float from cxplane.approval where status = 'open'"
    )
    assert all(HOUR - 120 < row[0] <= HOUR + 1 for row in await world.ask(ends)), await world.ask(ends)


async def _approve(world: Land) -> None:
    approvals, _ = await world.here.plane.approvals(world.here.maria, status="open")
    assert len(approvals) == 2
    for one in approvals:
        await world.here.plane.approve(world.here.maria, one.id)


async def _documents_come(world: Land) -> None:
    for name in PACES:
        await world.here.signal("claim.document", name, id=f"s-{name}")


async def _each_once(world: Land, *names: str) -> None:
    wanted = {(path, name): 1 for path in ("/flags", "/credits", "/notes") for name in (*PACES, *names)}
    path_of = {s.headers.get("idempotency-key"): s.path for s in world.billing.calls("POST")}
    assert Counter((path_of[key], done["dispute_id"]) for key, done in world.billing.credits.items()) == wanted
    assert world.billing.keys_at_once == 0
    await world.nobody_acted()


@pytest.mark.timeout(170)
@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["forward and back again", "back and forward again"])
async def test_a_wall_clock_that_steps_under_a_worker_moves_no_time_and_repeats_nothing(
    dsn: str, tmp_path: Path, off: int
) -> None:
    clock = step_clock(tmp_path)
    async with land(dsn, tmp_path, paced=PACED) as world:
        world.lease_s = 6.0  # two busy cores must not look like a dead worker
        world.billing.pause_s = 0.3
        await world.worker(env=clock.env)
        paced = await _paced(world)
        await world.comes_to("select count(*) from cxplane.timer where not fired", len(PACES))
        runs = await _disputes(world, *(f"d{n}" for n in range(8)))
        while len(world.billing.calls("POST")) < len(PACES) + 3:
            await asyncio.sleep(0.01)
        left = await world.ask("select extract(epoch from min(due) - clock_timestamp())::float from cxplane.timer")
        parked = time.monotonic()
        assert not any(s.body.get("dispute_id") in PACES and s.path == "/credits" for s in world.billing.seen if s.body)

        clock.off_by(off)  # effects under way, leases held, waits for a time
        runs += await _disputes(world, *(f"e{n}" for n in range(4)))
        while not any(s.path == "/credits" and s.body["dispute_id"] in PACES for s in world.billing.calls("POST")):
            assert time.monotonic() < parked + 60, world.log.read_text()[-3000:]
            await asyncio.sleep(0.01)
        assert time.monotonic() - parked > left[0][0] - 0.2, "a wait was over too early"
        await world.all_done(runs, 40)
        await _times_are_right(world, listening=2, held=2)
        runs += await _unknown(world, "u1")

        clock.off_by(0)  # an outcome to be looked up, approvals and a signal waited for, all begun at the wrong time
        await world.all_done(runs, 40)
        await _times_are_right(world, listening=2, held=2)
        await _approve(world)
        await _times_are_right(world, listening=4, held=0)
        await _documents_come(world)
        await world.all_done(paced, 40)
        await _each_once(world, *(f"d{n}" for n in range(8)), *(f"e{n}" for n in range(4)), "u1")


@pytest.mark.timeout(170)
@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
async def test_a_worker_whose_wall_clock_is_off_by_an_hour_beside_one_that_is_right_harms_nothing(
    dsn: str, tmp_path: Path, off: int
) -> None:
    clock = step_clock(tmp_path)
    clock.off_by(off)
    async with land(dsn, tmp_path, paced=PACED) as world:
        world.lease_s = 6.0
        wrong = await world.worker(env=clock.env)
        paced = await _paced(world)  # all their times are set by the one that is wrong
        await _times_are_right(world, listening=2, held=2)

        await world.worker()
        world.billing.pause_s = 0.3
        names = [f"d{n}" for n in range(40)]
        runs = await _disputes(world, *names)
        await world.all_done(runs, 60)
        await _times_are_right(world, listening=2, held=2)
        world.billing.pause_s = 0.0
        runs += await _unknown(world, "u1")
        wrong.kill()  # what it said when to look again counts for the one that is left
        await world.all_done(runs, 40)
        await _approve(world)
        await _times_are_right(world, listening=4, held=0)
        await _documents_come(world)
        await world.all_done(paced, 40)
        await _each_once(world, *names, "u1")
