"""Writes that come together are added together, and each is answered for itself."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.adapters.postgres.encoding import encode, ends
from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.record import Appended, AppendResult, KeyTaken, Moved, NewEntry, RequestTaken, Write
from tests.contracts.writes import ACTION, NOW, T, allowed, asked, takes, told, used


async def rebuilt(store: PostgresStore) -> None:
    """What entries folded together have made is what they make one after the other."""
    before = await projections(store)
    await store._rows("select cxplane.rebuild($1)", T)
    assert await projections(store) == before


async def projections(store: PostgresStore) -> dict[str, list[str]]:
    tables = ("request", "claim", "budget_use", "intent", "approval")
    return {t: [r[0] for r in await store._rows(f"select x::text from cxplane.{t} x order by 1")] for t in tables}


@pytest.mark.parametrize("seed", range(4))
async def test_each_of_many_that_come_at_once_is_answered_for_itself(store: PostgresStore, seed: int) -> None:
    chance = random.Random(seed)
    await asyncio.gather(*(store.append(allowed(f"old{n}", f"k{n}")) for n in range(10)))
    writes: list[Write] = []
    for n in range(60):
        match chance.randrange(6):
            case 0:  # an entry of its own
                notes = tuple(NewEntry("note", f"n{n}.{i}", NOW, "x", {"n": n}) for i in range(chance.randrange(1, 6)))
                writes.append(Write(T, notes))
            case 1:  # a key of its own
                writes.append(allowed(f"r{n}", f"own{n}"))
            case 2:  # a key that is held, or freed by another one of these
                writes.append(allowed(f"r{n}", f"k{chance.randrange(10)}"))
            case 3:  # there already
                writes.append(allowed(f"old{chance.randrange(10)}"))
            case 4:  # one of them frees key and budget
                writes.append(told(f"old{chance.randrange(10)}", chance.choice(["done", "failed"])))
            case _:  # all of one budget
                writes.append(allowed(f"r{n}", f"own{n}", takes(10, limit_money=55)))
    results = await asyncio.gather(*(store.append(write) for write in writes))
    fitted = {n: check(write, result) for n, (write, result) in enumerate(zip(writes, results, strict=True))}
    for n, positions in fitted.items():
        if positions:
            found = {e.position: e for e in await store.entries(T, limit=1000)}
            kept = [(found[p].kind, found[p].stream) for p in positions]
            assert kept == [(e.kind, e.stream) for e in writes[n].entries]
            assert list(positions) == sorted(positions)
    money, _, _ = await used(store)
    assert money <= 55
    await rebuilt(store)


def check(write: Write, result: AppendResult) -> tuple[int, ...]:
    """The positions that it got. Whatever else it is told concerns what it asked for."""
    match result:
        case Appended():
            assert len(result.positions) == len(write.entries)
            return result.positions
        case RequestTaken():
            assert result.request == write.new_request
        case Moved():
            assert write.expect is not None and result.request == write.expect[0]
        case KeyTaken():
            assert write.claim is not None and result.request.startswith(("old", "r"))
        case _:
            assert write.reservations
    return ()


async def test_a_request_that_nothing_follows_and_one_that_another_follows(store: PostgresStore) -> None:
    """Requests are folded with the decision on them, where it comes next; else by themselves."""
    alone = [Write(T, (asked(f"a{n}"),), new_request=f"a{n}") for n in range(3)]
    two = Write(T, (asked("b1"), asked("b2"), *allowed("b3").entries), new_request="b1")
    results = await asyncio.gather(*(store.append(write) for write in (*alone, two, *alone)))
    assert [isinstance(r, Appended) for r in results] == [True] * 4 + [False] * 3
    requests, _ = await store.requests(T)
    assert {r.id: r.verdict for r in requests} == dict.fromkeys(["a0", "a1", "a2", "b1", "b2"]) | {"b3": "allow"}
    await rebuilt(store)


NAMES = st.lists(st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3), min_size=1, max_size=12)


@given(NAMES)
def test_no_two_of_a_group_change_the_same(touched: list[set[str]]) -> None:
    batch = [
        encode(
            Write(T, tuple(NewEntry("note", name, NOW, "x", {}) for name in sorted(names))), None, [None] * len(names)
        )  # type: ignore[arg-type]
        for names in touched
    ]
    found = ends(batch)
    assert found == sorted(set(found)) and found[-1] == len(batch)
    for first, last in zip([0, *found[:-1]], found, strict=True):
        group = touched[first:last]
        assert sum(map(len, group)) == len(set().union(*group))


def test_who_claims_the_same_key_or_budget_is_in_another_group() -> None:
    both = [allowed("r1", "k"), allowed("r2", "k"), allowed("r3", None, takes(1)), allowed("r4", None, takes(1))]
    batch = [encode(write, None, [None, None]) for write in both]  # type: ignore[arg-type]
    assert ends(batch) == [1, 3, 4]
    assert ACTION in "".join(batch[0].names)
