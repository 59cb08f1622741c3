"""Policy tests: a request and its facts in, a decision and its reasons out, as `policies/tests/*.yaml` say.

They go through the same judging as in production, with the facts given: no store, no system, no clock. Budgets count
what was done before, so they are not in play here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.decide.facts import gather
from cxplane.decide.judge import judge
from cxplane.decide.rulebook import Rulebook
from cxplane.domain.customer import Assurance, Consent, Customer, Situation
from cxplane.domain.decision import Decision, Held
from cxplane.domain.errors import FailureKind, SystemFailure
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.release import ControlRepo, Release
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import Json, JsonObject
from cxplane.ports.expressions import Expressions
from cxplane.ports.policy import PolicyEngine

NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
"""The time of a test that names none, so that it comes out the same every day."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that a test expects, and what came out."""

    what: str  # decision | reasons | approvers
    expected: tuple[str, ...]
    actual: tuple[str, ...]

    @property
    def same(self) -> bool:
        return self.expected == self.actual

    def words(self) -> str:
        """Empty if it came out as expected."""
        if self.same:
            return ""
        return f"{self.what}: expected {', '.join(self.expected) or 'none'}; got {', '.join(self.actual) or 'none'}"


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test came out."""

    __test__ = False  # for pytest: not a test of its own

    name: str
    file: str
    line: int
    action: str
    compared: tuple[Compared, ...]
    because: tuple[str, ...]  # the reasons that were given, in words
    policies: frozenset[str]  # those that determined it, in either tier

    @property
    def passed(self) -> bool:
        return all(one.same for one in self.compared)

    def words(self) -> str:
        """What did not come out as expected, as lines for a person; empty if it passed."""
        if self.passed:
            return ""
        lines = [f"{self.file}:{self.line}: {self.name}"]
        lines += [f"  {one.words()}" for one in self.compared if not one.same]
        lines += [f"  because: {text}" for text in self.because]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "file": self.file,
            "line": self.line,
            "action": self.action,
            "passed": self.passed,
            "expected": {one.what: list(one.expected) for one in self.compared},
            "actual": {one.what: list(one.actual) for one in self.compared},
            "because": list(self.because),
        }


@dataclass(frozen=True, slots=True)
class TestReport:
    """How all of them came out, and which policies no test has made decide anything."""

    __test__ = False

    results: tuple[TestResult, ...]
    untested: tuple[str, ...]  # policy ids

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    @property
    def failed(self) -> tuple[TestResult, ...]:
        return tuple(result for result in self.results if not result.passed)

    def words(self) -> str:
        """The failures, then a summary."""
        lines = [result.words() for result in self.failed]
        if self.untested:
            lines.append(f"no test makes these policies decide: {', '.join(self.untested)}")
        good = len(self.results) - len(self.failed)
        lines.append(f"{good} of {len(self.results)} policy tests passed")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "tests": [result.as_json() for result in self.results],
            "policies_without_test": list(self.untested),
        }


async def run_tests(
    release: Release, engine: PolicyEngine, expressions: Expressions, *, only: str | None = None
) -> TestReport:
    """Run the policy tests of a release. `only`: those whose name or file holds this text.

    ControlError if the release cannot be decided with (`check` names why).
    """
    rulebook = Rulebook.compile(release, engine.compile(release.repo), expressions)
    return await run_compiled(rulebook, only=only)


async def run_compiled(rulebook: Rulebook, *, only: str | None = None) -> TestReport:
    """The same, for a release that is compiled already."""
    results = []
    for test in rulebook.release.repo.policy_tests:
        if only is None or only in test["name"] or only in test["file"]:
            results.append(await _result(rulebook, test))
    seen = frozenset(policy for result in results for policy in result.policies)
    return TestReport(tuple(results), tuple(sorted(set(rulebook.policies.meta) - seen)) if only is None else ())


async def judged(rulebook: Rulebook, test: JsonObject) -> Decision:
    """What is decided on the request of a policy test, with the facts that it gives."""
    repo = rulebook.release.repo
    now = datetime.fromisoformat(test["now"]) if "now" in test else NOW
    request = _request(repo, test, now)
    situation = Situation(customer=_customer(test, request, now))
    facts = await gather(rulebook, request, situation, _no_read, now, given=test.get("facts", {}))
    return judge(rulebook, request, situation, facts, now, _approver(repo, test))


async def _result(rulebook: Rulebook, test: JsonObject) -> TestResult:
    decision = await judged(rulebook, test)
    policies = {policy for tier in decision.grounds.tiers for policy in tier.policies}
    return TestResult(
        name=test["name"],
        file=test["file"],
        line=test["line"],
        action=decision.request.action,
        compared=_compared(test["expect"], decision),
        because=tuple(dict.fromkeys(reason.text for reason in decision.grounds.reasons)),
        policies=frozenset(policies),
    )


async def _no_read(action: str, input: JsonObject) -> JsonObject:
    raise SystemFailure(action.split(".", 1)[0], "nothing is read in a policy test", kind=FailureKind.REFUSED)


def _request(repo: ControlRepo, test: JsonObject, now: datetime) -> ActionRequest:
    said: Mapping[str, Json] = test["request"]
    kind, _, id = str(said["by"]).partition(":")
    caller = repo.callers.get(said["by"]) or Caller(CallerKind(kind), id)
    return ActionRequest(
        id="req_test",
        tenant=repo.plane.tenant,
        action=said["action"],
        input=said.get("input", {}),
        caller=caller,
        at=now,
        customer=said.get("customer"),
        conversation=said.get("conversation"),
        channel=said.get("channel", "api"),
        purpose=said.get("purpose"),
        confidence=said.get("confidence"),
        recorded=said.get("recorded", {}),
    )


def _customer(test: JsonObject, request: ActionRequest, now: datetime) -> Customer | None:
    if request.customer is None:
        return None
    said: Mapping[str, Json] = test.get("customer", {})
    hour = timedelta(hours=1)
    sure = said.get("assurance")
    return Customer(
        id=request.customer,
        attributes=said.get("attributes", {}),
        assurances=(Assurance(sure["level"], sure.get("method", "test"), now + hour),) if sure else (),
        consents=tuple(Consent(purpose, True, now - hour, "test") for purpose in said.get("consents", ())),
    )


def _approver(repo: ControlRepo, test: JsonObject) -> Caller | None:
    if (name := test.get("approver")) is None:
        return None
    return repo.caller(name if ":" in name else f"person:{name}") or Caller(CallerKind.PERSON, name)


def _compared(expect: JsonObject, decision: Decision) -> tuple[Compared, ...]:
    reasons = {reason.policy or reason.code for reason in decision.grounds.reasons}
    found = [
        Compared("decision", (expect["decision"],), (decision.verdict.value,)),
        Compared("reasons", _sorted(expect["reasons"]), _sorted(reasons)),
    ]
    if "approvers" in expect:
        sets = decision.approver_sets if isinstance(decision, Held) else ()
        found.append(Compared("approvers", _sorted(expect["approvers"]), _sorted({role for s in sets for role in s})))
    return tuple(found)


def _sorted(names: Sequence[str] | set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
