"""The working copy of a run while it advances: its tokens, and how one goes from step to step.

Nothing outside `advance` sees it: a frozen state goes in, a frozen state comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from cxplane.domain.errors import ExpressionError
from cxplane.domain.journey import EXPRESSION, For, Fork, Step, Switch, Try
from cxplane.domain.run import (
    Advanced,
    Did,
    Effect,
    MoveTask,
    Run,
    RunState,
    RunStatus,
    StopRun,
    Token,
    Wait,
    Went,
)
from cxplane.domain.values import Json, derived_id
from cxplane.journeys.lists import listed, outside
from cxplane.journeys.program import Node, Program
from cxplane.ports.expressions import Expression

change = msgspec.structs.replace


class StepError(Exception):
    """An error of the journey itself: `name` is what a catch looks for. `token`: whose, if not that of who works."""

    def __init__(self, name: str, text: str, token: int | None = None) -> None:
        self.name, self.text, self.token = name, text, token
        super().__init__(text)


class Machine:
    def __init__(self, program: Program, run: Run, now: datetime) -> None:
        state = run.state
        self.program, self.run, self.now = program, run, now
        self.status = state.status
        self.tokens = {t.id: t for t in state.tokens}
        self.vars, self.steps = dict(state.vars), dict(state.steps)
        self.did = list(state.did)
        self.passed = list(state.passed)
        self.goals = dict(state.goals)
        self.visits = dict(state.visits)
        self.next_token = state.next_token
        self.error = state.error
        self.ending, self.compensate = state.ending, state.compensate
        self.pace = state.pace
        self.entered = sum(state.visits.values())
        self.effects: list[Effect] = []
        self.went: list[Went] = []
        self._names: dict[str, Any] | None = None

    # what goes out --------------------------------------------------------------------------------------

    def advanced(self) -> Advanced:
        state = RunState(
            status=self.status,
            tokens=tuple(self.tokens.values()),
            vars=self.vars,
            steps=self.steps,
            did=tuple(self.did),
            passed=tuple(self.passed),
            goals=self.goals,
            visits=self.visits,
            next_token=self.next_token,
            error=self.error,
            ending=self.ending,
            compensate=self.compensate,
            pace=self.pace,
        )
        return Advanced(state, tuple(self.effects), tuple(self.went))

    def settle_status(self) -> None:
        """From where the tokens stand. A suspended run stays so."""
        if self.status.final or self.status is RunStatus.SUSPENDED:
            return
        if any(t.wait is not None and t.wait.kind == "person" for t in self.tokens.values()):
            self.status = RunStatus.STUCK
            return
        self.error = None if self.ending is None else self.error
        self.status = RunStatus.CANCELLING if self.ending is not None else RunStatus.WAITING

    # ids and times --------------------------------------------------------------------------------------

    def id(self, prefix: str, *parts: object) -> str:
        """The same on every try: what is done twice with it is done once."""
        return derived_id(prefix, self.run.tenant, self.run.id, *(str(p) for p in parts))

    def iso(self, after: timedelta | None = None) -> str:
        return (self.now if after is None else self.now + after).astimezone(UTC).isoformat()

    # expressions ----------------------------------------------------------------------------------------

    def names(self, token: Token | None, **more: Any) -> dict[str, Any]:
        if self._names is None:
            self._names = {
                "input": self.run.input,
                "steps": self.steps,
                "vars": self.vars,
                "customer": self.run.customer,
                "now": self.now,
                "run": {
                    "id": self.run.id,
                    "journey": self.run.journey,
                    "customer": self.run.customer,
                    "conversation": self.run.conversation,
                    "started_at": self.run.started_at,
                },
            }
        if token is None or not (token.loops or token.caught or more):
            return self._names
        found = dict(self._names)
        for name in self._inward(token.loops):
            node, (index, kept) = self.program.node(name), token.loops[name]
            if isinstance(node.step, For):
                found[node.step.each] = self.items(token, node, kept)[index]
        for name in self._inward(token.caught):
            found["error"] = token.caught[name]
        found.update(more)
        return found

    def items(self, token: Token, node: Node, kept: tuple[Json, ...] | None) -> Sequence[Json]:
        """What a `for` goes through. Raises ExpressionError."""
        return kept if kept is not None else listed(node.cel["in"], self.names(outside(token, node)))

    def _inward(self, names: Mapping[str, object]) -> list[str]:
        """The innermost last, in whatever order they were kept."""
        if len(names) < 2:
            return list(names)
        return sorted(names, key=lambda name: sum(1 for _ in self.program.node(name).above()))

    def value(self, token: Token | None, expression: Expression, **more: Any) -> Json:
        """Raises ExpressionError."""
        return expression.value(self.names(token, **more))

    def values(self, token: Token, node: Node, what: str) -> dict[str, Json]:
        names = self.names(token)
        return {name: text.value(names) for name, text in node.maps[what].items()}

    def truth(self, token: Token, expression: Expression, **more: Any) -> bool:
        found = self.value(token, expression, **more)
        if not isinstance(found, bool):
            raise ExpressionError(expression.text, "neither true nor false")
        return found

    def text(self, token: Token, node: Node, what: str) -> str:
        if what not in node.cel:
            return ""
        found = self.value(token, node.cel[what])
        if not isinstance(found, str):
            raise ExpressionError(node.cel[what].text, "no text")
        return found

    # tokens ---------------------------------------------------------------------------------------------

    def put(self, token: Token) -> Token:
        self.tokens[token.id] = token
        return token

    def fresh(self, at: str, **fields: Any) -> Token:
        token = Token(id=self.next_token, at=at, **fields)
        self.next_token += 1
        return self.put(token)

    def wait(self, token: Token, wait: Wait) -> None:
        self.put(change(token, wait=wait))
        self.note(token.at, "waits")

    def note(self, step: str, how: str, error: str | None = None, text: str = "") -> None:
        self.went.append(Went(step, how, error, text))

    def runnable(self) -> Token | None:
        return next((t for t in self.tokens.values() if t.wait is None and t.at), None)

    def below(self, token: Token) -> Iterator[Token]:
        """The tokens in the branches of the fork where this one waits, and in theirs."""
        for other in list(self.tokens.values()):
            if other.parent == token.id and not other.lost:
                yield other
                yield from self.below(other)

    def let_go(self, token: Token) -> None:
        """It leads nowhere any more. A call whose outcome is open is still awaited, so that it can be taken back."""
        if token.wait is not None and token.wait.undo:  # what is being taken back is taken back
            self.put(change(token, lost=True, parent=None, wait=change(token.wait, then="gone")))
            return
        self.close_task(token)
        if token.wait is not None and token.wait.kind == "run" and token.wait.run is not None:
            self.effects.append(StopRun(token.wait.run))
        if token.wait is not None and token.wait.kind == "call":
            self.put(change(token, lost=True, parent=None))
        else:
            self.tokens.pop(token.id, None)

    def close_task(self, token: Token, how: str = "closed") -> None:
        if token.wait is not None and token.wait.task is not None:
            self.effects.append(MoveTask(token.wait.task, how))

    def done(self, token: Token, request: str, action: str) -> None:
        self.did.append(Did(token.at, request, action))

    # going on -------------------------------------------------------------------------------------------

    def goto(self, token: Token, step: Step) -> None:
        self.put(change(token, at=step.name, wait=None))

    def result(self, token: Token, value: Json) -> None:
        """What a step has come to, for later ones; the token goes on."""
        self.steps[token.at] = value
        self.leave(token)

    def leave(self, token: Token, how: str = "done") -> None:
        """On to what follows the step where the token is."""
        node = self.program.node(token.at)
        self.note(node.name, how)
        self._after(token, node, node.step.then if how != "passed by" else None)

    def follow(self, token: Token, node: Node, then: str | None) -> None:
        """Out of a `switch`, where its case says `then`."""
        self.note(node.name, "done")
        self._after(token, node, then if then is not None else node.step.then)

    def _after(self, token: Token, node: Node, then: str | None) -> None:
        if then == "end":
            for other in list(self.tokens.values()):
                if other.id != token.id:
                    self.let_go(other)
            self.tokens.pop(token.id, None)
        elif then is not None:
            self.goto(token, self.program.node(then).step)
        elif node.index + 1 < len(node.list):
            self.goto(token, node.list[node.index + 1])
        else:
            self._list_ends(token, node)

    def _list_ends(self, token: Token, node: Node) -> None:
        parent = node.parent
        if parent is None:
            self.tokens.pop(token.id, None)
            return
        step = parent.step
        if isinstance(step, Fork):
            self._branch_ends(token, step)
            return
        token = self.put(change(token, at=step.name, wait=None))
        if isinstance(step, For):
            index, kept = token.loops[step.name]
            self.iterate(token, parent, step, index + 1, kept)
            return
        if isinstance(step, Try):
            tries = {name: n for name, n in token.tries.items() if name != step.name}
            began = {name: n for name, n in token.began.items() if name != step.name}
            caught = {name: e for name, e in token.caught.items() if name != step.name}
            token = self.put(change(token, tries=tries, began=began, caught=caught))
        if isinstance(step, Switch):
            self.follow(token, parent, next((c.then for c in step.cases if c.name == node.body), None))
            return
        self.leave(token)

    def iterate(self, token: Token, node: Node, step: For, index: int, kept: tuple[Json, ...] | None) -> None:
        """Raises ExpressionError."""
        loops = {name: at for name, at in token.loops.items() if name != step.name}
        self._anew(node)
        if index < len(self.items(token, node, kept)):
            token = self.put(change(token, loops=loops | {step.name: (index, kept)}))
            try:
                goes_on = "while" not in node.cel or self.truth(token, node.cel["while"])
            except ExpressionError as problem:
                raise StepError(EXPRESSION, str(problem), token.id) from None
            if goes_on:
                self.goto(token, step.steps[0])
                return
        token = self.put(change(token, loops=loops))
        self.leave(token)

    def _anew(self, node: Node) -> None:
        """What a checkpoint inside a loop said of one item says nothing of the next."""
        self.passed = [name for name in self.passed if not self.program.node(name).within(node.name)]

    def _branch_ends(self, token: Token, step: Fork) -> None:
        holder = self.tokens.get(token.parent or 0)
        self.tokens.pop(token.id, None)
        if holder is None:
            return
        if step.until == "any":
            for other in list(self.below(holder)):
                self.let_go(other)
        elif any(True for _ in self.below(holder)):
            return
        self.leave(self.put(change(holder, wait=None)))
