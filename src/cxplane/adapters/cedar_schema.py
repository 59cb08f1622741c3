"""The Cedar schema that a control repo implies: callers, customers, and two Cedar actions for each catalog action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cxplane.adapters.cedar_types import (
    TYPES,
    Field,
    Record,
    Scalar,
    SetOf,
    Shape,
    Unfit,
    from_json_schema,
    named,
    record_of,
)
from cxplane.domain.catalog import Action, ComputedFact, FactSpec, ReadFact, RecordedFact, TableFact
from cxplane.domain.errors import Mistake
from cxplane.domain.people import CallerKind
from cxplane.domain.release import ControlRepo
from cxplane.ports.policy import ALL

REQUEST = ":request"
ANY = ":any"

_STRING, _LONG, _BOOL = Scalar("String"), Scalar("Long"), Scalar("Boolean")
_FIXED: Mapping[str, Field] = {
    "customer": Field(_STRING, required=False),
    "conversation": Field(_STRING, required=False),
    "channel": Field(_STRING),
    "purpose": Field(_STRING),
    "mode": Field(_STRING),
    "now": Field(Scalar("datetime")),
    "confirmed": Field(_BOOL, required=False),
    "assurance": Field(Record({"level": Field(_LONG), "method": Field(_STRING)})),
    "consents": Field(SetOf(_STRING)),
    "confidence": Field(Scalar("decimal"), required=False),
    "approver": Field(Record({"id": Field(_STRING), "roles": Field(SetOf(_STRING))}), required=False),
    "caller": Field(Record({"id": Field(_STRING), "kind": Field(_STRING)})),
}


def tiers(action: str) -> tuple[str, str]:
    """The two Cedar actions of a catalog action: may go ahead; may be asked for."""
    return action, action + REQUEST


def groups(action: Action) -> tuple[str, ...]:
    """Every group that both tiers of an action are in, the nearest first."""
    return (
        action.id + ANY,
        action.group + ANY,
        action.effect.value,
        f"risk:{action.risk.value}",
        "any",
    )


def fact_shape(fact: FactSpec, repo: ControlRepo) -> Shape | None:
    """What Cedar sees of a fact; None if it sees nothing."""
    match fact:
        case ReadFact(each=None, read=read):
            found = repo.actions.get(read)
            return from_json_schema(found.output) if found else None
        case ReadFact():
            found = repo.actions.get(fact.read)
            item = from_json_schema(found.output) if found else None
            return SetOf(item) if isinstance(item, Scalar) else None
        case ComputedFact() | TableFact() | RecordedFact():
            return named(fact.type)


def fact_fields(action: Action, repo: ControlRepo) -> Record:
    fields: dict[str, Field] = {}
    for name, fact in action.facts.items():
        if (shape := fact_shape(fact, repo)) is not None:
            fields[name] = Field(shape, required=not fact.optional)
    return Record(fields)


@dataclass(frozen=True, slots=True)
class Reads:
    """What the policies of an action read: names of the context, of its input and of its facts. `*`: all of it."""

    context: frozenset[str]
    input: frozenset[str]
    facts: frozenset[str]


def context_shape(action: Action, repo: ControlRepo, reads: Reads | None = None) -> Record:
    """The context of both tiers. `reads`: only this much (what a request brings); None: all (what policies may name)."""
    input, facts = record_of(action.input), fact_fields(action, repo)
    if reads is None:
        return Record({"input": Field(input), "facts": Field(facts), **_FIXED})
    parts = {"input": Field(_only(input, reads.input)), "facts": Field(_only(facts, reads.facts)), **_FIXED}
    return _only(Record(parts), reads.context)


def _only(whole: Record, names: frozenset[str]) -> Record:
    return whole if ALL in names else Record({name: f for name, f in whole.fields.items() if name in names})


@dataclass(frozen=True)
class CedarSchema:
    """The shapes that requests are fitted to, and the schema that says the same to Cedar."""

    actions: Sequence[Action]
    contexts: Mapping[str, Record]  # Cedar action -> context
    customer: Record
    caller: Record
    resources: Mapping[str, str]  # Cedar action -> Customer | Tenant

    @cached_property
    def json(self) -> Mapping[str, Any]:
        callers = {kind.cedar: {"memberOfTypes": ["Role"], "shape": self.caller.cedar()} for kind in CallerKind}
        customer = {"shape": self.customer.cedar()}
        known: dict[str, Any] = {"any": {}}
        for action in self.actions:
            own, *above = groups(action)
            for group in above:
                known.setdefault(group, {"memberOf": []})
            known[own] = {"memberOf": [{"id": group} for group in above]}
            applies = {
                "principalTypes": sorted(callers),
                "resourceTypes": [self.resources[action.id]],
                "context": self.contexts[action.id].cedar(),
            }
            for name in tiers(action.id):
                known[name] = {"memberOf": [{"id": own}], "appliesTo": applies}
        return {
            "": {"entityTypes": {"Role": {}, **callers, "Customer": customer, "Tenant": {}}, "actions": known},
        }


def caller_shape(repo: ControlRepo) -> Record:
    """The team, and what plane.yaml declares under `callers.attributes`."""
    return Record({"team": Field(_STRING, required=False)} | _declared(repo.plane.caller_attributes))


def customer_shape(repo: ControlRepo) -> Record:
    return Record(_declared(repo.plane.customer_attributes))


def _declared(attributes: Mapping[str, str]) -> dict[str, Field]:
    """Types that do not exist are left out; `schema_mistakes` tells of them."""
    shapes = {name: named(type_) for name, type_ in attributes.items()}
    return {name: Field(shape, required=False) for name, shape in shapes.items() if shape is not None}


def schema_of(repo: ControlRepo, reads: Mapping[str, Reads] | None = None, only: str | None = None) -> CedarSchema:
    """The schema that policies are checked against.

    For requests: `reads`, per catalog action what a request brings; `only`, the one catalog action that is asked about.
    """
    return schema_over(tuple(repo.actions.values()) if only is None else (repo.actions[only],), repo, reads)


def schema_over(actions: Sequence[Action], repo: ControlRepo, reads: Mapping[str, Reads] | None = None) -> CedarSchema:
    """The schema of some actions of the catalog, with every group that they are in."""
    contexts: dict[str, Record] = {}
    resources: dict[str, str] = {}
    for action in actions:
        context = context_shape(action, repo, None if reads is None else reads[action.id])
        contexts |= dict.fromkeys(tiers(action.id), context)
        resources |= dict.fromkeys(tiers(action.id), "Customer" if action.needs_customer else "Tenant")
    return CedarSchema(actions, contexts, customer_shape(repo), caller_shape(repo), resources)


def _caller_mistakes(repo: ControlRepo) -> list[Mistake]:
    """Attributes of callers that plane.yaml does not declare, or of another type."""
    found: list[Mistake] = []
    declared = _declared(repo.plane.caller_attributes)
    for caller in repo.callers.values():
        for name, value in caller.attributes.items():
            if name not in repo.plane.caller_attributes:
                known = ", ".join(sorted(repo.plane.caller_attributes)) or "none"
                words = f"{caller.name} has the attribute {name!r}, which plane.yaml does not declare"
                found.append(Mistake(caller.file, 0, words, f"callers.attributes in plane.yaml declares {known}"))
            elif name in declared:
                try:
                    declared[name].shape.fit(value, f"attribute {name!r} of {caller.name}")
                except Unfit as problem:
                    found.append(Mistake(caller.file, 0, str(problem), "see callers.attributes in plane.yaml"))
    return found


def schema_mistakes(repo: ControlRepo) -> list[Mistake]:
    """Types that do not exist."""
    hint = f"types are {', '.join(TYPES)}"
    plane = repo.plane
    found = [
        Mistake("plane.yaml", 0, f"{whose} attribute {name!r} has the unknown type {type_!r}", hint)
        for whose, declared in (("customer", plane.customer_attributes), ("caller", plane.caller_attributes))
        for name, type_ in declared.items()
        if named(type_) is None
    ]
    if "team" in plane.caller_attributes:
        found.append(Mistake("plane.yaml", 0, "'team' is no attribute of one's own: every caller may have one"))
    found += _caller_mistakes(repo)
    for action in repo.actions.values():
        for name, fact in action.facts.items():
            type_ = None if isinstance(fact, ReadFact) else fact.type
            if type_ is not None and named(type_) is None:
                found.append(
                    Mistake(
                        action.file, fact.line or action.line, f"fact {name!r} has the unknown type {type_!r}", hint
                    )
                )
    return found
