"""The facts of one action as a graph without cycles: compiled expressions, and what each fact needs first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from cxplane.domain.catalog import Action, ComputedFact, FactSpec, HttpCall, ReadFact, TableFact
from cxplane.domain.errors import ExpressionError, Mistake
from cxplane.domain.release import ControlRepo
from cxplane.ports.expressions import Expression, Expressions

GIVEN = frozenset({"input", "request", "customer", "channel", "now", "today", "facts"})
_BY_NAME = re.compile(r"\bfacts\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*(?:\"([^\"]*)\"|'([^']*)')\s*\])")
_FACTS = re.compile(r"(?<![\w.])facts\b")


@dataclass(frozen=True, slots=True)
class FactRule:
    """One fact, ready to be had."""

    spec: FactSpec
    needs: frozenset[str] = frozenset()  # other facts, before this one
    bare: frozenset[str] = frozenset()  # those that it names without `has(facts.x)`
    with_: Mapping[str, Expression] = field(default_factory=dict)
    each: Expression | None = None
    cel: Expression | None = None
    row: Expression | None = None
    column: Expression | None = None

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class FactGraph:
    """Facts in an order in which each comes after what it needs."""

    rules: Mapping[str, FactRule]
    money: Expression | None = None
    money_needs: frozenset[str] = frozenset()
    act_needs: frozenset[str] = frozenset()  # facts that confirm and undo use after the act

    def with_needs(self, names: Iterable[str], given: Collection[str] = ()) -> tuple[str, ...]:
        """These facts and all that they need, in order. What is `given` needs nothing."""
        wanted: set[str] = set()
        open_ = [name for name in names if name in self.rules]
        while open_:
            name = open_.pop()
            if name not in wanted:
                wanted.add(name)
                if name not in given:
                    open_.extend(self.rules[name].needs)
        return tuple(name for name in self.rules if name in wanted)


class _Reader:
    """Compiles the expressions of one action and collects what is wrong with them."""

    def __init__(self, action: Action, expressions: Expressions, mistakes: list[Mistake]) -> None:
        self.action, self.expressions, self.mistakes = action, expressions, mistakes
        self.facts = frozenset(action.facts)

    def wrong(self, line: int, what: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(self.action.file, line or self.action.line, what, hint))

    def expression(self, what: str, text: str, known: frozenset[str], line: int) -> Expression | None:
        try:
            expression = self.expressions.compile(text)
        except ExpressionError as problem:
            self.wrong(line, f"{what}: {problem.why} in {text[:120]!r}")
            return None
        for name in sorted(expression.names - known):
            near = difflib.get_close_matches(name, known, 1)
            self.wrong(
                line,
                f"{what} reads {name!r}, which is not known here",
                f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}",
            )
        if "facts" in expression.names:
            by_name = self.by_name(text)
            if len(by_name) != len(_FACTS.findall(text)):
                self.wrong(line, f"{what} uses `facts` as a whole", "name the fact: `has(facts.x) && facts.x …`")
            for name in sorted(set(by_name) - self.facts):
                self.wrong(line, f"{what} reads facts.{name}, which the entry does not have")
        return expression

    @staticmethod
    def by_name(text: str) -> list[str]:
        return [next(part for part in found if part) for found in _BY_NAME.findall(text) if any(found)]

    def needs(
        self, *expressions: Expression | None, but: frozenset[str] = frozenset()
    ) -> tuple[frozenset[str], frozenset[str]]:
        """(facts used bare, facts used in any way)."""
        bare: set[str] = set()
        used: set[str] = set()
        for expression in expressions:
            if expression is not None:
                bare |= (expression.names & self.facts) - but
                if "facts" in expression.names:
                    used |= set(self.by_name(expression.text)) & self.facts
        return frozenset(bare), frozenset(bare | used)


def fact_graph(action: Action, repo: ControlRepo, expressions: Expressions, mistakes: list[Mistake]) -> FactGraph:
    """Compile an action's facts; what is wrong is added to `mistakes`."""
    reader = _Reader(action, expressions, mistakes)
    known = GIVEN | reader.facts
    rules: dict[str, FactRule] = {}
    for name, spec in action.facts.items():
        if name in GIVEN or name in ("output", "result", "response"):
            reader.wrong(spec.line, f"a fact cannot be named {name!r}: the word has a meaning already")
        rules[name] = _rule(name, spec, repo, reader, known)
    order = _ordered(rules, reader)
    money = reader.expression("money", action.money, known, 0) if action.money else None
    return FactGraph(
        rules={name: rules[name] for name in order},
        money=money,
        money_needs=reader.needs(money)[1],
        act_needs=_act(action, reader),
    )


def _rule(name: str, spec: FactSpec, repo: ControlRepo, reader: _Reader, known: frozenset[str]) -> FactRule:
    line, what = spec.line, f"fact {name!r}"
    match spec:
        case ReadFact():
            read = repo.actions.get(spec.read)
            if read is None:
                near = difflib.get_close_matches(spec.read, repo.actions, 1)
                reader.wrong(
                    line,
                    f"{what} reads the unknown action {spec.read!r}",
                    f"did you mean {near[0]!r}?" if near else "add it to the catalog",
                )
            elif read.writes:
                reader.wrong(line, f"{what} reads {spec.read!r}, which is a write", "facts are had by reads only")
            each = reader.expression(f"{what}, each", spec.each, known, line) if spec.each is not None else None
            item = frozenset({spec.item}) if spec.each is not None else frozenset()
            with_: dict[str, Expression] = {}
            for parameter, text in spec.with_.items():
                if (one := reader.expression(f"{what}, {parameter}", text, known | item, line)) is not None:
                    with_[parameter] = one
            bare, needs = reader.needs(*with_.values(), but=item)
            bare_each, needs_each = reader.needs(each)
            return FactRule(spec, needs | needs_each, bare | bare_each, with_=with_, each=each)
        case ComputedFact():
            cel = reader.expression(what, spec.cel, known, line)
            bare, needs = reader.needs(cel)
            return FactRule(spec, needs, bare, cel=cel)
        case TableFact():
            if spec.table not in repo.tables:
                near = difflib.get_close_matches(spec.table, repo.tables, 1)
                reader.wrong(
                    line,
                    f"{what} uses the unknown table {spec.table!r}",
                    f"did you mean {near[0]!r}?" if near else "add it under catalog/<system>/tables/",
                )
            row = reader.expression(f"{what}, row", spec.row, known, line)
            column = reader.expression(f"{what}, column", spec.column, known, line)
            bare, needs = reader.needs(row, column)
            return FactRule(spec, needs, bare, row=row, column=column)
        case _:
            return FactRule(spec)


def _ordered(rules: Mapping[str, FactRule], reader: _Reader) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter({name: rule.needs for name, rule in rules.items()}).static_order())
    except CycleError as problem:
        cycle = [str(name) for name in problem.args[1]]
        first = min(cycle, key=lambda name: rules[name].spec.line)
        reader.wrong(
            rules[first].spec.line,
            f"facts need each other in a circle: {' → '.join(cycle)}",
            "let one of them do without the other",
        )
        return tuple(rules)


def _act(action: Action, reader: _Reader) -> frozenset[str]:
    """Check the expressions that are used while acting; the facts that confirm and undo need."""
    request = frozenset({"input", "request"})
    facts = reader.facts | {"facts"}
    used: list[Expression | None] = []
    if (confirm := action.confirm) is not None:
        for parameter, text in confirm.with_.items():
            used.append(reader.expression(f"confirm, {parameter}", text, request | facts | {"output"}, 0))
        used.append(reader.expression("confirm, expect", confirm.expect, request | facts | {"output", "result"}, 0))
    if action.undo is not None:
        for parameter, text in action.undo.with_.items():
            used.append(reader.expression(f"undo, {parameter}", text, request | facts | {"output"}, 0))
    if isinstance(via := action.via, HttpCall):
        for part, values in (("query", via.query), ("body", via.body), ("output", via.output)):
            names = request | {"response"} if part == "output" else request
            for key, text in (values or {}).items():
                reader.expression(f"via.http.{part}, {key}", text, names, 0)
    return reader.needs(*used)[1]
