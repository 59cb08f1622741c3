"""Everything that one release says about deciding, compiled once: contracts, fact graphs, policies, keys, money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxplane.decide.fact_graph import FactGraph, fact_graph
from cxplane.decide.fresh import Fresh
from cxplane.decide.shape import Contract
from cxplane.domain.catalog import Action
from cxplane.domain.decision import Reason, Verdict
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.release import ControlRepo, Release
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import SAFE_INTEGER, Json, digest
from cxplane.ports.expressions import Expressions
from cxplane.ports.policy import Policies


@dataclass(frozen=True, slots=True)
class ActionRules:
    """One action, ready to be judged."""

    action: Action
    input: Contract
    output: Contract
    facts: FactGraph
    needed: frozenset[str]  # facts that policies and money read
    judged: tuple[str, ...]  # those, with what they need, in order
    gathered: tuple[str, ...]  # and those that confirm and undo will need


@dataclass(frozen=True, slots=True)
class Rulebook:
    """One release, compiled for deciding. Immutable; the only state is the memory of fresh reads."""

    release: Release
    policies: Policies
    rules: Mapping[str, ActionRules]
    fresh: Fresh = field(default_factory=Fresh, repr=False, compare=False)

    @classmethod
    def compile(cls, release: Release, policies: Policies, expressions: Expressions) -> Rulebook:
        """ControlError with all mistakes if the release cannot be decided with."""
        mistakes: list[Mistake] = []
        rules: dict[str, ActionRules] = {}
        for action in release.repo.actions.values():
            if (one := _rules(action, release.repo, policies, expressions, mistakes)) is not None:
                rules[action.id] = one
        if mistakes:
            raise ControlError(mistakes)
        return cls(release, policies, rules)

    def action(self, id: str) -> Action | None:
        rules = self.rules.get(id)
        return rules.action if rules else None

    def key_of(self, request: ActionRequest) -> str | None:
        """The business key as a hash: the same for every request that means the same act. None for reads, or if a part is missing."""
        key = self._key(request)
        return key if isinstance(key, str) else None

    def key_problem(self, request: ActionRequest) -> Reason | None:
        """Which part of the business key the request lacks."""
        key = self._key(request)
        return key if isinstance(key, Reason) else None

    def _key(self, request: ActionRequest) -> str | Reason | None:
        action = self.action(request.action)
        if action is None or not action.writes:
            return None
        values: list[Json] = []
        for path in action.key:
            value = _part(request, path)
            if value is None:
                return Reason(
                    code="key",
                    text=f"the business key of {action.id} needs {path}, which the request does not have",
                    effect=Verdict.REFUSE,
                    where=path,
                )
            values.append([path, value])
        try:
            return digest([action.id, values or request.id])
        except ValueError:
            return Reason("key", f"the business key of {action.id} cannot be formed", Verdict.REFUSE)

    def money_of(self, request: ActionRequest, variables: Mapping[str, Json]) -> int | None:
        """Minor units that count against budgets; None if the action moves none.

        `variables`: `input`, `request` … and facts by name. ValueError if it is no whole number of minor units, or negative;
        ExpressionError if it cannot be computed.
        """
        rules = self.rules.get(request.action)
        if rules is None or rules.facts.money is None:
            return None
        money = rules.facts.money.value(variables)
        if isinstance(money, bool) or not isinstance(money, int) or not 0 <= money <= SAFE_INTEGER:
            raise ValueError("money must be a whole number of minor units, 0 or more")
        return money


def mistakes(repo: ControlRepo, policies: Policies | None, expressions: Expressions) -> Sequence[Mistake]:
    """What is wrong with the catalog's contracts and expressions, for `cxplane check`. `policies` may be None."""
    found: list[Mistake] = []
    for action in repo.actions.values():
        _rules(action, repo, policies, expressions, found)
    return tuple(dict.fromkeys(found))


def _rules(
    action: Action, repo: ControlRepo, policies: Policies | None, expressions: Expressions, found: list[Mistake]
) -> ActionRules | None:
    before = len(found)
    contracts: list[Contract] = []
    for part, schema, closed in (("input", action.input, True), ("output", action.output, False)):
        try:
            contracts.append(Contract(schema, closed=closed))
        except ValueError as problem:
            found.append(Mistake(action.file, action.line, f"{part}: {problem}"))
    graph = fact_graph(action, repo, expressions, found)
    for path in action.key:
        name = path.removeprefix("input.").split(".", 1)[0]
        if path not in ("conversation", "customer") and name not in action.input.get("properties", {}):
            found.append(
                Mistake(
                    action.file,
                    action.line,
                    f"key: the input has no {name!r}",
                    "name a property of the input, customer or conversation",
                )
            )
    read = policies.facts_for(action.id) if policies else frozenset()
    if len(found) > before:
        return None
    needed = read | graph.money_needs
    return ActionRules(
        action=action,
        input=contracts[0],
        output=contracts[1],
        facts=graph,
        needed=needed,
        judged=graph.with_needs(needed),
        gathered=graph.with_needs(needed | graph.act_needs),
    )


def _part(request: ActionRequest, path: str) -> Json:
    if path == "conversation":
        return request.conversation
    if path == "customer":
        return request.customer
    value: Json = request.input
    for step in path.removeprefix("input.").split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value
