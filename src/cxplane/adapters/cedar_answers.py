"""The policies of one release, compiled: questions in, answers out. See `cedar.py` for the traps.

Nothing here lets an error, a silence or an unknown name become a yes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import cedarpy
import msgspec

from cxplane.adapters.cedar_policies import Chunk
from cxplane.adapters.cedar_schema import (
    CedarSchema,
    Reads,
    fact_fields,
    groups,
    schema_of,
    tiers,
)
from cxplane.adapters.cedar_types import Unfit
from cxplane.domain.catalog import Action
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.release import ControlRepo
from cxplane.domain.values import Json
from cxplane.ports.policy import ALL, Answer, PolicyMeta, Question

_encode = msgspec.json.Encoder().encode
_OUTCOME = {cedarpy.Decision.Allow: "allow", cedarpy.Decision.Deny: "deny"}
_BY_POLICY = re.compile(r"policy `(policy\d+)`")


KEPT = 4096  # answers of one release: 32 bytes and a little each
CANARY = Caller(CallerKind.AGENT, "cxplane-canary", roles=frozenset({"cxplane-canary"}))


@dataclass(frozen=True, slots=True)
class Slice:
    """The policies that cover one Cedar action, and their ids by the engine's own."""

    policies: cedarpy.PolicySet
    ids: Mapping[str, str]
    who: bool = True  # whether any of them can tell one customer from another by more than attributes


class CedarPolicies:
    """The policies of one release."""

    def __init__(self, repo: ControlRepo, chunks: Sequence[Chunk], metas: Sequence[PolicyMeta]) -> None:
        self.meta: Mapping[str, PolicyMeta] = {meta.id: meta for meta in metas}
        self._tenant = repo.plane.tenant
        self._covering = {action.id: tuple(m for m in metas if covers(m, action)) for action in repo.actions.values()}
        reads = {action.id: _reads(self._covering[action.id]) for action in repo.actions.values()}
        self._facts = {action.id: _facts(reads[action.id], action, repo) for action in repo.actions.values()}
        # A request brings only what its policies read; the schema that it is checked against knows nothing else.
        self.schema: CedarSchema = schema_of(repo, reads)
        self._schemas: dict[str, cedarpy.Schema] = {}  # one for each action, so that cost does not follow the catalog
        for action in repo.actions.values():
            one = cedarpy.Schema.from_json_str(json.dumps(schema_of(repo, reads, action.id).json))
            self._schemas.update(dict.fromkeys(tiers(action.id), one))
        self._given: dict[bytes, Answer] = {}  # to what was asked before, by the hash of all that policy saw
        self.slices = self._sliced(chunks, metas)

    def facts_for(self, action: str) -> frozenset[str]:
        return self._facts.get(action, frozenset())

    def policies_for(self, action: str) -> Sequence[PolicyMeta]:
        return self._covering.get(action, ())

    def answer(self, question: Question) -> Answer:
        """The same question of the same policies has the same answer: a yes or a no is kept, and given again."""
        found = self.slices.get(question.action)
        if found is None:
            return Answer("no_decision", (), ("the action is not in the catalog",))
        try:
            put = self._put(question)
            seen = put.seen(found.who)
        except Unfit as problem:
            return Answer("no_decision", (), (f"{problem}, as the schema wants",))
        except Exception as problem:
            return Answer("error", (), (f"the question could not be put ({type(problem).__name__})",))
        if seen is not None and (given := self._given.get(seen)) is not None:
            return given
        answer = self._evaluated(put, found.policies, found.ids)
        if seen is not None and answer.outcome in ("allow", "deny"):
            while len(self._given) >= KEPT:
                self._given.pop(next(iter(self._given)))  # the oldest
            self._given[seen] = answer
        return answer

    def _sliced(self, chunks: Sequence[Chunk], metas: Sequence[PolicyMeta]) -> Mapping[str, Slice]:
        """For each Cedar action, the policies whose action scope it is in: cost follows those, not all there are.

        The engine itself tells which: every policy stripped to its action scope, as a permit; those that determine the
        answer are in.
        """
        scopes = _scopes(chunks)
        by_position = {f"policy{n}": str(n) for n in range(len(chunks))}
        slices: dict[str, Slice] = {}
        for name, shape in self.schema.contexts.items():
            question = Question(CANARY, name, CANARY.id, {}, shape.sample())
            answer = self.answer_by(question, scopes, by_position)
            if answer.outcome not in ("allow", "deny"):
                raise ControlError([Mistake("policies", 0, f"it cannot be told which policies cover {name}")])
            chosen = sorted(int(n) for n in answer.policies)
            policies = cedarpy.PolicySet.from_str("\n".join(chunks[n].text for n in chosen))
            if len(policies) != len(chosen):
                raise ControlError([Mistake("policies", 0, "the policies cannot be told apart", "end each with `;`")])
            ids = {f"policy{k}": metas[n].id for k, n in enumerate(chosen)}
            slices[name] = Slice(policies, ids, who=any(metas[n].who for n in chosen))
        return slices

    def answer_by(self, question: Question, policies: cedarpy.PolicySet, ids: Mapping[str, str]) -> Answer:
        """For the canary too: the engine itself, whatever was asked before. Never raises."""
        try:
            put = self._put(question)
        except Unfit as problem:
            return Answer("no_decision", (), (f"{problem}, as the schema wants",))
        except Exception as problem:
            return Answer("error", (), (f"the question could not be put ({type(problem).__name__})",))
        return self._evaluated(put, policies, ids)

    def _evaluated(self, put: Put, policies: cedarpy.PolicySet, ids: Mapping[str, str]) -> Answer:
        try:
            schema = self._schemas[put.action]
            result = cedarpy.is_authorized(
                put.request(),
                policies,
                cedarpy.Entities.from_json_str(put.entities(), schema=schema),
                schema=schema,
            )
            determining, complaints = result.diagnostics.reasons, result.diagnostics.errors
            outcome = _OUTCOME.get(result.decision, "no_decision")
        except Exception as problem:
            return Answer("error", (), (f"the policy engine failed ({type(problem).__name__})",))
        if outcome == "no_decision":
            return Answer("no_decision", (), ("the request does not fit the schema",))
        if complaints:
            return Answer("error", tuple(ids[p] for p in determining if p in ids), _complaints(complaints, ids))
        if any(policy not in ids for policy in determining):
            return Answer("error", (), ("a policy decided that is not known by name",))
        if outcome == "allow" and not determining:
            return Answer("error", (), ("it was allowed by no policy",))
        return Answer(outcome, tuple(sorted(ids[p] for p in determining)))

    def _put(self, question: Question) -> Put:
        """Raises Unfit, and whatever a value that is no JSON makes the encoder raise."""
        if question.action not in self.schema.contexts:
            raise Unfit("the action", "in the catalog")
        context: dict[str, Json] = dict(question.context)
        if question.now is not None:
            context.setdefault("now", question.now)
        fitted = self.schema.contexts[question.action].fit(context, "context")
        caller = question.caller
        attributes = self.schema.caller.fit({**caller.attributes, "team": caller.team}, "caller")
        principal = _encode(
            {
                "uid": {"type": caller.kind.cedar, "id": caller.id},
                "attrs": attributes,
                "parents": [{"type": "Role", "id": role} for role in sorted(caller.roles)],
            }
        )
        if self.schema.resources[question.action] == "Customer":
            if question.customer is None:
                raise Unfit("the customer", "named")
            resource = {"type": "Customer", "id": question.customer}
            attributes = self.schema.customer.fit(question.attributes, "customer")
        else:
            resource, attributes = {"type": "Tenant", "id": self._tenant}, {}
        return Put(question, principal, resource, _encode(attributes), _encode(fitted), timeless="now" not in fitted)


class Put:
    """A question as the engine is asked it: what policies do not read is not in it."""

    __slots__ = ("_attributes", "_caller", "_context", "_principal", "_resource", "_timeless", "action")

    def __init__(
        self,
        question: Question,
        principal: bytes,
        resource: dict[str, str],
        attributes: bytes,
        context: bytes,
        *,
        timeless: bool,
    ) -> None:
        """`timeless`: no policy looks at the clock. The bytes are JSON."""
        self.action, self._caller = question.action, question.caller
        self._principal, self._resource, self._attributes, self._context = principal, resource, attributes, context
        self._timeless = timeless

    def seen(self, who: bool) -> bytes | None:
        """A hash of all that policy sees; None where that is never twice the same. `who`: it sees which customer it is."""
        if not self._timeless:
            return None
        customer = self._resource["id"] if who else ""
        return sha256(
            b"%d %d %d|%b%b%b%b%b"
            % (
                len(self._principal),
                len(self._attributes),
                len(self._context),
                self._principal,
                self._attributes,
                self._context,
                self.action.encode(),
                b"|" + customer.encode(),
            )
        ).digest()

    def request(self) -> dict[str, Any]:
        return {
            "principal": {"type": self._caller.kind.cedar, "id": self._caller.id},
            "action": {"type": "Action", "id": self.action},
            "resource": self._resource,
            "context": self._context.decode(),
        }

    def entities(self) -> str:
        resource = b'{"uid":%b,"attrs":%b,"parents":[]}' % (_encode(self._resource), self._attributes)
        return (b"[%b,%b]" % (self._principal, resource)).decode()


def _text(value: Any) -> str:
    return _encode(value).decode()


def _scopes(chunks: Sequence[Chunk]) -> cedarpy.PolicySet:
    everyone = {"op": "All"}
    bare: dict[str, Any] = {}
    for n, chunk in enumerate(chunks):
        (policy,) = json.loads(cedarpy.policies_to_json_str(chunk.text))["staticPolicies"].values()
        bare[f"policy{n}"] = {
            "effect": "permit",
            "principal": everyone,
            "action": policy["action"],
            "resource": everyone,
            "conditions": [],
            "annotations": {},
        }
    return cedarpy.PolicySet.from_json_str(json.dumps({"staticPolicies": bare, "templates": {}, "templateLinks": []}))


def covers(meta: PolicyMeta, action: Action) -> bool:
    """Whether a policy's action scope has either tier of a catalog action in it."""
    return meta.actions is None or not meta.actions.isdisjoint({*tiers(action.id), *groups(action)})


def _reads(metas: Sequence[PolicyMeta]) -> Reads:
    return Reads(
        frozenset(name for meta in metas for name in meta.context),
        frozenset(name for meta in metas for name in meta.input),
        frozenset(name for meta in metas for name in meta.facts),
    )


def _facts(reads: Reads, action: Action, repo: ControlRepo) -> frozenset[str]:
    seen = fact_fields(action, repo).fields.keys()
    return frozenset(seen if ALL in reads.facts else seen & reads.facts)


def _complaints(errors: Sequence[str], ids: Mapping[str, str]) -> tuple[str, ...]:
    """Which policies failed. The engine's own words quote values, so they are not passed on."""
    names = sorted({ids.get(found, found) for error in errors for found in _BY_POLICY.findall(error)})
    return tuple(f"policy {name} could not be evaluated" for name in names) or ("a policy could not be evaluated",)
