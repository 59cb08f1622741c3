"""Cedar through `cedarpy`: parsed handles, a schema made from the catalog, and no way for an error to open the gate.

What Cedar does that would open it, and what is done here:
- Without the schema, entities know no action groups, and a `forbid` on a group never matches: entities are always
  parsed with it, and `compile` asks the canary (`cedar_canary`) whether group forbids hold.
- A policy that errors is skipped: any error makes the answer `error`.
- A context that breaks the schema gives no exception: the answer is `no_decision`, which refuses.
- Policies are named by position: ids are mapped to `@id`; one that is not known makes the answer `error`.
- Messages quote values: none of them leaves this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import cedarpy

from cxplane.adapters import cedar_policies
from cxplane.adapters.cedar_answers import CedarPolicies, covers
from cxplane.adapters.cedar_canary import sing
from cxplane.adapters.cedar_policies import Chunk, Read
from cxplane.adapters.cedar_schema import (
    REQUEST,
    CedarSchema,
    fact_fields,
    schema_mistakes,
    schema_of,
)
from cxplane.domain.catalog import ReadFact
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.release import ControlRepo
from cxplane.ports.policy import PolicyMeta


class CedarEngine:
    """Compiles the policies of a control repo."""

    def compile(self, repo: ControlRepo) -> CedarPolicies:
        found = cedar_policies.read(repo)
        if mistakes := _mistakes(repo, found):
            raise ControlError(mistakes)
        policies = CedarPolicies(repo, found.chunks, found.metas)
        if silent := sing(policies, repo):
            raise ControlError(
                [
                    Mistake("policies", 0, f"the policy engine failed its canary: {why}", "do not run this build")
                    for why in silent
                ]
            )
        return policies

    def check(self, repo: ControlRepo) -> Sequence[Mistake]:
        try:
            self.compile(repo)
        except ControlError as problem:
            return problem.mistakes
        return ()

    def schema(self, repo: ControlRepo) -> str:
        return json.dumps(schema_of(repo).json, indent=2, sort_keys=True)


def _joined(chunks: Sequence[Chunk]) -> str:
    return "\n".join(chunk.text for chunk in chunks)


def _mistakes(repo: ControlRepo, found: Read) -> list[Mistake]:
    mistakes = [*found.mistakes, *schema_mistakes(repo)]
    known = schema_of(repo)
    try:
        schema = cedarpy.Schema.from_json_str(json.dumps(known.json))
    except ValueError as problem:
        return [*mistakes, Mistake("catalog", 0, f"no Cedar schema can be made of the catalog: {problem}")]
    unseen: set[str] = set()
    for meta in found.metas:
        for mistake in _unseen_facts(meta, repo):
            unseen.add(meta.id)
            mistakes.append(mistake)
    if not found.chunks:
        return list(dict.fromkeys(mistakes))
    result = cedarpy.validate_policies(_joined(found.chunks), schema)
    for error in result.errors:
        at = int(error.policy_id.removeprefix("policy")) if re.match(r"^policy\d+$", error.policy_id) else None
        if at is None or at >= len(found.chunks):
            mistakes.append(Mistake("policies", 0, error.error))
        elif found.metas[at].id not in unseen:
            mistakes.append(_explained(found.chunks[at], found.metas[at], error.error, known))
    if not result.validation_passed and not mistakes:
        mistakes.append(Mistake("policies", 0, "the policies do not fit the schema of the catalog"))
    return list(dict.fromkeys(mistakes))


def _explained(chunk: Chunk, meta: PolicyMeta, error: str, known: CedarSchema) -> Mistake:
    """The engine's words with the policy's own name, the line of the word it complains about, and what to do."""
    words = re.sub(r"^for policy `policy\d+`, ", "", error)
    words = re.sub(rf'(in context for Action::"[^"]*){REQUEST}"', r'\1"', words)  # both tiers have the same context
    line = chunk.line
    for quoted in re.findall(r'`([^`]+)`|"([^"]+)"', words):
        word = re.split(r"\.", next(q for q in quoted if q))[-1].strip('"')
        if (line := chunk.line_of(word)) != chunk.line or word in chunk.text.split("\n", 1)[0]:
            break
    hint = ""
    if "optional attribute" in words:
        hint = "guard it: `context.facts has x && …`"
    elif "unrecognized action" in words:
        hint = f"actions are those of the catalog, with {REQUEST!r} or ':any' where that is meant"
    elif "not found" in words:
        hint = (
            "see the contract of the action in catalog/, or guard it with `has` where the policy covers several actions"
        )
    return Mistake(chunk.file, line, f"policy {meta.id!r}: {words}", hint)


def _unseen_facts(meta: PolicyMeta, repo: ControlRepo) -> list[Mistake]:
    """Facts that a policy reads but Cedar cannot see, for want of a type."""
    found: list[Mistake] = []
    for action in repo.actions.values():
        if not covers(meta, action):
            continue
        seen = fact_fields(action, repo).fields
        for name in sorted((meta.facts & action.facts.keys()) - seen.keys()):
            fact = action.facts[name]
            if isinstance(fact, ReadFact):
                hint = f"compute what the policy needs with cel and give it a type; `output` of {fact.read} has no simple type"
            else:
                hint = "give it a type: Bool, Long, String, Datetime, Decimal, Set<String> or Set<Long>"
            found.append(
                Mistake(
                    action.file,
                    fact.line or action.line,
                    f"policy {meta.id!r} ({meta.file}:{meta.line}) reads fact {name!r}, which has no type that Cedar can see",
                    hint,
                )
            )
    return found
