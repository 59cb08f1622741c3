from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.choose import Connectors
from cxplane.control.conform import TESTS, conform
from cxplane.control.contract import contract_hash
from cxplane.domain.catalog import Action, Confirm, ConfirmWhen, Effect, HttpCall, Limits, ReadFact, Undo
from cxplane.domain.errors import ControlError
from cxplane.domain.release import ControlRepo, Plane
from tests.connectors.world import CEL, CREDIT, FIND, SECRET, system
from tests.control.bench_fake import BenchFake

QUICK = Limits(timeout=timedelta(seconds=0.4), attempts=2)
ISSUE = replace(
    CREDIT,
    limits=QUICK,
    input={
        "type": "object",
        "required": ["account_id", "dispute_id", "amount"],
        "properties": CREDIT.input["properties"],
        "additionalProperties": False,
    },
    facts={"crm": ReadFact("crm", "crm.get_customer", {"id": "request.customer"})},  # not needed to confirm or undo
    money="input.amount",
)
REVERSE = replace(
    CREDIT,
    id="billing.reverse_credit",
    input={"type": "object", "required": ["credit_id"], "properties": {"credit_id": {"type": "string"}}},
    output={"type": "object", "required": ["reversal_id"]},
    via=HttpCall("billing", "POST", "/credits/{credit_id}/reverse"),
    key=("credit_id",),
    confirm=Confirm("billing.find_reversal", {"key": "request.key"}, "true", ConfirmWhen.UNKNOWN),
    undo=Undo(none="a new credit is issued instead"),
    limits=QUICK,
)
FOUND = replace(FIND, input={"type": "object", "properties": {"key": {"type": "string"}}}, limits=QUICK)
REVERSAL = replace(FOUND, id="billing.find_reversal", via=HttpCall("billing", "GET", "/reversals"), output={})
OF_CRM = replace(FOUND, id="crm.get_customer", via=HttpCall("crm", "GET", "/customers/{id}"), output={"type": "object"})
SAMPLES: dict[str, Any] = {
    "billing.issue_credit": {
        "input": {"account_id": "a1", "dispute_id": "d-{run}-{n}", "amount": 100},
        "wrong": {"account_id": "a1", "dispute_id": "d", "amount": 1.5},
    },
    "billing.reverse_credit": {"input": {"credit_id": "cr-{run}-{n}"}},
}


@pytest.fixture
async def fake() -> AsyncIterator[BenchFake]:
    started = BenchFake()
    await started.start()
    yield started
    await started.stop()


async def results(fake: BenchFake, *actions: Action, samples: dict[str, Any] | None = None) -> dict[str, Any]:
    bench = {"faults": {"method": "POST", "path": "/_faults"}, "samples": SAMPLES if samples is None else samples}
    one = system(fake, conform=bench)
    catalog = {a.id: a for a in (actions or (ISSUE, REVERSE))} | {a.id: a for a in (FOUND, REVERSAL, OF_CRM)}
    if REVERSE.id not in catalog:
        catalog[REVERSE.id] = REVERSE
    repo = ControlRepo(
        plane=Plane("broadband", "t", "cx", "Europe/Berlin", "EUR"),
        actions=catalog,
        systems={"billing": one, "crm": replace(one, id="crm")},
        tables={},
        policies=(),
        budgets=(),
        roles={},
        teams={},
        callers={},
    )
    connectors = Connectors(repo.systems, CEL, EnvironmentVault({"BILLING_TOKEN": SECRET}))
    try:
        told = await conform(repo, "billing", connectors, CEL, CedarEngine(), SystemClock())
    finally:
        await connectors.aclose()
    assert json.loads(json.dumps(told)) == told
    return {str(one["action"]): one for one in told}


def failed(result: dict[str, Any]) -> dict[str, str]:
    assert [test["test"] for test in result["tests"]] == list(TESTS)
    assert result["passed"] is all(test["passed"] for test in result["tests"])
    return {test["test"]: test["words"] for test in result["tests"] if not test["passed"]}


async def test_a_sound_system_passes_all_four(fake: BenchFake) -> None:
    told = await results(fake)
    assert [failed(one) for one in told.values()] == [{}, {}]
    words = [test["words"] for test in told["billing.issue_credit"]["tests"]]
    assert words == [
        "two calls with one key: one effect, the same answer",
        "found by read billing.find_credit",
        "billing.reverse_credit took it back, confirmed by read billing.find_reversal",
        "7 wrong inputs refused, none reached the system",
    ]
    assert told["billing.reverse_credit"]["tests"][2]["words"].endswith("a new credit is issued instead")
    assert told["billing.issue_credit"]["contract"] == contract_hash(ISSUE)
    assert [failed(one) for one in (await results(fake)).values()] == [{}, {}]  # and again


async def test_a_system_that_forgets_keys_is_found(fake: BenchFake) -> None:
    fake.forgets_keys = True
    wrong = failed((await results(fake))["billing.issue_credit"])
    assert "differs" in wrong[TESTS[0]]


async def test_a_read_that_does_not_find_is_found(fake: BenchFake) -> None:
    fake.hides = True
    wrong = failed((await results(fake))["billing.issue_credit"])
    assert TESTS[1] in wrong


async def test_an_undo_that_undoes_nothing_is_found(fake: BenchFake) -> None:
    fake.keeps = True
    wrong = failed((await results(fake))["billing.issue_credit"])
    assert "billing.find_reversal shows otherwise" in wrong[TESTS[2]]


async def test_an_entry_without_a_word_on_undo_is_found(fake: BenchFake) -> None:
    wrong = failed((await results(fake, replace(ISSUE, undo=None)))["billing.issue_credit"])
    assert "neither what undoes it" in wrong[TESTS[2]]


async def test_a_contract_that_lets_anything_through_is_found(fake: BenchFake) -> None:
    loose = replace(ISSUE, input={"type": "object", "properties": {n: {} for n in ISSUE.input["properties"]}})
    wrong = failed((await results(fake, loose))["billing.issue_credit"])
    assert "was not refused" in wrong[TESTS[3]]


async def test_a_write_without_a_read_is_found_out_by_its_key(fake: BenchFake) -> None:
    told = (await results(fake, replace(ISSUE, confirm=None)))["billing.issue_credit"]
    assert failed(told) == {}
    assert told["tests"][1]["words"] == "found by the same key again"


async def test_a_sample_with_one_key_proves_it_once_and_says_so_afterwards(fake: BenchFake) -> None:
    samples = {ISSUE.id: {"input": {"account_id": "a1", "dispute_id": "d1", "amount": 100}}}
    first = (await results(fake, ISSUE, samples=samples))[ISSUE.id]
    again = (await results(fake, ISSUE, samples=samples))[ISSUE.id]
    assert (failed(first), failed(again)) == ({}, {})
    assert first["tests"][1]["words"] == "found by read billing.find_credit"
    assert "an earlier run had done it" in again["tests"][1]["words"]
    assert len([call for call in fake.seen if call.path == "/accounts/a1/credits"]) == 8
    assert len(fake.credits) == 1


async def test_a_write_without_a_sample_does_not_pass(fake: BenchFake) -> None:
    told = await results(fake, samples={})
    assert all("give conform.samples.billing.issue_credit" in w for w in failed(told["billing.issue_credit"]).values())


async def test_a_fake_that_does_not_answer_says_what_to_start(fake: BenchFake) -> None:
    await fake.stop()
    with pytest.raises(ControlError, match="CXPLANE_SYSTEM_BILLING_URL"):
        await results(fake)


async def test_a_system_without_a_bench_cannot_be_tested(fake: BenchFake) -> None:
    repo = ControlRepo(Plane("p", "t", "o", "UTC", "EUR"), {}, {"billing": system(fake)}, {}, (), (), {}, {}, {})
    connectors = Connectors(repo.systems, CEL, EnvironmentVault({}))
    with pytest.raises(ControlError, match="no `conform` block"):
        await conform(repo, "billing", connectors, CEL, CedarEngine(), SystemClock())
    with pytest.raises(ControlError, match="no system 'crm'"):
        await conform(repo, "crm", connectors, CEL, CedarEngine(), SystemClock())


def test_a_contract_changes_with_what_is_tested_and_nothing_else() -> None:
    same = [replace(ISSUE, summary="x", owner="y", line=9, limits=Limits(), money=None, version=3)]
    other = [
        replace(ISSUE, key=("account_id",)),
        replace(ISSUE, via=HttpCall("billing", "POST", "/credits")),
        replace(ISSUE, confirm=None),
        replace(ISSUE, undo=Undo(none="no")),
        replace(ISSUE, input={"type": "object"}),
        replace(ISSUE, output={"type": "object"}),
        replace(ISSUE, effect=Effect.READ),
    ]
    assert {contract_hash(one) for one in same} == {contract_hash(ISSUE)}
    assert len({contract_hash(one) for one in (ISSUE, *other)}) == len(other) + 1
