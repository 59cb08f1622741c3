"""Judging alone."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.gate.control import POLICIES


def decision(control: Path) -> dict[str, float]:
    """CPU ms of judging one request in this process, and of Cedar's answer within it; and where policy answered the same before."""
    from datetime import UTC, datetime, timedelta

    from cxplane.adapters.cedar import CedarEngine
    from cxplane.control.release import build
    from cxplane.decide.facts import Facts
    from cxplane.decide.judge import judge
    from cxplane.decide.rulebook import Rulebook
    from cxplane.domain.customer import Assurance, Consent, Customer, Situation
    from cxplane.domain.decision import Allowed
    from cxplane.domain.request import ActionRequest
    from cxplane.wiring import expressions

    release = build(control)
    policies = CedarEngine().compile(release.repo)
    rulebook = Rulebook.compile(release, policies, expressions())
    now = datetime.now(UTC)
    customer = Customer(
        "c1",
        assurances=(Assurance(2, "otp", now + timedelta(hours=1)),),
        consents=(Consent("service", True, now, "bench"),),
    )
    situation = Situation(customer)
    inside = [0.0]
    kept = [False]

    def answer(question: Any) -> Any:
        if kept[0]:
            return policies.answer(question)
        asked = policies.slices[question.action]
        return policies.answer_by(question, asked.policies, asked.ids)  # the engine itself, each time

    class Timed:
        def __getattr__(self, name: str) -> Any:
            return getattr(policies, name)

        def answer(self, question: Any) -> Any:
            began = time.process_time()
            try:
                return answer(question)
            finally:
                inside[0] += time.process_time() - began

    timed = Rulebook(rulebook.release, Timed(), rulebook.rules)  # type: ignore[arg-type]
    whole: dict[bool, list[float]] = {False: [], True: []}
    cedar = []
    for n in range(4000):
        kept[0] = n >= 2000
        input = {"account_id": "a1", "dispute_id": str(n), "amount": n % (POLICIES - 1)}
        fin = release.repo.callers["agent:fin"]
        request = ActionRequest(f"r{n}", "bench", "billing.credit", input, fin, now, customer="c1")
        inside[0] = 0.0
        began = time.process_time()
        answered = judge(timed, request, situation, Facts(money=5), now)
        whole[kept[0]].append(time.process_time() - began)
        if not kept[0]:
            cedar.append(inside[0])
        if not isinstance(answered, Allowed):
            raise SystemExit(f"the decision measured is not an allow: {answered.grounds.reasons}")
    return {
        "p50_cpu_ms": round(statistics.median(whole[False]) * 1000, 3),
        "answered_before_p50_cpu_ms": round(statistics.median(whole[True]) * 1000, 3),
        "engine_p50_cpu_ms": round(statistics.median(cedar) * 1000, 3),
        "policies": POLICIES,
    }
