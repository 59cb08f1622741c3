"""Who governs what: the catalog as its users may see it, and the four questions that every operator is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxplane.domain.budget import Budget
from cxplane.domain.catalog import Action, ReadFact
from cxplane.domain.errors import NotFound
from cxplane.domain.values import JsonObject
from cxplane.domain.views import ActionView
from cxplane.loop.live import Live, Releases
from cxplane.ports.store import Store


class Governance:
    def __init__(self, tenant: str, store: Store, releases: Releases) -> None:
        self._tenant, self._store, self._releases = tenant, store, releases

    async def actions(self) -> list[ActionView]:
        live = self._releases.need()
        tested = await self._store.conformance(self._tenant)
        return [_view(live, action, tested) for _, action in sorted(live.release.repo.actions.items())]

    async def action(self, id: str) -> ActionView:
        live = self._releases.need()
        if (action := live.rulebook.action(id)) is None:
            raise NotFound(f"no action {id}", next="List them with GET /v1/actions.")
        return _view(live, action, await self._store.conformance(self._tenant))

    async def budgets(self) -> list[JsonObject]:
        """Each budget with its limits and what its open windows have used."""
        live = self._releases.need()
        uses = await self._store.budget_uses(self._tenant)
        return [
            {
                "id": b.id,
                "owner": b.owner,
                "window": b.window.value,
                "per": list(b.per),
                "limit": {k: v for k, v in (("money", b.money), ("count", b.count), ("risk", b.risk)) if v is not None},
                "exhausted": b.exhausted,
                "approvers": list(b.approvers),
                "used": [
                    {"scope": u.scope, "window": u.window, "money": u.money, "count": u.count, "risk": u.risk}
                    for u in uses
                    if u.budget == b.id
                ],
            }
            for b in live.release.repo.budgets
        ]

    async def questions(self) -> JsonObject:
        """What a buyer asks: actions and governors; where context lives; what survives a change; what hands over."""
        live = self._releases.need()
        repo, stats = live.release.repo, await self._store.stats()
        policies = live.rulebook.policies.meta.values()
        hands = [
            {
                "policy": p.id,
                "reason": p.reason,
                "file": p.file,
                "line": p.line,
                "approvers": sorted(p.obligations.approvers),
            }
            for p in policies
            if p.effect == "permit" and _asks_a_person(p.actions)
        ]
        return {
            "which_actions_exist_and_who_governs_each": [
                {
                    "action": v.id,
                    "owner": v.owner,
                    "risk": v.risk,
                    "policies": [p["id"] for p in v.policies],
                    "budgets": list(v.budgets),
                    "approvers": list(v.approvers),
                }
                for v in await self.actions()
            ],
            "where_context_lives_and_how_to_export_it": {
                "store": "PostgreSQL, schema cxplane, owned by the operator",
                "now": {
                    k: v for k, v in stats.items() if k in ("entries", "customers", "open_intents", "open_approvals")
                },
                "export": ["GET /v1/entries?after=0", "cxplane entries --after 0 --json", "pg_dump --schema cxplane"],
            },
            "what_survives_a_change_of_vendor_or_model": {
                "release": live.release.hash,
                "plain_files": sorted(repo.files),
                "rented": {s.id: s.base_url or "python" for s in repo.systems.values()},
                "agents": {
                    c.id: {"version": c.version, "owner": c.owner} for c in repo.callers.values() if c.kind.is_ai
                },
                "note": "An action keeps its contract, policy and record when `via` or an agent behind a role is replaced.",
            },
            "what_logic_hands_a_case_to_a_person": {
                "policies": hands,
                "budgets": [
                    {"budget": b.id, "then": b.exhausted, "approvers": list(b.approvers)} for b in repo.budgets
                ],
                "modes": {a.id: a.mode.value for a in repo.actions.values() if a.mode.value != "act"},
                "confidence_below": {
                    a.id: a.confidence or repo.plane.confidence
                    for a in repo.actions.values()
                    if a.writes and (a.confidence or repo.plane.confidence) is not None
                },
                "outcomes": "an outcome that nobody can tell is put before a person (status stuck)",
            },
        }


def _asks_a_person(actions: frozenset[str] | None) -> bool:
    """A permit of the second tier alone: what it covers may be asked for, and then waits."""
    return actions is not None and any(a.endswith(":request") for a in actions)


def _applies(budget: Budget, action: Action) -> bool:
    return action.writes and (not budget.actions or action.id in budget.actions)


def _users(live: Live, id: str) -> tuple[str, ...]:
    users: set[str] = set()
    for action in live.release.repo.actions.values():
        reads = {f.read for f in action.facts.values() if isinstance(f, ReadFact)}
        confirm = {action.confirm.read} if action.confirm else set()
        undo = {action.undo.call} if action.undo and action.undo.call else set()
        if id in reads | confirm | undo:
            users.add(action.id)
    return tuple(sorted(users))


def _view(live: Live, action: Action, tested: Mapping[tuple[str, str], Mapping[str, Any]]) -> ActionView:
    policies = live.rulebook.policies.policies_for(action.id)
    contract = live.contracts.get(action.id, "")
    return ActionView(
        id=action.id,
        version=action.version,
        summary=action.summary,
        system=action.system,
        owner=action.owner,
        effect=action.effect.value,
        risk=action.risk.value,
        mode=action.mode.value,
        data=tuple(sorted(action.data)),
        key=action.key,
        input=action.input,
        output=action.output,
        policies=tuple(
            {
                "id": p.id,
                "effect": p.effect,
                "reason": p.reason,
                "file": p.file,
                "line": p.line,
                "owner": p.owner,
                "actions": sorted(p.actions) if p.actions is not None else None,
            }
            for p in policies
        ),
        budgets=tuple(b.id for b in live.release.repo.budgets if _applies(b, action)),
        approvers=tuple(sorted({r for p in policies for r in p.obligations.approvers})),
        confirm=f"{action.confirm.read}: {action.confirm.expect}" if action.confirm else None,
        undo=(action.undo.call or f"none: {action.undo.none}") if action.undo else None,
        used_by=_users(live, action.id),
        conformance=tested.get((action.id, contract)),
        release=live.release.hash,
    )
