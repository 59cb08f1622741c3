"""The parts of a decision as its entry keeps them: lean, for the record is kept small."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cxplane.domain.decision import Decision, FactValue, Obligations, Reason
from cxplane.domain.record import BudgetExhausted


def lean(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing: the record is kept small."""
    return {k: v for k, v in body.items() if v or (v is not None and v != [] and v != {} and v != "")}


def reason_body(reason: Reason) -> dict[str, Any]:
    return lean(
        {
            "code": reason.code,
            "text": reason.text,
            "effect": reason.effect.value,
            "policy": reason.policy,
            "file": reason.file,
            "line": reason.line,
            "where": reason.where,
        }
    )


def obligations_body(obligations: Obligations) -> dict[str, Any]:
    return lean(
        {
            "approver_sets": [sorted(s) for s in obligations.approver_sets],
            "require": sorted(obligations.require),
            "cites": sorted(obligations.cites),
            "expires_s": obligations.expires_s,
            "default": obligations.default if obligations.expires_s is not None else None,
        }
    )


SEEN = ("assurance", "consents", "attributes", "confirmed", "unknown", "conversation_with")
"""What a decision keeps of its context: what neither the request nor the release tells."""


def untold(decision: Decision) -> dict[str, Any]:
    return {name: decision.grounds.context[name] for name in SEEN if name in decision.grounds.context}


def fact_body(fact: FactValue, now: datetime) -> dict[str, Any]:
    as_of = fact.as_of.isoformat() if fact.as_of != now else None  # most are as of the decision
    return lean({"source": fact.source, "as_of": as_of, "age_s": round(fact.age_s, 3) or None})


def over_body(over: BudgetExhausted | None) -> dict[str, Any] | None:
    if over is None:
        return None
    return {"budget": over.budget, "limit": over.limit, "used": over.used, "asked": over.asked, "allowed": over.allowed}
