"""What the plane tells those who ask: values that any edge can render."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cxplane.domain.record import ApprovalRow
from cxplane.domain.run import RunRow, TaskRow
from cxplane.domain.values import JsonObject


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller sends to ask for an action."""

    action: str
    input: JsonObject = field(repr=False)
    customer: str | None = None
    conversation: str | None = None
    channel: str = "api"
    purpose: str | None = None
    confidence: float | None = None
    reason: str = field(default="", repr=False)
    candidates: tuple[Mapping[str, Any], ...] = ()  # {"action", "score"?, "why_not"?}
    recorded: JsonObject = field(default_factory=dict, repr=False)
    dry_run: bool = False
    id: str | None = None  # derived from an idempotency key; None = fresh
    body_hash: str | None = None  # of what the edge received, with an idempotency key


@dataclass(frozen=True, slots=True)
class RequestView:
    """Where a request stands, with the reasons and what to do next."""

    id: str
    action: str
    decision: str | None  # allow | hold | refuse
    status: str
    next: str  # plain words
    caller: str
    customer: str | None
    at: datetime
    reasons: tuple[JsonObject, ...] = ()  # {code, text, effect, policy?, file?, line?, where?}
    obligations: JsonObject = field(default_factory=dict)
    determined_by: str | None = None
    release: str | None = None
    repeated: bool = False
    output: JsonObject | None = field(default=None, repr=False)
    error: str | None = None
    approval: str | None = None
    replaced_by: str | None = None
    undone_by: str | None = None
    preview: JsonObject | None = field(default=None, repr=False)
    decided_in_ms: float | None = None  # reading the facts and judging, without the call itself


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """All that an approver needs to see."""

    approval: ApprovalRow
    request: RequestView
    input: JsonObject = field(repr=False)
    reason: str = field(repr=False)  # the proposer's
    evidence: JsonObject = field(repr=False)  # facts: name -> {value, source, as_of}
    effect: str  # what the action does, and what undoes it
    if_nothing_is_done: str
    may_decide: bool  # the one who looks
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class ActionView:
    """One action and who governs it."""

    id: str
    version: int
    summary: str
    system: str
    owner: str
    effect: str
    risk: str
    mode: str
    data: tuple[str, ...]
    key: tuple[str, ...]
    input: JsonObject
    output: JsonObject
    policies: tuple[JsonObject, ...]  # {id, effect, reason, file, line, owner, tiers}
    budgets: tuple[str, ...]
    approvers: tuple[str, ...]  # roles named by its policies
    confirm: str | None
    undo: str | None
    used_by: tuple[str, ...]  # actions whose facts, confirm or undo use it
    conformance: JsonObject | None  # the last result for this contract; None = not tested
    release: str


@dataclass(frozen=True, slots=True)
class RunView:
    """Where a run stands, what was done, what is open, and what frees it."""

    run: RunRow
    next: str  # plain words
    input: JsonObject = field(default_factory=dict, repr=False)
    state: JsonObject = field(default_factory=dict, repr=False)  # {"vars", "steps"}: only for who sees the record
    tokens: tuple[JsonObject, ...] = ()  # {step, waits_for, since?, due?}
    tasks: tuple[TaskRow, ...] = ()  # open ones
    did: tuple[JsonObject, ...] = ()  # {step, request, action, undone}
    left: tuple[str, ...] = ()  # steps that did not come yet
    goals: JsonObject = field(default_factory=dict)
    error: JsonObject | None = None  # {name, text, step}
    frees: tuple[JsonObject, ...] = ()  # {do, how, why}: what gets it on
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, for those who run the plane."""

    name: str
    status: str  # ok | warn | fail
    said: str
    next: str = ""  # what to do
