from __future__ import annotations

import pytest

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.control.release import build
from cxplane.control.test import TestReport, run_tests
from cxplane.domain.errors import ControlError
from tests.control.world import FILES, POLICIES, REFUND, TESTS, changed, line_of

ENGINE, EXPRESSIONS = CedarEngine(), CelExpressions()


async def ran(files: dict[str, str], only: str | None = None) -> TestReport:
    return await run_tests(build(files), ENGINE, EXPRESSIONS, only=only)


def with_test(text: str, files: dict[str, str] | None = None) -> dict[str, str]:
    return {**(files or FILES), "policies/tests/own.yaml": f"tests:\n- {text}"}


async def test_a_wrong_decision_is_told_with_its_place_and_the_reasons_that_were_given() -> None:
    files = changed(POLICIES, "context.input.amount <= 5000", "context.input.amount <= 1000")
    report = await ran(files)
    assert not report.passed
    (failed,) = report.failed
    assert (failed.file, failed.line) == (TESTS, line_of(files, TESTS, "a small refund"))
    assert failed.words().split("\n") == [
        f"{TESTS}:{failed.line}: a small refund of the customer's own order goes ahead",
        "  decision: expected allow; got hold",
        "  reasons: expected small-refund; got large-refund-asks",
        "  because: More than 50 euros waits for a supervisor",
    ]


async def test_the_right_decision_for_another_reason_fails() -> None:
    report = await ran(
        changed(
            TESTS,
            "expect: {decision: refuse, reasons: [no-more-than-paid]}",
            "expect: {decision: refuse, reasons: [consent]}",
        )
    )
    (failed,) = report.failed
    assert [one.what for one in failed.compared if not one.same] == ["reasons"]
    assert failed.as_json()["actual"]["reasons"] == ["no-more-than-paid"]


async def test_other_approvers_fail() -> None:
    report = await ran(changed(TESTS, "approvers: [supervisor]}", "approvers: [service-agent]}"))
    assert "approvers: expected service-agent; got supervisor" in report.words()


async def test_a_policy_without_a_test_is_named() -> None:
    assert (await ran(dict(FILES))).untested == ()
    report = await ran(changed(TESTS, "reasons: [orders-may-be-read]", "reasons: [orders-may-be-read]", {
        **FILES,
        POLICIES: FILES[POLICIES] + '\n@id("late")\n@reason("Nobody after dark")\nforbid (principal, action, resource) when { context.channel == "night" };\n',
    }))  # fmt: skip
    assert report.untested == ("late",)
    assert report.passed
    assert "no test makes these policies decide: late" in report.words()


async def test_only_some_can_be_run() -> None:
    report = await ran(dict(FILES), only="large")
    assert [result.name for result in report.results] == ["a large refund waits for a supervisor"]
    assert report.untested == ()


ORDER = "{order_id: o1, customer_id: c1, paid: 9900, refunded: 0, status: shipped}"
ASK = "action: shop.refund_order, by: 'agent:helper', customer: c1, input: {order_id: o1, amount: 2500}"
SURE = "assurance: {level: 2, method: code}, consents: [service]"


# fmt: off
JUDGED = [
    (f"{{name: t, request: {{{ASK}}}, customer: {{{SURE}}}, expect: {{decision: refuse, reasons: [fact]}}}}", "a fact that is not given"),
    (f"{{name: t, request: {{{ASK}}}, customer: {{consents: [service]}}, facts: {{order: {ORDER}}}, expect: {{decision: refuse, reasons: [no_policy]}}}}", "nobody is sure who it is"),
    (f"{{name: t, request: {{{ASK}}}, facts: {{order: {ORDER}}}, expect: {{decision: refuse, reasons: [consent]}}}}", "no consent"),
    (f"{{name: t, request: {{{ASK}, confidence: 0.4}}, customer: {{{SURE}}}, facts: {{order: {ORDER}}}, expect: {{decision: hold, reasons: [confidence]}}}}", "an AI that is not sure"),
    (f"{{name: t, request: {{{ASK.replace('amount: 2500', 'amount: 25.5')}}}, customer: {{{SURE}}}, expect: {{decision: refuse, reasons: [input]}}}}", "money as a fraction"),
    (f"{{name: t, request: {{{ASK.replace('amount: 2500', 'amount: 9000')}}}, customer: {{{SURE}}}, facts: {{order: {ORDER}}}, approver: sam, expect: {{decision: allow, reasons: [large-refund-asks, approver]}}}}", "released by a supervisor"),
    (f"{{name: t, request: {{{ASK.replace('agent:helper', 'system:crm-sync')}}}, customer: {{{SURE}}}, facts: {{order: {ORDER}}}, expect: {{decision: refuse, reasons: [no_policy]}}}}", "a caller without the role"),
    (f"{{name: t, request: {{{ASK}}}, customer: {{{SURE}}}, facts: {{order: {ORDER}, left: 10}}, expect: {{decision: refuse, reasons: [no-more-than-paid]}}}}", "a computed fact may be given"),
]
# fmt: on


@pytest.mark.parametrize(("test", "reasons"), JUDGED)
async def test_everything_that_judging_knows_can_be_tested(test: str, reasons: str) -> None:
    report = await ran(with_test(test), only="own.yaml")
    assert report.passed, f"{reasons}\n{report.words()}"


async def test_time_stands_still_in_a_test() -> None:
    policy = '\n@id("morning")\n@reason("Only in the morning")\nforbid (principal, action, resource) when { context.now < datetime("2026-03-01T06:00:00Z") && context.channel == "chat" };\n'
    files = {**FILES, POLICIES: FILES[POLICIES] + policy}
    ask = ASK + ", channel: chat"
    for now, expected in (
        ("2026-03-01T05:59:59Z", "refuse, reasons: [morning]"),
        ("2026-03-01T07:00:00+01:00", "allow, reasons: [small-refund]"),
    ):
        test = f"{{name: t, request: {{{ask}}}, customer: {{{SURE}}}, now: '{now}', facts: {{order: {ORDER}}}, expect: {{decision: {expected}}}}}"
        report = await ran(with_test(test, files), only="own.yaml")
        assert report.passed, report.words()


async def test_a_release_that_cannot_decide_is_an_error_with_its_mistakes() -> None:
    with pytest.raises(ControlError, match="left"):
        await ran(changed(REFUND, "{cel: order.paid - order.refunded", "{cel: ordr.paid - order.refunded"))
