"""The smallest world that acting needs: three entries of one system, an Allowed, a connector."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.act.plan import CallPlan, CallPlans
from cxplane.adapters.cel import CelExpressions
from cxplane.adapters.vault import EnvironmentVault
from cxplane.connectors.guarded import Guarded
from cxplane.connectors.http import HttpConnector
from cxplane.domain.catalog import Action, Breaker, Confirm, ConfirmWhen, Effect, HttpCall, Limits, Risk, System, Undo
from cxplane.domain.decision import Allowed, Grounds
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.request import ActionRequest
from tests.connectors.fake import FakeSystem

SECRET = "tok-5e1f-planted"
CUSTOMER_VALUE = "a-77-planted"
KEY = "k" * 64
CEL = CelExpressions()

CREDIT = Action(
    id="billing.issue_credit",
    version=1,
    summary="Credit an amount.",
    owner="care",
    effect=Effect.WRITE,
    risk=Risk.HIGH,
    input={
        "type": "object",
        "properties": {
            "account_id": {"type": "string"},
            "dispute_id": {"type": "string"},
            "amount": {"type": "integer"},
        },
    },
    output={"type": "object", "required": ["credit_id"], "properties": {"credit_id": {"type": "string"}}},
    via=HttpCall("billing", "POST", "/accounts/{account_id}/credits"),
    key=("account_id", "dispute_id"),
    confirm=Confirm(
        "billing.find_credit", {"key": "request.key"}, "result.amount == input.amount", ConfirmWhen.UNKNOWN
    ),
    undo=Undo(call="billing.reverse_credit", with_={"credit_id": "output.credit_id"}),
    limits=Limits(timeout=timedelta(seconds=0.3), attempts=3),
)
FIND = Action(
    id="billing.find_credit",
    version=1,
    summary="Find the credit made under a key.",
    owner="care",
    effect=Effect.READ,
    risk=Risk.LOW,
    input={"type": "object"},
    output={"type": "object", "required": ["credit_id"]},
    via=HttpCall("billing", "GET", "/credits"),
    limits=Limits(timeout=timedelta(seconds=0.3), attempts=3),
)
ACCOUNT = Action(
    id="billing.get_account",
    version=1,
    summary="Read an account.",
    owner="care",
    effect=Effect.READ,
    risk=Risk.LOW,
    input={"type": "object"},
    output={"type": "object", "required": ["balance"], "properties": {"balance": {"type": "integer"}}},
    via=HttpCall("billing", "GET", "/accounts/{account_id}"),
    limits=Limits(timeout=timedelta(seconds=0.3), attempts=3),
)


def always(action: Action) -> Action:
    assert action.confirm is not None
    return replace(action, confirm=replace(action.confirm, when=ConfirmWhen.ALWAYS))


def system(fake: FakeSystem | str, **changes: Any) -> System:
    url = fake if isinstance(fake, str) else fake.url
    given: dict[str, Any] = {"breaker": Breaker(failures=1000), "auth": {"bearer": "BILLING_TOKEN"}} | changes
    return System(id="billing", owner="it", base_url=url, **given)


def connector(fake: FakeSystem | str, **changes: Any) -> HttpConnector:
    return HttpConnector(system(fake, **changes), CEL, EnvironmentVault({"BILLING_TOKEN": SECRET}))


def guarded(fake: FakeSystem | str, **changes: Any) -> Guarded:
    return Guarded(connector(fake, **changes), {"billing": system(fake, **changes)})


def plan(action: Action) -> CallPlan:
    return CallPlans({one.id: one for one in (action, FIND, ACCOUNT)}, CEL).plan(action)


def allowed(action: Action = CREDIT, **input: Any) -> Allowed:
    """Tests of acting stand in for the judge; nothing in `src/` does."""
    given = input or {"account_id": CUSTOMER_VALUE, "dispute_id": "d1", "amount": 500}
    at = datetime(2026, 1, 5, tzinfo=UTC)
    request = ActionRequest("req_1", "t", action.id, given, Caller(CallerKind.AGENT, "fin"), at, customer="c1")
    return Allowed(request, Grounds("r" * 64, at, (), "policy"), KEY if action.writes else None)
