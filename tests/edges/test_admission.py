"""Who gets a place, who waits, and who is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from cxplane.edges.http.admission import FIRST, FLOOR, Admission, Place, Refused, Share

NOISY, QUIET, OTHER = ("northwind", "agent:noisy"), ("northwind", "agent:quiet"), ("southwind", "agent:noisy")


def fixed(places: int, *, queue: int = 100, patience_s: float = 30.0) -> Admission:
    return Admission(places, queue=queue, patience_s=patience_s)


async def waiting(admission: Admission, share: Share, n: int = 1) -> list[asyncio.Task[Place]]:
    tasks = [asyncio.create_task(admission.enter(share)) for _ in range(n)]
    await asyncio.sleep(0)
    return tasks


async def refused(task: Awaitable[Place]) -> Refused:
    with pytest.raises(Refused) as told:
        await task
    assert told.value.retry_after_s >= 1
    return told.value


async def test_places_are_taken_at_once_and_then_waited_for_in_order() -> None:
    lane = fixed(2)
    first, second = await lane.enter(NOISY), await lane.enter(NOISY)
    third, fourth = await waiting(lane, NOISY, 2)
    assert (lane.taken, lane.waiting) == (2, 2)
    first.give_back()
    await third
    assert not fourth.done()
    second.give_back()
    await fourth
    assert (lane.taken, lane.waiting) == (2, 0)


async def test_a_place_is_given_back_once() -> None:
    lane = fixed(2)
    place = await lane.enter(NOISY)
    place.give_back()
    place.give_back()
    assert lane.taken == 0


async def test_a_quiet_caller_passes_the_queue_of_a_noisy_one() -> None:
    lane = fixed(4)
    places = [await lane.enter(NOISY) for _ in range(4)]
    noisy = await waiting(lane, NOISY, 20)
    (quiet,) = await waiting(lane, QUIET)
    places[0].give_back()
    await quiet
    assert not any(task.done() for task in noisy)
    for task in noisy:
        task.cancel()


async def test_places_go_in_turn_to_tenants_whatever_their_number_of_callers() -> None:
    lane = fixed(4)
    places = [await lane.enter(("northwind", f"agent:{n}")) for n in range(4)]
    tasks = [task for n in range(10) for task in await waiting(lane, ("northwind", f"agent:{n}"))]
    others = await waiting(lane, OTHER, 2)
    for place in places[:2]:
        place.give_back()
    await asyncio.sleep(0)
    assert all(task.done() for task in others)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()


async def test_nobody_has_all_places() -> None:
    lane = fixed(10)
    for _ in range(8):
        await lane.enter(NOISY)
    (ninth,) = await waiting(lane, NOISY)
    assert not ninth.done()
    await lane.enter(QUIET)
    assert not ninth.done()
    ninth.cancel()


async def test_a_full_queue_makes_room_for_a_quiet_caller_at_the_end_of_the_longest_line() -> None:
    lane = fixed(1, queue=3)
    place = await lane.enter(NOISY)
    line = await waiting(lane, NOISY, 3)
    (fourth,) = await waiting(lane, NOISY)
    assert (await refused(fourth)).why == "full"
    (quiet,) = await waiting(lane, QUIET)
    assert (await refused(line[2])).why == "full"
    assert lane.waiting == 3
    place.give_back()
    (await quiet).give_back()
    await line[0]
    line[1].cancel()


async def test_who_waited_too_long_is_told_when_to_come_back_and_leaves_nothing_behind() -> None:
    lane = fixed(1, patience_s=0.02)
    place = await lane.enter(NOISY)
    assert (await refused(lane.enter(QUIET))).why == "waited"
    place.give_back()
    assert (lane.taken, lane.waiting) == (0, 0)
    await lane.enter(QUIET)


async def test_a_waiter_that_goes_away_takes_no_place() -> None:
    lane = fixed(1)
    place = await lane.enter(NOISY)
    first, second = await waiting(lane, NOISY, 2)
    first.cancel()
    place.give_back()
    await second
    assert (lane.taken, lane.waiting) == (1, 0)


async def test_a_waiter_that_goes_away_just_as_its_place_comes_gives_it_on() -> None:
    lane = fixed(1)
    place = await lane.enter(NOISY)
    first, second = await waiting(lane, NOISY, 2)
    place.give_back()
    first.cancel()
    await second
    assert (lane.taken, lane.waiting) == (1, 0)


async def test_the_limit_goes_down_while_the_store_is_late_and_up_again_while_somebody_waits() -> None:
    late = 1.0
    lane = Admission(512, queue=100, patience_s=30.0, store_late_s=lambda: late)
    assert lane.limit == FIRST
    place = await lane.enter(NOISY)
    while lane.limit > FLOOR:
        await asyncio.sleep(0.01)
    late = 0.0
    tasks = [asyncio.create_task(lane.enter((f"t{n}", "agent:a"))) for n in range(3 * FIRST)]
    while lane.limit <= FLOOR:
        await asyncio.sleep(0.01)
    place.give_back()
    for task in tasks:
        task.cancel()


async def test_a_burst_that_makes_nothing_late_is_let_in() -> None:
    lane = Admission(512, queue=1000, patience_s=60.0, store_late_s=lambda: 0.0)
    places = await asyncio.gather(*(lane.enter(NOISY) for _ in range(3 * FIRST)))
    assert (lane.taken, lane.waiting) == (len(places), 0)
    for place in places:
        place.give_back()
    assert lane.taken == 0
