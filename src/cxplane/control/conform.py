"""Conformance: what a write must prove against its system, or the system's fake, before a release with it goes live.

1. the same key twice does it once
2. a time-out after the commit is found out
3. what undoes it undoes it, or the entry says why nothing does
4. wrong input is refused before the call

The tests act like everybody: each request is judged, by a control repo of one policy, and carried out by `act`.
Samples stand in `systems/<name>.yaml` under `conform.samples`; `{n}` in a text becomes the number of the test and
`{run}` a word that no other run has, so that each test can have a business key of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from cxplane.act.carry_out import carry_out, deadline
from cxplane.act.plan import CallPlan, CallPlans
from cxplane.act.trail import Finding, Trail
from cxplane.act.undo import undo_request
from cxplane.control.bench import Bench
from cxplane.control.contract import contract_hash
from cxplane.decide.facts import gather
from cxplane.decide.judge import judge
from cxplane.decide.rulebook import Rulebook
from cxplane.domain.catalog import Action, ConfirmWhen, Limits, Mode
from cxplane.domain.customer import Assurance, Consent, Customer, Situation
from cxplane.domain.decision import Allowed, Decision, Refused
from cxplane.domain.errors import ControlError, CxplaneError, Mistake
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.release import ControlRepo, PolicyFile, Release
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json, JsonObject, new_id
from cxplane.ports.clock import Clock
from cxplane.ports.expressions import Expressions
from cxplane.ports.policy import PolicyEngine
from cxplane.ports.systems import Connector, Reply

TESTS = (
    "the same key twice does it once",
    "a time-out after the commit is found out",
    "what undoes it undoes it",
    "wrong input is refused before the call",
)
LONGEST_CALL = timedelta(seconds=1)  # a fake answers at once, or hangs for longer

_TESTER = Caller(CallerKind.SYSTEM, "conformance")
_POLICY = """@id("conformance")
@reason("The conformance test may do what it tests")
permit (principal == System::"conformance", action in Action::"any", resource);
"""


async def conform(
    repo: ControlRepo,
    system: str,
    connector: Connector,
    expressions: Expressions,
    engine: PolicyEngine,
    clock: Clock,
    *,
    only: Collection[str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Sequence[JsonObject]:
    """One result for each write of the system, ready for JSON and for `store.save_conformance`.

    {action, contract, system, passed, at, tests: [{test, passed, words}]}. `tell` gets a line for each action begun.
    ControlError if there is no such system, or its fake does not answer.
    """
    if system not in repo.systems:
        hint = f"the control repo has: {', '.join(sorted(repo.systems)) or 'none'}"
        raise ControlError([Mistake("systems", 0, f"there is no system {system!r}", hint)])
    bench = Bench(repo.systems[system], connector)
    laboratory = _Laboratory(repo, connector, expressions, engine, clock)
    await bench.mend()
    results: list[JsonObject] = []
    try:
        for action in repo.actions.values():
            if action.system == system and action.writes and (only is None or action.id in only):
                tell(f"testing {action.id}")
                results.append(await _Trial(laboratory, bench, action).result())
    finally:
        await bench.mend()
    return results


class _Watched:
    """A connector that counts the writes that go through it."""

    def __init__(self, inner: Connector) -> None:
        self._inner, self.writes = inner, 0

    async def read(self, action: Action, input: JsonObject, *, timeout_s: float) -> Reply:
        return await self._inner.read(action, input, timeout_s=timeout_s)

    async def write(self, action: Action, allowed: Allowed, *, timeout_s: float) -> Reply:
        self.writes += 1
        return await self._inner.write(action, allowed, timeout_s=timeout_s)

    async def preview(self, action: Action, input: JsonObject) -> JsonObject:
        return await self._inner.preview(action, input)

    async def aclose(self) -> None:
        """It belongs to who gave it."""


class _Laboratory:
    """The catalog under test, with one caller and one policy."""

    def __init__(
        self, repo: ControlRepo, connector: Connector, expressions: Expressions, engine: PolicyEngine, clock: Clock
    ) -> None:
        actions = {id: _for_test(action) for id, action in repo.actions.items()}
        tested = replace(
            repo,
            plane=replace(repo.plane, confidence=None),
            actions=actions,
            policies=(PolicyFile("conformance.cedar", _POLICY),),
            budgets=(),
            callers={_TESTER.name: _TESTER},
            policy_tests=(),
        )
        self.rulebook = Rulebook.compile(Release("conformance", tested), engine.compile(tested), expressions)
        self.plans = CallPlans(actions, expressions)
        self.systems, self.clock, self.run = _Watched(connector), clock, os.urandom(4).hex()

    async def judged(self, action: str, input: JsonObject, customer: str | None) -> Decision:
        now = self.clock.now()
        request = ActionRequest(
            id=new_id("req"),
            tenant=self.rulebook.release.repo.plane.tenant,
            action=action,
            input=input,
            caller=_TESTER,
            at=now,
            customer=customer,
            conversation=f"conform-{self.run}",
        )
        situation = Situation(_customer(customer, self.rulebook, now) if customer else None)
        facts = await gather(self.rulebook, request, situation, self._read, now)
        return judge(self.rulebook, request, situation, facts, now)

    async def _read(self, id: str, input: JsonObject) -> JsonObject:
        action = self.rulebook.rules[id].action
        reply = await self.systems.read(action, input, timeout_s=action.limits.timeout.total_seconds())
        return reply.output

    def plan(self, action: str) -> CallPlan:
        return self.plans.plan(self.rulebook.rules[action].action)

    async def carried_out(self, allowed: Allowed) -> Outcome:
        return await carry_out(allowed, self.plan(allowed.request.action), self.systems, self.clock)


class _Trial:
    """The four tests of one write."""

    def __init__(self, laboratory: _Laboratory, bench: Bench, action: Action) -> None:
        self._lab, self._bench, self._action = laboratory, bench, action

    async def result(self) -> JsonObject:
        at = self._lab.clock.now()
        found_out = await self._run(1, self._found_out)  # first, while nothing was done under the key of the sample
        once = await self._run(0, self._once)
        told = [once, found_out, await self._run(2, self._undone), await self._run(3, self._wrong_refused)]
        return {
            "action": self._action.id,
            "contract": contract_hash(self._action),
            "system": self._action.system,
            "passed": all(test["passed"] for test in told),
            "at": at.isoformat(),
            "tests": told,
        }

    async def _run(self, n: int, test: Callable[[int], Awaitable[str]]) -> dict[str, Any]:
        try:
            return {"test": TESTS[n], "passed": True, "words": await test(n + 1)}
        except _NotSo as problem:
            return {"test": TESTS[n], "passed": False, "words": str(problem)}
        except ControlError:
            raise  # the fake does not answer: that tells nothing about the entry
        except CxplaneError as problem:
            return {"test": TESTS[n], "passed": False, "words": str(problem)}

    async def _once(self, n: int) -> str:
        allowed = await self._allowed(n)
        timeout_s = self._lab.plan(self._action.id).action.limits.timeout.total_seconds()
        replies = [(await self._lab.systems.write(self._action, allowed, timeout_s=timeout_s)).output for _ in range(2)]
        _must(replies[0] == replies[1], "the second answer under the same key differs from the first")
        await self._did_it(allowed, 1)
        return "two calls with one key: one effect, the same answer"

    async def _found_out(self, n: int) -> str:
        allowed = await self._allowed(n)
        fresh = await self._bench.effects(allowed.key) == 0
        await self._bench.break_once()
        try:
            outcome = await self._lab.carried_out(allowed)
        finally:
            await self._bench.mend()
        results = [attempt.result for attempt in outcome.attempts]
        _must(results[:1] == ["unknown"], "the fake did not misbehave: its fault `timeout_after_commit` was not met")
        _must(outcome.status is Status.DONE, f"it ended as {outcome.status.value}: {outcome.error}")
        if self._action.confirm is not None:
            read = f"read {self._action.confirm.read}"
            _must(outcome.confirmed_by == read, f"{self._action.confirm.read} did not find what was done")
        await self._did_it(allowed, 1)
        how = f"found by {outcome.confirmed_by}" if self._action.confirm else "found by the same key again"
        return how if fresh else f"{how}; an earlier run had done it, `{{run}}` in the sample would give a new key"

    async def _undone(self, n: int) -> str:
        undo = self._action.undo
        if undo is None or undo.call is None:
            _must(undo is not None and bool(undo.none), "the entry says neither what undoes it nor why nothing does")
            return f"nothing undoes it, as the entry states: {undo.none if undo else ''}"
        allowed = await self._allowed(n)
        done = await self._lab.carried_out(allowed)
        _must(done.status is Status.DONE, f"it could not be done to begin with: {done.error}")
        request, plan = allowed.request, self._lab.plan(self._action.id)
        input = undo_request(plan, request, done.output or {}, key=allowed.key, facts=allowed.grounds.facts)
        back = self._of(await self._lab.judged(undo.call, input, request.customer))
        undone = await self._lab.carried_out(back)
        _must(undone.status is Status.DONE, f"{undo.call} ended as {undone.status.value}: {undone.error}")
        if self._lab.plan(undo.call).action.system == self._action.system:
            await self._did_it(back, 1)
        if undone.confirmed_by != "reply":
            return f"{undo.call} took it back, confirmed by {undone.confirmed_by}"
        if plan.confirm is not None and await self._gone(allowed, done):
            return f"{undo.call} took it back, {plan.confirm.read} shows it no longer"
        return f"{undo.call} took it back, as the system says; no read confirms it"

    async def _wrong_refused(self, n: int) -> str:
        sample, before = self._sample(n), self._lab.systems.writes
        wrong = list(_wrong_inputs(self._action, sample["input"]))
        if "wrong" in sample:
            wrong.append(sample["wrong"])
        _must(bool(wrong), "no wrong input is known: give the sample a `wrong`")
        for input in wrong:
            decision = await self._lab.judged(self._action.id, input, self._customer_of(sample))
            refused = isinstance(decision, Refused) and any(
                r.code in ("input", "key") for r in decision.grounds.reasons
            )
            _must(refused, f"an input that breaks the contract was not refused for it ({_shape(input)})")
        _must(self._lab.systems.writes == before, "the system was called")
        return f"{len(wrong)} wrong input{'' if len(wrong) == 1 else 's'} refused, none reached the system"

    # what they share

    async def _allowed(self, n: int) -> Allowed:
        sample = self._sample(n)
        return self._of(await self._lab.judged(self._action.id, sample["input"], self._customer_of(sample)))

    def _of(self, decision: Decision) -> Allowed:
        if isinstance(decision, Allowed):
            return decision
        texts = "; ".join(reason.text for reason in decision.grounds.reasons)
        raise _NotSo(f"the request for {decision.request.action} cannot be made: {texts}")

    async def _did_it(self, allowed: Allowed, times: int) -> None:
        effects = await self._bench.effects(allowed.key)
        _must(effects == times, f"the system did it {effects} times under one key, not {times}")

    async def _gone(self, allowed: Allowed, done: Outcome) -> bool:
        """Whether the read that confirmed it shows it no longer."""
        plan, clock = self._lab.plan(self._action.id), self._lab.clock
        until = asyncio.get_running_loop().time() + deadline(self._action).total_seconds()
        return await Trail(allowed, plan, self._lab.systems, clock, until).look(done.output) is Finding.NOT_DONE

    def _sample(self, n: int) -> dict[str, Any]:
        samples: Mapping[str, Any] = self._lab.rulebook.release.repo.systems[self._action.system].conform.get(
            "samples", {}
        )
        found = samples.get(self._action.id)
        _must(
            isinstance(found, Mapping) and "input" in found,
            f"there is no sample: give conform.samples.{self._action.id}.input in systems/{self._action.system}.yaml",
        )
        filled: dict[str, Any] = _filled(found, {"{n}": str(n), "{run}": self._lab.run})
        return filled

    def _customer_of(self, sample: Mapping[str, Any]) -> str | None:
        return str(sample.get("customer", "conformance")) if self._action.needs_customer else None


class _NotSo(Exception):
    """A test that did not come out as it must; the text says how."""


def _must(true: bool, otherwise: str) -> None:
    if not true:
        raise _NotSo(otherwise)


def _for_test(action: Action) -> Action:
    """The entry without what is about autonomy, with limits that suit a fake, and confirmed wherever that is possible."""
    timeout = min(action.limits.timeout, LONGEST_CALL)
    confirm = action.confirm
    return replace(
        action,
        mode=Mode.ACT,
        confidence=None,
        money=None,
        limits=Limits(timeout=timeout, attempts=max(2, action.limits.attempts)),
        confirm=replace(confirm, when=ConfirmWhen.ALWAYS) if confirm is not None else None,
    )


def _customer(id: str, rulebook: Rulebook, now: datetime) -> Customer:
    purposes = {action.purpose for action in rulebook.release.repo.actions.values()}
    return Customer(
        id=id,
        assurances=(Assurance(3, "conformance", now + timedelta(hours=1)),),
        consents=tuple(Consent(purpose, True, now, "conformance") for purpose in sorted(purposes)),
    )


def _filled(value: Json, words: Mapping[str, str]) -> Json:
    if isinstance(value, str):
        for mark, word in words.items():
            value = value.replace(mark, word)
        return value
    if isinstance(value, Mapping):
        return {name: _filled(one, words) for name, one in value.items()}
    return [_filled(one, words) for one in value] if isinstance(value, list) else value


def _wrong_inputs(action: Action, right: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Inputs that the contract must not let through: each required one left out, each given one of another type."""
    for name in action.input.get("required", ()):
        yield {key: value for key, value in right.items() if key != name}
    for name, schema in action.input.get("properties", {}).items():
        if name in right and isinstance(schema, Mapping) and isinstance(schema.get("type"), str):
            yield {**right, name: 7 if schema["type"] == "object" else {"not": schema["type"]}}


def _shape(input: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {type(value).__name__}" for name, value in input.items()) or "nothing"
