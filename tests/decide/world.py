"""A small control repo, built by hand, and what a test changes in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cxplane.adapters.cedar import CedarEngine
from cxplane.adapters.cel import CelExpressions
from cxplane.decide.facts import Facts, gather
from cxplane.decide.judge import judge
from cxplane.decide.rulebook import Rulebook
from cxplane.domain.budget import Budget, Window
from cxplane.domain.catalog import (
    Action,
    ComputedFact,
    Effect,
    FactSpec,
    HttpCall,
    ReadFact,
    RecordedFact,
    Risk,
    System,
    Table,
    TableFact,
)
from cxplane.domain.customer import Assurance, Consent, Customer, Situation
from cxplane.domain.decision import Decision
from cxplane.domain.people import Caller, CallerKind, Role, Team
from cxplane.domain.release import ControlRepo, Plane, PolicyFile, Release
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import JsonObject

NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)

FIN = Caller(CallerKind.AGENT, "fin", roles=frozenset({"service-agent"}), data=frozenset({"billing", "contact"}))
NARROW = Caller(CallerKind.AGENT, "narrow", roles=frozenset({"service-agent"}), data=frozenset({"contact"}))
MARIA = Caller(CallerKind.PERSON, "maria", roles=frozenset({"supervisor"}), team="billing-care")
JON = Caller(CallerKind.PERSON, "jon", roles=frozenset({"service-agent"}))
ANNA = Caller(CallerKind.PERSON, "anna", roles=frozenset({"supervisor", "service-agent"}))
SYNC = Caller(CallerKind.SYSTEM, "sync", roles=frozenset({"integration"}))

CREDIT_INPUT: dict[str, Any] = {
    "type": "object",
    "required": ["account_id", "dispute_id", "amount"],
    "properties": {
        "account_id": {"type": "string", "pattern": "^A[0-9]+$"},
        "dispute_id": {"type": "string"},
        "amount": {"type": "integer", "minimum": 1},
        "reason": {"type": "string", "enum": ["outage", "billing_error"]},
        "share": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ACCOUNT_OUTPUT: dict[str, Any] = {
    "type": "object",
    "required": ["status", "balance"],
    "properties": {
        "status": {"type": "string"},
        "balance": {"type": "integer"},
        "credits": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"amount": {"type": "integer"}, "age_days": {"type": "integer"}},
            },
        },
        "plan": {"type": "string"},
        "score": {"type": "number"},
    },
}

POLICIES = """\
@id("read-own") @reason("Service staff may read accounts")
permit (principal in Role::"service-agent", action == Action::"billing.get_account", resource);

@id("small-credit")
@reason("A small credit to an account in good standing")
permit (
  principal in Role::"service-agent",
  action == Action::"billing.issue_credit",
  resource
)
when {
  context.input.amount <= 2000 &&
  context.facts.account.status == "active" &&
  context.assurance.level >= 2
};

@id("larger-credit") @reason("A larger credit needs a supervisor")
@approvers("supervisor") @require("log") @expires("2h")
permit (principal in Role::"service-agent", action == Action::"billing.issue_credit:request", resource)
when { context.input.amount <= 20000 };

@id("many-credits") @reason("Many credits within 30 days are looked at by risk, by two people")
@approvers("risk") @require("four-eyes") @expires("1h")
permit (principal in Role::"service-agent", action == Action::"billing.issue_credit:request", resource)
when { context.facts.credits_30d > 5000 };

@id("not-alone") @reason("Many credits within 30 days are never given by an AI alone")
forbid (principal is Agent, action == Action::"billing.issue_credit", resource)
when { context.facts.credits_30d > 5000 };

@id("closed-account") @reason("No credit to a closed account")
forbid (principal, action in Action::"billing.issue_credit:any", resource)
when { context.facts.account.status == "closed" };
"""


def action(id: str = "billing.issue_credit", **changes: Any) -> Action:
    known: dict[str, Any] = {
        "version": 1,
        "summary": "Credit an amount to a customer's account.",
        "owner": "billing-care",
        "effect": Effect.WRITE,
        "risk": Risk.MEDIUM,
        "input": CREDIT_INPUT,
        "output": {"type": "object", "properties": {"credit_id": {"type": "string"}}},
        "via": HttpCall("billing", "POST", "/credits"),
        "key": ("account_id", "dispute_id"),
        "facts": credit_facts(),
        "money": "input.amount",
        "data": frozenset({"billing"}),
        "file": "catalog/billing/issue_credit.yaml",
    }
    return Action(id=id, **{**known, **changes})


def credit_facts() -> dict[str, FactSpec]:
    return {
        "account": ReadFact("account", "billing.get_account", {"account_id": "input.account_id"}, line=10),
        "credits_30d": ComputedFact(
            "credits_30d",
            "sum(account.credits.filter(c, c.age_days <= 30).map(c, c.amount))",
            "Long",
            line=11,
        ),
        "limit": TableFact("limit", "limits", "account.plan", "'credit'", "Long", optional=True, line=12),
        "why": RecordedFact("why", "reason_given", optional=True, max_age=timedelta(minutes=10), line=13),
        "unused": ReadFact("unused", "billing.get_account", {"account_id": "'other'"}, line=14),
    }


GET_ACCOUNT = Action(
    id="billing.get_account",
    version=1,
    summary="Read an account.",
    owner="billing-care",
    effect=Effect.READ,
    risk=Risk.LOW,
    input={"type": "object", "required": ["account_id"], "properties": {"account_id": {"type": "string"}}},
    output=ACCOUNT_OUTPUT,
    via=HttpCall("billing", "GET", "/accounts/{account_id}"),
    data=frozenset({"billing"}),
    file="catalog/billing/get_account.yaml",
)


def repo(
    policies: str | Mapping[str, str] = POLICIES,
    *actions: Action,
    budgets: tuple[Budget, ...] = (),
    callers: tuple[Caller, ...] = (FIN, NARROW, MARIA, JON, ANNA, SYNC),
    **plane: Any,
) -> ControlRepo:
    files = {"policies/credit.cedar": policies} if isinstance(policies, str) else dict(policies)
    catalog = {a.id: a for a in (actions or (action(),))}
    catalog.setdefault(GET_ACCOUNT.id, GET_ACCOUNT)
    known: dict[str, Any] = {
        "name": "broadband",
        "tenant": "northwind",
        "owner": "cx-platform",
        "time_zone": "Europe/Berlin",
        "currency": "EUR",
        "customer_attributes": {"segment": "String", "vulnerable": "Bool"},
    }
    return ControlRepo(
        plane=Plane(**{**known, **plane}),
        actions=catalog,
        systems={"billing": System("billing", "billing-it")},
        tables={"limits": Table("limits", {"basic": {"credit": 500}, "gold": {"credit": 2500}})},
        policies=tuple(PolicyFile(f, text) for f, text in files.items()),
        budgets=budgets,
        roles={r: Role(r) for r in ("service-agent", "supervisor", "risk", "integration")},
        teams={"billing-care": Team("billing-care", "maria")},
        callers={c.name: c for c in callers},
    )


def release(*args: Any, **kwargs: Any) -> Release:
    return Release("0" * 64, repo(*args, **kwargs))


def request(**changes: Any) -> ActionRequest:
    known: dict[str, Any] = {
        "id": "req_1",
        "tenant": "northwind",
        "action": "billing.issue_credit",
        "input": {"account_id": "A1", "dispute_id": "D1", "amount": 1500},
        "caller": FIN,
        "at": NOW,
        "customer": "c1",
        "channel": "chat",
    }
    return ActionRequest(**{**known, **changes})


def customer(**changes: Any) -> Customer:
    known: dict[str, Any] = {
        "id": "c1",
        "attributes": {"segment": "gold"},
        "assurances": (Assurance(2, "otp", NOW + timedelta(minutes=30)),),
        "consents": (Consent("service", True, NOW - timedelta(days=1), "web"),),
    }
    return Customer(**{**known, **changes})


def situation(**changes: Any) -> Situation:
    return Situation(**{"customer": customer(), **changes})


ACCOUNT = {"status": "active", "balance": 10, "plan": "gold", "credits": [{"amount": 100, "age_days": 3}]}


def daily(**changes: Any) -> Budget:
    known: dict[str, Any] = {
        "id": "ai-credits-daily",
        "owner": "billing-care",
        "window": Window.DAY,
        "money": 50_000,
        "per": ("caller",),
        "actions": frozenset({"billing.issue_credit"}),
        "kinds": frozenset({"agent"}),
        "approvers": ("supervisor",),
    }
    return Budget(**{**known, **changes})


# putting it together --------------------------------------------------------------------------------

EXPRESSIONS = CelExpressions()
ENGINE = CedarEngine()


def rulebook(policies: str = POLICIES, *actions: Action, **kwargs: Any) -> Rulebook:
    made = release(policies, *actions, **kwargs)
    return Rulebook.compile(made, ENGINE.compile(made.repo), EXPRESSIONS)


class Systems:
    """Answers reads from a table, remembers what was asked, and fails where it is told to."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {"billing.get_account": ACCOUNT, **answers}
        self.asked: list[tuple[str, JsonObject]] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, action: str, input: JsonObject) -> JsonObject:
        self.asked.append((action, input))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0.001)
        finally:
            self.at_once -= 1
        answer = self.answers[action]
        if callable(answer):
            answer = answer(input)
        if isinstance(answer, Exception):
            raise answer
        found: JsonObject = answer
        return found


def facts_of(
    book: Rulebook, asked: ActionRequest, about: Situation | None = None, systems: Systems | None = None
) -> Facts:
    return asyncio.run(gather(book, asked, about or situation(), systems or Systems(), NOW))


def decide(
    book: Rulebook,
    asked: ActionRequest,
    about: Situation | None = None,
    systems: Systems | None = None,
    approver: Caller | None = None,
) -> Decision:
    about = about or situation()
    return judge(book, asked, about, facts_of(book, asked, about, systems), NOW, approver)
