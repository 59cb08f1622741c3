"""A journey made ready to run: every step with its place, every expression compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cxplane.domain.journey import (
    AskPerson,
    Assign,
    Call,
    Checkpoint,
    Emit,
    For,
    Fork,
    Goal,
    HandOver,
    Journey,
    Listen,
    Raise,
    RunJourney,
    Say,
    Step,
    Switch,
    Try,
    Wait,
)
from cxplane.ports.expressions import Expression, Expressions

Compiled = Mapping[str, Expression]


@dataclass(slots=True)
class Node:
    """A step in its place. `cel`: single expressions by what they are for; `maps`: named ones."""

    step: Step
    parent: Node | None
    body: str  # which list of the parent it stands in
    list: tuple[Step, ...]  # that list
    index: int
    cel: dict[str, Expression] = field(default_factory=dict)
    maps: dict[str, Compiled] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.step.name

    def above(self) -> Iterator[Node]:
        """Those that it stands in, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def within(self, name: str, body: str | None = None) -> bool:
        """Whether it stands inside the step of that name (in that list of it)."""
        node: Node | None = self
        while node is not None and node.parent is not None:
            if node.parent.name == name:
                return body is None or node.body == body
            node = node.parent
        return False


@dataclass(frozen=True, slots=True)
class Program:
    journey: Journey
    nodes: Mapping[str, Node]
    guards: Mapping[str, tuple[str, ...]]  # action -> checkpoints that must be passed before it

    @classmethod
    def compile(cls, journey: Journey, expressions: Expressions) -> Program:
        """Raises ExpressionError; `journeys.check` finds all of them, with their places."""
        nodes: dict[str, Node] = {}

        def place(steps: tuple[Step, ...], parent: Node | None, body: str) -> None:
            for index, step in enumerate(steps):
                node = Node(step, parent, body, steps, index)
                for what, text in single(step):
                    node.cel[what] = expressions.compile(text)
                for what, texts in maps(step):
                    node.maps[what] = {name: expressions.compile(text) for name, text in texts.items()}
                nodes[step.name] = node
                for inner, those in step.bodies().items():
                    place(those, node, inner)

        place(journey.steps, None, "do")
        writes = sorted(journey.actions)
        guards: dict[str, tuple[str, ...]] = {}
        for step in journey.walk():
            if isinstance(step, Checkpoint):
                for action in step.before or writes:
                    guards[action] = (*guards.get(action, ()), step.name)
        return cls(journey, nodes, guards)

    def node(self, name: str) -> Node:
        return self.nodes[name]

    def action_of(self, step: Call | Say) -> str:
        return step.action or (self.journey.say or "" if isinstance(step, Say) else "")


def single(step: Step) -> Iterator[tuple[str, str]]:
    """(what it is for, CEL text) of each expression that stands alone."""
    if step.when is not None:
        yield "if", step.when
    match step:
        case Call(reason=reason) if reason is not None:
            yield "reason", reason
        case Switch(cases=cases):
            for case in cases:
                if case.when is not None:
                    yield f"when:{case.name}", case.when
        case For(in_=items, while_=condition):
            yield "in", items
            if condition is not None:
                yield "while", condition
        case Wait(until=until) if until is not None:
            yield "until", until
        case Listen(signals=signals):
            for n, one in enumerate(signals):
                if one.key is not None:
                    yield f"key:{n}", one.key
                if one.where is not None:
                    yield f"where:{n}", one.where
        case Try(catch_when=condition) if condition is not None:
            yield "catch", condition
        case Emit(key=key) if key is not None:
            yield "key", key
        case Raise(text=text) if text is not None:
            yield "text", text
        case AskPerson(text=text) | HandOver(text=text):
            yield "text", text
        case Goal(achieved=achieved):
            yield "achieved", achieved
        case Checkpoint(check=check):
            yield "check", check
        case _:
            return


def maps(step: Step) -> Iterator[tuple[str, Mapping[str, str]]]:
    """(what it is for, name -> CEL text) of each map of expressions."""
    match step:
        case Call(with_=with_, recorded=recorded):
            yield "with", with_
            yield "recorded", recorded
        case Say(with_=with_) | RunJourney(with_=with_):
            yield "with", with_
        case Assign(values=values):
            yield "set", values
        case Emit(data=data):
            yield "data", data
        case AskPerson(show=show):
            yield "show", show
        case Goal(evidence=evidence):
            yield "evidence", evidence
        case _:
            return


__all__ = ["Fork", "Node", "Program", "maps", "single"]
