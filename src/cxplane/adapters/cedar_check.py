"""Whether the policies fit the schema of the catalog: what the engine's validator says, at the line that it speaks of.

The validator goes through every action of a schema for every policy. So policies are checked together with those of the
same scope, against the actions that this scope covers; only where that finds fault are they put before the whole catalog,
whose words name more. A policy that passes the one passes the other: to an action outside its scope it says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import cedarpy

from cxplane.adapters.cedar_policies import Chunk, Read
from cxplane.adapters.cedar_schema import (
    REQUEST,
    CedarSchema,
    fact_fields,
    groups,
    schema_mistakes,
    schema_of,
    schema_over,
    tiers,
)
from cxplane.domain.catalog import Action, ReadFact
from cxplane.domain.errors import Mistake
from cxplane.domain.release import ControlRepo
from cxplane.ports.policy import PolicyMeta

_Scope = frozenset[str] | None  # names in a policy's action scope; None: any action


def policy_mistakes(repo: ControlRepo, found: Read) -> list[Mistake]:
    """All that is wrong with policies and with the types that they name; empty if they can be compiled."""
    checked = _Checked(repo, found)
    try:
        mistakes = [*found.mistakes, *schema_mistakes(repo), *checked.unseen(), *checked.unfit()]
    except ValueError as problem:
        mistakes = [*found.mistakes, *schema_mistakes(repo), schemaless(problem)]
    return list(dict.fromkeys(mistakes))


def schemaless(problem: ValueError) -> Mistake:
    return Mistake("catalog", 0, f"no Cedar schema can be made of the catalog: {problem}")


class _Checked:
    def __init__(self, repo: ControlRepo, found: Read) -> None:
        self.repo, self.found = repo, found
        self.blind: set[str] = set()  # policies that read a fact which Cedar cannot see: told once
        self._named: dict[str, list[Action]] = {}  # a name in an action scope -> the actions that it covers
        for action in repo.actions.values():
            for name in (*tiers(action.id), *groups(action)):
                self._named.setdefault(name, []).append(action)

    def covered(self, scope: _Scope) -> list[Action]:
        """The actions of which a scope has either tier, in the catalog's order."""
        if scope is None:
            return list(self.repo.actions.values())
        ids = {action.id for name in scope for action in self._named.get(name, ())}
        return [action for id, action in self.repo.actions.items() if id in ids] if ids else []

    def unseen(self) -> Iterator[Mistake]:
        """Facts that a policy reads but Cedar cannot see, for want of a type."""
        for meta in self.found.metas:
            for action in self.covered(meta.actions) if meta.facts else ():
                if missing := (meta.facts & action.facts.keys()) - fact_fields(action, self.repo).fields.keys():
                    self.blind.add(meta.id)
                    yield from (_unseen(meta, action, name) for name in sorted(missing))

    def unfit(self) -> Iterator[Mistake]:
        """What the validator says of each policy."""
        scopes: dict[_Scope, list[int]] = {}
        for n, meta in enumerate(self.found.metas):
            scopes.setdefault(meta.actions, []).append(n)
        doubtful = [n for scope, these in scopes.items() if not self._fit(scope, these) for n in these]
        if doubtful:
            yield from self._told(sorted(doubtful))

    def _fit(self, scope: _Scope, these: Sequence[int]) -> bool:
        """Whether policies of one scope surely fit. No: the whole catalog is asked."""
        actions = self.covered(scope)
        if not actions or len(actions) * 2 > len(self.repo.actions):
            return False
        result = cedarpy.validate_policies(self._joined(these), _parsed(schema_over(actions, self.repo)))
        return result.validation_passed and not result.errors

    def _told(self, these: Sequence[int]) -> Iterator[Mistake]:
        result = cedarpy.validate_policies(self._joined(these), _parsed(schema_of(self.repo)))
        told = False
        for error in result.errors:
            told = True
            at = int(error.policy_id.removeprefix("policy")) if re.match(r"^policy\d+$", error.policy_id) else None
            if at is None or at >= len(these):
                yield Mistake("policies", 0, error.error)
            elif self.found.metas[these[at]].id not in self.blind:
                yield _explained(self.found.chunks[these[at]], self.found.metas[these[at]], error.error)
        if not result.validation_passed and not told:
            yield Mistake("policies", 0, "the policies do not fit the schema of the catalog")

    def _joined(self, these: Sequence[int]) -> str:
        return "\n".join(self.found.chunks[n].text for n in these)


def _parsed(schema: CedarSchema) -> cedarpy.Schema:
    return cedarpy.Schema.from_json_str(json.dumps(schema.json))


def _unseen(meta: PolicyMeta, action: Action, name: str) -> Mistake:
    fact = action.facts[name]
    hint = "give it a type: Bool, Long, String, Datetime, Decimal, Set<String> or Set<Long>"
    if isinstance(fact, ReadFact):
        hint = f"compute what the policy needs with cel and give it a type; `output` of {fact.read} has no simple type"
    what = f"policy {meta.id!r} ({meta.file}:{meta.line}) reads fact {name!r}, which has no type that Cedar can see"
    return Mistake(action.file, fact.line or action.line, what, hint)


def _explained(chunk: Chunk, meta: PolicyMeta, error: str) -> Mistake:
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
