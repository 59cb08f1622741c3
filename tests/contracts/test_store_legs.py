"""What many legs write at once is folded at once, and comes to the same as entry by entry."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from cxplane.adapters.postgres.encoding import _of_leg, _takes
from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.record import Appended, AsSeen, Changed, Fence, Fenced, KeyClaim, KeyTaken, Moved, NewEntry, Write
from tests.contracts.mailroom import RELEASE, begun, letter
from tests.contracts.writes import ACTION, NOW, T, allowed, asked, came_out, decided, intended, takes

TABLES = ("request", "claim", "budget_use", "intent", "run", "inbox", "timer", "listen")


def advanced(run: str, status: str = "ready", **more: Any) -> NewEntry:
    body = {"run": run, "status": status} | more
    private: dict[str, Any] = {"state": {"of": run}}
    if status != "ready":
        body |= {"idle": True, "at": ["here"]}
        private["waits"] = ["something"]
    return NewEntry("run.advanced", run, NOW, "cxplane", body, private, release=RELEASE)


@dataclass
class Going:
    """A run, and what its holder knows."""

    run: str
    fence: Fence
    took: list[str]
    open: str | None = None  # a request that is under way
    ended: bool = False
    asked: int = 0
    done: list[str] = field(default_factory=list)

    def next(self, chance: random.Random) -> Write:
        entries: list[NewEntry] = []
        expect = claim = None
        if self.open is not None:
            status = chance.choice(["done", "done", "done", "failed", "unknown"])
            expect, entries = (self.open, "running"), [came_out(self.open, status)]
            self.done += [self.open] if status == "done" else []
            self.open = None
        how = chance.choice(["ready"] * 6 + ["waiting", "done"])
        more: dict[str, Any] = {"took": self.took} if self.took else {}
        if chance.random() < 0.1:
            more["timers"] = [["1:wait", "2027-01-01T00:00:00Z"]]
        if chance.random() < 0.1:
            more["listens"] = [["doc.in", self.run]]
        self.took = []
        entries.append(advanced(self.run, how, **more))
        self.ended = how != "ready"
        if not self.ended:
            self.asked += 1
            id = f"{self.run}.{self.asked}"
            key = chance.choice([None, id, id, f"shared{chance.randrange(3)}"])
            undoes = {"undoes": chance.choice(self.done)} if self.done and chance.random() < 0.3 else {}
            entries += [asked(id, key=key, run=self.run, **undoes), intended(id)]
            claim, self.open = (KeyClaim(ACTION, key, id) if key else None), id
        return Write(T, tuple(entries), fence=self.fence, expect=expect, claim=claim, new_request=self.open)


async def shown(store: PostgresStore) -> dict[str, list[str]]:
    found = {}
    for table in TABLES:
        less = "- 'seq'" if table == "inbox" else ""
        found[table] = [
            r[0] for r in await store._rows(f"select (to_jsonb(x) {less})::text from cxplane.{table} x order by 1")
        ]
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_legs_folded_at_once_come_to_the_same_as_entry_by_entry(store: PostgresStore, seed: int) -> None:
    chance = random.Random(seed)
    ids = [f"r{n}" for n in range(30)]
    await asyncio.gather(*(store.append(begun(id)) for id in ids))
    runs = []
    for id in ids:
        taken = await store.runs.take(T, id)
        assert taken is not None
        runs.append(Going(id, taken.fence, [m.ref for m in taken.mail]))
    plain = 0
    for _ in range(5):
        going = [run for run in runs if not run.ended]
        writes = [run.next(chance) for run in going]
        plain += sum(_of_leg(write, _takes(write)) for write in writes)
        told = [letter(run.run, 1) for run in going if chance.random() < 0.2]
        results = await asyncio.gather(*(store.append(write) for write in (*writes, *told)))
        for run, result in zip(going, results, strict=False):
            if isinstance(result, KeyTaken):  # as nothing of it is on record, it can do no more
                run.ended = True
            else:
                assert isinstance(result, Appended), result
    assert plain > 30
    before = await shown(store)
    assert before["intent"] and before["claim"] and before["request"]
    await store._rows("select cxplane.rebuild($1)", T)
    assert await shown(store) == before


async def holding(store: PostgresStore, *ids: str) -> dict[str, tuple[Fence, str]]:
    """Runs that are held: their fences, and the mail that started each."""
    await asyncio.gather(*(store.append(begun(id)) for id in ids))
    found = {}
    for id in ids:
        taken = await store.runs.take(T, id)
        assert taken is not None
        found[id] = (taken.fence, taken.mail[0].ref)
    return found


async def test_each_leg_of_a_group_is_answered_for_itself(store: PostgresStore) -> None:
    held = await holding(store, *(f"r{n}" for n in range(8)))
    await store.append(allowed("q1", "k1"))
    await store.append(letter("r5", 1))

    def write(n: int, *entries: NewEntry, status: str = "ready", **more: Any) -> Write:
        fence, ref = held[f"r{n}"]
        return Write(T, (*entries, advanced(f"r{n}", status, took=[ref])), fence=fence, **more)

    known = await store.situation(T, "c1", None)
    assert known.version is not None
    writes = [
        write(0, status="waiting"),
        write(1).changed(fence=Fence("r1", 1)),
        write(2, came_out("q9", "done"), expect=("q9", "running")),
        write(3).changed(
            entries=(advanced("r3"), asked("q3", key="k1"), intended("q3")),
            claim=KeyClaim(ACTION, "k1", "q3"),
            new_request="q3",
        ),
        write(4, as_seen=AsSeen("c1", None, "0/0")),
        write(5, status="waiting"),
        write(6, as_seen=AsSeen("c1", None, known.version), status="done"),
        write(7, came_out("q1", "done"), expect=("q1", "running")),
    ]
    assert all(_of_leg(w, _takes(w)) for w in writes)
    results = await asyncio.gather(*(store.append(w) for w in writes))
    assert [type(r) for r in results] == [Appended, Fenced, Moved, KeyTaken, Changed, Appended, Appended, Appended]
    assert [r.more for r in results if isinstance(r, Appended)] == [False, True, False, False]
    assert [r.woke for r in results if isinstance(r, Appended)] == [False] * 4
    busy = {r[0]: r[1] for r in await store._rows("select stream, busy from cxplane.mailbox")}
    assert busy == {f"r{n}": n != 0 for n in range(8) if n != 6}
    request = await store.request(T, "q1")
    assert request is not None and request.status == "done"


async def test_what_is_taken_back_says_by_which_request(store: PostgresStore) -> None:
    held = await holding(store, "r1")
    fence, ref = held["r1"]
    first = (advanced("r1", took=[ref]), asked("q1", run="r1"), intended("q1"))
    await store.append(Write(T, first, fence=fence, new_request="q1"))
    back = (came_out("q1", "done"), advanced("r1"), asked("q2", run="r1", undoes="q1"), intended("q2"))
    await store.append(Write(T, back, fence=fence, expect=("q1", "running"), new_request="q2"))
    last = Write(T, (came_out("q2", "done"), advanced("r1", "done")), fence=fence, expect=("q2", "running"))
    assert _of_leg(last, _takes(last))
    await store.append(last)
    row = await store.request(T, "q1")
    assert row is not None and row.undone_by == "q2"


FENCE = Fence("r1", 1)
USUAL = (came_out("q1", "done"), advanced("r1"), asked("q2", key="k"), intended("q2"))


@pytest.mark.parametrize(
    "entries",
    [
        USUAL,
        USUAL[1:],
        USUAL[:2],
        (advanced("r1", "done", took=["p1"]),),
    ],
)
def test_what_is_usual_for_a_leg(entries: tuple[NewEntry, ...]) -> None:
    claim = KeyClaim(ACTION, "k", "q2") if len(entries) > 2 else None
    write = Write(T, entries, fence=FENCE, claim=claim, new_request="q2" if claim else None)
    assert _of_leg(write, _takes(write))


@pytest.mark.parametrize(
    "entries",
    [
        (came_out("q1", "failed"), advanced("r1")),
        (came_out("q1", "unknown"), advanced("r1")),
        (advanced("r1", timers=[]),),
        (advanced("r1", listens=[]),),
        (advanced("r1", "done", parent="r0"),),
        (advanced("r1"), asked("q2"), decided("q2")),
        (advanced("r1"), asked("q2"), decided("q2", "refuse")),
        (advanced("r1"), asked("q2"), decided("q2", "hold")),
        (advanced("r1"), asked("q2")),
        (advanced("r1"), intended("q2")),
        (asked("q2"), advanced("r1"), intended("q2")),
        (asked("q2"), intended("q3")),
        (asked("q2"), intended("q2"), came_out("q2", "done")),
        (advanced("r1"), advanced("r1")),
        (NewEntry("task.opened", "r1", NOW, "x", {}), advanced("r1")),
    ],
)
def test_what_is_not(entries: tuple[NewEntry, ...]) -> None:
    write = Write(T, entries, fence=FENCE, new_request="q2")
    assert not _of_leg(write, _takes(write))


def test_nor_is_what_is_not_a_leg_s_or_takes_of_a_budget() -> None:
    assert not _of_leg(Write(T, USUAL), {})
    assert not _of_leg(Write(T, USUAL, fence=FENCE), {})  # nobody has looked whether the request is new
    write = Write(T, USUAL, fence=FENCE, reservations=(takes(1),), new_request="q2")
    assert not _of_leg(write, _takes(write))
    other = Write(T, USUAL, fence=FENCE, claim=KeyClaim(ACTION, "another", "q2"), new_request="q2")
    assert not _of_leg(other, _takes(other))
