"""Gate and store under anything at any time: callers, people, faults, kills, two planes. What must hold is looked at after each step."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cxplane.domain.errors import Conflict, CxplaneError, Forbidden
from cxplane.domain.values import derived_id, digest
from cxplane.domain.views import Ask
from cxplane.loop import Plane
from cxplane.loop.audit import checkpoints, leaves, lines, sealed_of
from cxplane.ports.work import Job
from cxplane.wiring import Settings
from tests.adapters.postgres.test_rebuild import projections
from tests.conftest import TEMPLATE, run_sql, with_database
from tests.fuzz.profile import MORE, bounded
from tests.loop.journeys import journeys
from tests.loop.world import TENANT, release
from tests.stateful.processes import Bank, Killed, Loop, Process

CREDIT, REVERSE = "billing.issue_credit", "billing.reverse_credit"
LATER = "interval '400 days'"
CALLERS = ["agent:fin", "person:ben", "person:maria", "agent:nosy"]
FAULTS = ["500", "429", "400", "drop_before", "drop_after_commit", "garbage", "cut", "twice", "off_contract"]
SLOW = ["hang_after_commit", "hang"]
UNDO = """
@id("taken-back") @reason("Whoever serves may take back what was credited")
permit (principal in Role::"service-agent", action == Action::"billing.reverse_credit", resource);
"""
_numbers = itertools.count(1)
callers = st.sampled_from(CALLERS)
disputes = st.sampled_from(["d1", "d2", "d3"])
amounts = st.sampled_from([1, 1000, 4000, 5000, 8000, 50_000, 60_000])
supervisors = st.sampled_from(["person:maria", "person:otto"])
any_one = st.integers(0, 9)
keys = st.none() | st.sampled_from(["k1", "k2"])


def a_plane() -> st.SearchStrategy[int]:
    return st.integers(0, 1)


class Gates(RuleBasedStateMachine):
    """Two planes on one store, and a bank. `dsn`, `folder` are set by the test."""

    dsn = ""
    folder = Path()

    def __init__(self) -> None:
        super().__init__()
        self.name = f"cxplane_machine_{os.getpid()}_{next(_numbers)}"
        asyncio.run(run_sql(self.dsn, f"create database {self.name} template {TEMPLATE}"))
        self.outside = Loop()
        self.bank = Bank()
        self.outside.do(self.bank.start())
        self.settings = Settings(
            dsn=with_database(self.dsn, self.name),
            work=False,
            data=self.folder / self.name,
            seal_sink=str(self.folder / self.name / "seals"),
            system_urls={"billing": self.bank.url},
        )
        os.environ.setdefault("CXPLANE_SEAL_KEY", SEAL_KEY)
        self.outside.do(release(self.settings, FILES))
        self.processes = [Process(self.settings), Process(self.settings)]

    @initialize()
    def know_a_customer(self) -> None:
        async def know(plane: Plane) -> None:
            crm = plane.caller("system:crm")
            await plane.put_customer(crm, "c1", attributes={}, identities=[])
            await plane.assure(crm, "c1", level=2, method="otp", lifetime="8h")
            await plane.consent(crm, "c1", purpose="service", granted=True, source="test")

        self.at(0, know)
        self.at(0, self.asking("person:ben", "d0", 1000, None))
        self.at(1, self.asking("agent:fin", "d9", 8000, None))

    # what happens ----------------------------------------------------------------------------------

    def at(self, n: int, work: Callable[[Plane], Coroutine[Any, Any, Any]]) -> Any:
        """Done at one of the planes; None where it was refused in a documented way, or the plane died."""
        process = self.processes[n]
        try:
            return process.do(work(process.plane))
        except CxplaneError:
            return None
        except Killed:
            process.kill()
            self.processes[n] = Process(self.settings)
            return None

    def asking(self, by: str, dispute: str, amount: int, key: str | None) -> Callable[[Plane], Any]:
        input = {"account_id": "a1", "dispute_id": dispute, "amount": amount}
        id = derived_id("req", TENANT, by, key) if key else None
        ask = Ask(CREDIT, input, customer="c1", channel="chat", id=id, body_hash=digest(input) if key else None)
        return lambda plane: plane.ask(plane.caller(by), ask)

    def one(self, table: str, status: str, which: int) -> str:
        """One of those that stand so; else one of the others, or one that is not there."""
        rows = self.sql(f"select id from cxplane.{table} order by status = '{status}' desc, id")
        return str(rows[which % len(rows)]["id"]) if rows else "req_0"

    @rule(n=a_plane(), by=callers, dispute=disputes, amount=amounts, key=keys)
    def ask(self, n: int, by: str, dispute: str, amount: int, key: str | None) -> None:
        self.at(n, self.asking(by, dispute, amount, key))

    @rule(asked=st.lists(st.tuples(a_plane(), callers, disputes, amounts, keys), min_size=2, max_size=6))
    def ask_at_the_same_moment(self, asked: list[tuple[int, str, str, int, str | None]]) -> None:
        futures = [
            asyncio.run_coroutine_threadsafe(self.asking(*one)(self.processes[n].plane), self.processes[n].loop)
            for n, *one in asked
        ]
        for future in futures:
            error = future.exception(60)
            assert error is None or isinstance(error, CxplaneError), error

    @rule(n=a_plane(), which=any_one, by=callers | supervisors, amount=st.none() | amounts)
    def approve_or_edit(self, n: int, which: int, by: str, amount: int | None) -> None:
        id = self.one("approval", "open", which)

        async def approve(plane: Plane) -> Any:
            row = await plane.store.approval(TENANT, id)
            input = None
            if row is not None and amount is not None:
                view = await plane.approval(plane.caller("person:maria"), id)
                input = {**view.input, "amount": amount}
            return await plane.approve(plane.caller(by), id, input=input)

        self.at(n, approve)

    @rule(which=any_one)
    def several_decide_at_the_same_moment(self, which: int) -> None:
        id = self.one("approval", "open", which)

        def decide(n: int, by: str, reject: bool) -> Any:
            plane = self.processes[n].plane
            who = plane.caller(by)
            work = plane.reject(who, id, comment="no") if reject else plane.approve(who, id)
            return asyncio.run_coroutine_threadsafe(work, self.processes[n].loop)

        futures = [decide(0, "person:maria", False), decide(1, "person:otto", False), decide(1, "person:maria", True)]
        errors = [future.exception(60) for future in futures]
        # approved, but the budget was used up meanwhile: it is held once more, and the other one may decide that
        ends = [f.result().status for f, e in zip(futures, errors, strict=True) if e is None]
        assert sum(status != "held" for status in ends) <= 1, ends
        assert all(e is None or isinstance(e, (Conflict, Forbidden)) for e in errors), errors

    @rule(n=a_plane(), which=any_one, by=callers | supervisors)
    def reject(self, n: int, which: int, by: str) -> None:
        id = self.one("approval", "open", which)
        self.at(n, lambda plane: plane.reject(plane.caller(by), id, comment="no"))

    @rule(n=a_plane(), which=any_one, by=callers | supervisors)
    def undo(self, n: int, which: int, by: str) -> None:
        id = self.one("request", "done", which)
        self.at(n, lambda plane: plane.undo(plane.caller(by), id))

    @rule(
        faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=3),
        kind=st.sampled_from(["write", "write", "read"]),
    )
    def the_system_will_fail(self, faults: list[str], kind: str) -> None:
        self.bank.fail(kind, *faults)

    @rule(fault=st.sampled_from(SLOW), n=a_plane(), by=callers, dispute=disputes)
    def the_system_hangs(self, fault: str, n: int, by: str, dispute: str) -> None:
        self.bank.fail("write", fault)
        self.at(n, self.asking(by, dispute, 1000, None))

    @rule(n=a_plane(), when=st.sampled_from(["before", "after"]), by=callers, dispute=disputes, amount=amounts)
    def kill_a_plane_around_an_effect(self, n: int, when: str, by: str, dispute: str, amount: int) -> None:
        self.bank.on[when] = self.processes[n].stop_here
        self.at(n, self.asking(by, dispute, amount, None))
        self.bank.on.clear()

    @rule(n=a_plane(), after=st.floats(0, 0.04), by=callers, dispute=disputes, amount=amounts)
    def kill_a_plane_anywhere(self, n: int, after: float, by: str, dispute: str, amount: int) -> None:
        process = self.processes[n]
        process.loop.call_soon_threadsafe(lambda: process.loop.call_later(after, process.loop.stop))
        self.at(n, self.asking(by, dispute, amount, None))
        if self.processes[n] is process:  # it answered first
            process.end()
            process.kill()
            self.processes[n] = Process(self.settings)

    @rule(n=a_plane())
    def find_out_what_is_not_known(self, n: int) -> None:
        """All that a background sweep finds when its time has come."""

        async def sweep(plane: Plane) -> None:
            for intent in await plane.store.take_due_intents(
                TENANT, await self.later(), lease_until=await self.later()
            ):
                await plane._background._resolve(
                    Job(1, intent.request, "resolve_outcome", {"request": intent.request}, 0)
                )

        self.at(n, sweep)

    @rule(n=a_plane())
    def approvals_run_out(self, n: int) -> None:
        async def sweep(plane: Plane) -> None:
            for row in await plane.store.due_approvals(TENANT, await self.later()):
                await plane.desk.expire(row)

        self.at(n, sweep)

    @rule()
    def fold_the_projections_again(self) -> None:
        self.rebuilt()

    @rule(n=a_plane())
    def seal(self, n: int) -> None:
        self.at(n, lambda plane: plane.sealer.step())  # type: ignore[union-attr]

    # what holds ------------------------------------------------------------------------------------

    @invariant()
    def one_effect_at_most_for_each_business_key(self) -> None:
        standing: Counter[str] = Counter()
        of_credit: dict[str, str] = {}
        for path, key, body in list(self.bank.effects):
            if path == "/credits":
                standing[body["dispute_id"]] += 1
                of_credit[self.bank.credits[key]["credit_id"]] = body["dispute_id"]
            else:
                standing[of_credit[path.split("/")[2]]] -= 1
        assert all(0 <= count <= 1 for count in standing.values()), (standing, self.bank.effects)

    @invariant()
    def no_effect_without_a_decision_and_an_intent_before_it(self) -> None:
        found = self.sql(
            "select coalesce(d.body ->> 'key', q.body ->> 'key') as key from cxplane.entry d join cxplane.entry q"
            " on q.kind = 'request' and q.stream = d.stream and q.position < d.position"
            " where d.kind = 'decision' and d.body ->> 'verdict' = 'allow' and d.body ? 'due'"
        )
        assert {key for _, key, _ in self.bank.effects} <= {row["key"] for row in found}

    @invariant()
    def budgets_are_what_stands(self) -> None:
        uses = self.sql("select scope, money from cxplane.budget_use where money <> 0")
        counted = self.sql(
            "select v ->> 1 as scope, sum((v ->> 3)::bigint)::bigint as money from cxplane.request q,"
            " jsonb_array_elements(q.reserved) v where q.status in ('running', 'held', 'unknown', 'stuck', 'done') group by 1"
        )
        assert sorted(map(tuple, uses)) == sorted(tuple(row) for row in counted if row["money"])
        assert all(row["money"] <= 10_000 for row in uses if "agent:" in row["scope"]) or self.lifted()

    def lifted(self) -> bool:
        """An approver may answer for going past a limit."""
        return bool(self.sql("select 1 from cxplane.entry where kind = 'approval.decided'"))

    # helpers ---------------------------------------------------------------------------------------

    def sql(self, text: str) -> list[Any]:
        async def fetch() -> list[Any]:
            link = await asyncpg.connect(self.settings.dsn)
            try:
                return list(await link.fetch(text))
            finally:
                await link.close()

        return list(self.outside.do(fetch()))

    async def later(self) -> Any:
        link = await asyncpg.connect(self.settings.dsn)
        try:
            return await link.fetchval(f"select now() + {LATER}")
        finally:
            await link.close()

    def rebuilt(self) -> None:
        before = self.outside.do(projections(str(self.settings.dsn)))
        self.at(0, lambda plane: plane.store.rebuild(TENANT))  # type: ignore[attr-defined]
        after = self.outside.do(projections(str(self.settings.dsn)))
        for table in before:
            if table != "intent":  # when it is looked at again is no fact of the record
                assert before[table] == after[table], table
        assert len(before["intent"]) == len(after["intent"])

    def settled(self) -> None:
        """The system works again, and all that is open is found out: then outcomes are effects."""
        for queue in self.bank.faults.values():
            queue.clear()
        for _ in range(5):
            self.find_out_what_is_not_known(0)
            if not self.sql("select 1 from cxplane.intent"):
                break
        rows = self.sql("select id, action, status, key from cxplane.request")
        assert not [row for row in rows if row["status"] in ("running", "unknown")], rows
        done = Counter(row["action"] for row in rows if row["status"] == "done")
        effects = Counter(CREDIT if path == "/credits" else REVERSE for path, _, _ in self.bank.effects)
        stuck = Counter(row["action"] for row in rows if row["status"] == "stuck")
        for action in (CREDIT, REVERSE):
            assert done[action] <= effects[action] <= done[action] + stuck[action], (action, done, effects, stuck)

    def sealed(self) -> None:
        """Every entry comes under a checkpoint, and the export of it verifies."""
        for _ in range(20):
            self.seal(0)
            sealed = self.at(0, lambda plane: sealed_of(plane.store, TENANT))
            (last,) = self.sql("select max(position) as position from cxplane.entry")
            if sealed is not None and sealed.position >= last["position"]:
                break

        async def export(plane: Plane) -> Any:
            told = await sealed_of(plane.store, TENANT)
            pages = [page async for page in lines(plane.store, TENANT, told)]
            notes = [note async for note in checkpoints(plane.store, TENANT, told)]
            hashes = b"".join([one async for one in leaves(plane.store, TENANT, told)])
            return [line.encode() for page in pages for line in page], notes, hashes

        found, notes, hashes = self.at(0, export)
        (count,) = self.sql("select count(*) as n from cxplane.entry")
        assert len(found) == count["n"]
        assert verified(found, notes, hashes)

    def teardown(self) -> None:
        try:
            self.settled()
            for check in (
                self.one_effect_at_most_for_each_business_key,
                self.no_effect_without_a_decision_and_an_intent_before_it,
                self.budgets_are_what_stands,
                self.rebuilt,
                self.sealed,
            ):
                check()
        finally:
            for process in self.processes:
                process.close()
            self.outside.do(self.bank.stop())
            self.outside.end()
            asyncio.run(run_sql(self.dsn, f"drop database if exists {self.name} with (force)"))


def verified(found: list[bytes], notes: list[str], hashes: bytes) -> bool:
    from io import BytesIO

    from cxplane.adapters.signing import signers_from, verify
    from cxplane.record.note import Key, join_notes
    from cxplane.record.verify import Verifier, batches, read_checkpoints

    trusted = [Key(signer.name, signer.public) for signer in signers_from(SEAL_KEY)]
    verifier = Verifier(read_checkpoints([join_notes(notes)]), trusted, verify)
    return verifier.run(batches(BytesIO(b"".join(line + b"\n" for line in found))), BytesIO(hashes)).good


def _files() -> dict[str, str]:
    files = journeys()
    return {**files, "policies/billing.cedar": files["policies/billing.cedar"] + UNDO}


FILES = _files()


def _key() -> str:
    from cxplane.adapters.signing import new_private_key

    return new_private_key(f"cxplane/{TENANT}")


SEAL_KEY = _key()


@pytest.mark.long
@pytest.mark.timeout(0 if MORE else 300)
def test_whatever_happens_effects_record_and_budgets_agree(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXPLANE_SEAL_KEY", SEAL_KEY)
    Gates.dsn, Gates.folder = postgres, tmp_path
    phases = list(Phase) if MORE else [Phase.generate]  # looking for a shorter story takes long
    run_state_machine_as_test(Gates, settings=settings(bounded(10, None), stateful_step_count=25, phases=phases))
