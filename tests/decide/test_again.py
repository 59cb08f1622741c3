"""A decision made once more from its entries: every policy test of every control repo in the project comes out the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cxplane.control.init import init
from cxplane.control.release import build
from cxplane.control.test import judged
from cxplane.decide.again import compared, differences, end_of, fact_differences, other_release, same_release
from cxplane.decide.rulebook import Rulebook
from cxplane.domain.decision import Decision
from cxplane.domain.entries import decision_entry, grounds_from, request_entry, request_from
from cxplane.domain.record import Entry, NewEntry
from cxplane.wiring import expressions, policy_engine
from tests.loop.world import POLICY, control

EXAMPLES = sorted(p.parent for p in (Path(__file__).parents[2] / "examples").glob("*/control/plane.yaml"))


def compiled(source: Path | dict[str, str]) -> Rulebook:
    release = build(source)
    cel = expressions(release.repo.plane.currency)
    return Rulebook.compile(release, policy_engine().compile(release.repo), cel)


def kept(new: NewEntry) -> Entry:
    return Entry(1, "t", new.kind, new.stream, new.at, new.actor, new.body, new.private, new.release, new.cause)


def on_record(decision: Decision) -> tuple[Entry, Entry]:
    """Its entries, written down a little later than it was judged."""
    at = decision.grounds.at + timedelta(seconds=1)
    return kept(request_entry(decision.request, version=1, key=None)), kept(decision_entry(decision, at=at))


def test_there_are_examples_to_sweep() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.parent.name)
async def test_every_policy_test_of_an_example_is_decided_the_same_once_more(folder: Path) -> None:
    await sweep(compiled(folder))


async def test_every_policy_test_of_a_fresh_control_repo_is_decided_the_same_once_more(tmp_path: Path) -> None:
    init(tmp_path / "control", name="acme")
    await sweep(compiled(tmp_path / "control"))


async def sweep(rulebook: Rulebook) -> None:
    tests = rulebook.release.repo.policy_tests
    assert tests
    for test in tests:
        decision = await judged(rulebook, test)
        asked, decided = on_record(decision)
        grounds = grounds_from(decided)
        again = await same_release(rulebook, request_from(asked), grounds)
        then = compared(grounds, decided.body, exact=True)
        now = compared(again.decision.grounds, end_of(again.decision), exact=True)
        odd = differences(then, now)
        # a test may give what is computed in truth, so only what was judged is compared
        assert not odd, (test["name"], odd)


WANTED = {
    "name": "small",
    "file": "t.yaml",
    "line": 1,
    "request": {
        "by": "agent:fin",
        "action": "billing.issue_credit",
        "customer": "c1",
        "channel": "chat",
        "input": {"account_id": "a1", "dispute_id": "d1", "amount": 1000},
    },
    "customer": {"attributes": {"segment": "home"}, "assurance": {"level": 2}, "consents": ["service"]},
    "facts": {"account": {"account_id": "a1", "balance": 10}},
}


async def test_another_release_is_judged_by_its_own_policies() -> None:
    then, other = compiled(control()), compiled(control(policies__billing=POLICY.replace("<= 5000", "<= 500")))
    decision = await judged(then, WANTED)
    asked, decided = on_record(decision)
    guess = await other_release(then, other, request_from(asked), grounds_from(decided))
    assert (decision.verdict, guess.decision.verdict, guess.unknown) == ("allow", "hold", ())


async def test_what_is_computed_is_computed_anew_from_the_readings_of_then() -> None:
    catalog = control()["catalog/billing/issue_credit.yaml"]
    then = compiled(control())
    other = compiled(
        control(catalog__billing__issue_credit=catalog.replace("cel: account.balance,", "cel: 0 - account.balance,"))
    )
    asked, decided = on_record(await judged(then, WANTED))
    guess = await other_release(then, other, request_from(asked), grounds_from(decided))
    assert guess.facts.as_map()["balance"] == -10
    assert guess.decision.verdict == "hold"  # `small` wants a balance of 0 or more


async def test_a_reading_that_was_not_made_then_is_named_and_not_guessed() -> None:
    catalog = control()["catalog/billing/issue_credit.yaml"]
    more = catalog.replace(
        "facts:\n", "facts:\n  other: {read: billing.get_account, with: {account_id: input.dispute_id}}\n"
    )
    policy = POLICY.replace(
        "context.facts.balance >= 0", "context.facts.balance >= 0 && context.facts.other.balance >= 0"
    )
    then, other = compiled(control()), compiled(control(catalog__billing__issue_credit=more, policies__billing=policy))
    asked, decided = on_record(await judged(then, WANTED))
    guess = await other_release(then, other, request_from(asked), grounds_from(decided))
    assert guess.unknown == ("the fact 'other' (from billing.get_account), which was not read then",)


async def test_an_attribute_that_nobody_looked_at_then_is_named() -> None:
    plane = control()["plane.yaml"].replace("fraud: Bool", "fraud: Bool, minor: Bool")
    policy = POLICY + (
        '\n@id("minors") @reason("Not to minors")\n'
        'forbid (principal, action in Action::"billing.issue_credit:any", resource) when { resource has minor && resource.minor };\n'
    )
    then, other = compiled(control()), compiled(control(plane=plane, policies__billing=policy))
    asked, decided = on_record(await judged(then, WANTED))
    guess = await other_release(then, other, request_from(asked), grounds_from(decided))
    assert guess.unknown == ("the customer's 'minor', which the release of then did not look at",)


async def test_a_value_that_somebody_changed_on_record_does_not_come_out_the_same() -> None:
    then = compiled(control())
    asked, decided = on_record(await judged(then, WANTED))
    private = {**(decided.private or {}), "facts": {"account": {"account_id": "a1", "balance": -5}, "balance": 10}}
    grounds = grounds_from(replace(decided, private=private))
    again = await same_release(then, request_from(asked), grounds)
    assert fact_differences(grounds, again.facts) == [{"what": "fact balance", "then": 10, "now": -5}]
