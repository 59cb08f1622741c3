"""The ways through a journey: what is never reached, what is jumped over, what goes round without waiting."""

from __future__ import annotations

from collections.abc import Iterator

from cxplane.domain.journey import (
    Call,
    Checkpoint,
    For,
    Fork,
    HandOver,
    Journey,
    Raise,
    RunJourney,
    Say,
    Step,
    Switch,
    Try,
)

_WAITS = {"call", "say", "wait", "listen", "ask", "undo"}
Passed = frozenset[str] | None
"""The checkpoints that every way to a place has passed; None where no way leads."""


def path_mistakes(journey: Journey) -> Iterator[tuple[str, int, str, str]]:
    """(step, line, what is wrong, what to do)"""
    paths = _Paths(journey)
    paths.through(journey.steps, frozenset(), tell=True)
    yield from paths.found


class _Paths:
    def __init__(self, journey: Journey) -> None:
        self.journey = journey
        self.guards: dict[str, list[Checkpoint]] = {}
        for step in journey.walk():
            if isinstance(step, Checkpoint):
                for action in step.before or sorted(journey.actions):
                    self.guards.setdefault(action, []).append(step)
        self.found: list[tuple[str, int, str, str]] = []
        self._known: dict[tuple[int, frozenset[str]], Passed] = {}

    def wrong(self, step: Step, what: str, hint: str, line: int = 0) -> None:
        self.found.append((step.name, line or step.line, what, hint))

    # one list -------------------------------------------------------------------------------------------

    def through(self, steps: tuple[Step, ...], before: Passed, *, tell: bool = False) -> Passed:
        """What is passed at the end of the list; None if its end is never reached. `tell`: mistakes are noted."""
        if before is None:
            return None
        if not tell and (id(steps), before) in self._known:
            return self._known[id(steps), before]
        index = {step.name: n for n, step in enumerate(steps)}
        at: list[Passed] = [None] * (len(steps) + 1)
        if not steps:
            return before
        at[0] = before
        ahead = [0]
        while ahead:
            n = ahead.pop()
            for target, passed in self._ways(steps[n], at[n]):
                to = n + 1 if target is None else index.get(target)
                if to is None:  # the end, or a target that is told elsewhere
                    continue
                old = at[to]
                new = passed if old is None else old & passed
                if new != old:
                    at[to] = new
                    if to < len(steps) and to not in ahead:
                        ahead.append(to)
        if tell:
            self._tell(steps, index, at)
        self._known[id(steps), before] = at[len(steps)]
        return at[len(steps)]

    def _ways(self, step: Step, before: Passed) -> Iterator[tuple[str | None, frozenset[str]]]:
        """(target or None for the next, what is passed then) of each way on."""
        if before is None:
            return
        if step.when is not None:
            yield None, before
        if isinstance(step, Switch):
            for case in step.cases:
                after = self.through(case.steps, before)
                if after is not None:
                    yield case.then or step.then, after
            if all(case.when is not None for case in step.cases):
                yield step.then, before
        elif (after := self._after(step, before)) is not None:
            yield step.then, after

    def _after(self, step: Step, before: frozenset[str]) -> Passed:
        if isinstance(step, Checkpoint):
            return before | {step.name}
        if isinstance(step, Raise):
            return None
        if isinstance(step, For):
            return before
        if isinstance(step, Try):
            body, catch = self.through(step.steps, before), self.through(step.catch, before)
            return body if catch is None else catch if body is None else body & catch
        if isinstance(step, Fork):
            ends = [self.through(b.steps, before) for b in step.branches if b.steps]
            reached = [end for end in ends if end is not None]
            if not ends:
                return before
            if step.until == "any":
                return frozenset.intersection(*reached) if reached else None
            return frozenset.union(*reached) if len(reached) == len(ends) else None
        bodies = list(step.bodies().values())
        return self.through(bodies[0], before) if bodies else before

    # what is wrong with it --------------------------------------------------------------------------------

    def _tell(self, steps: tuple[Step, ...], index: dict[str, int], at: list[Passed]) -> None:
        for n, step in enumerate(steps):
            here = at[n]
            if here is None:
                if n and at[n - 1] is not None:
                    hint = f"delete it, or let a step go to it with then: {step.name}"
                    self.wrong(step, f"it is never reached: nothing goes on from {steps[n - 1].name} to it", hint)
                continue
            if isinstance(step, Checkpoint) and step.when is not None:
                self.wrong(step, "a checkpoint has no `if`: nothing passes it by", "put the condition into check:")
            if isinstance(step, (Call, Say)):
                self._guarded(step, here)
            for target, line in _targets(step):
                if target in index:
                    self._jump(steps, n, index[target], step, line)
            for body in step.bodies().values():
                self.through(body, here, tell=True)

    def _guarded(self, step: Call | Say, passed: frozenset[str]) -> None:
        action = step.action or (self.journey.say or "" if isinstance(step, Say) else "")
        for checkpoint in self.guards.get(action, ()):
            if checkpoint.name not in passed:
                what = f"it calls {action}, and not every way to it passes the checkpoint {checkpoint.name}"
                hint = f"put {checkpoint.name} before it, outside of any case, branch, loop or try that it is not in"
                if not checkpoint.before:
                    hint += f"; or name the actions that {checkpoint.name} stands `before`"
                self.wrong(step, what, hint)

    def _jump(self, steps: tuple[Step, ...], n: int, to: int, step: Step, line: int) -> None:
        for over in steps[n + 1 : to]:
            for inner in (over, *_inside(over)):
                if isinstance(inner, Checkpoint):
                    what = f"then: {steps[to].name} jumps over the checkpoint {inner.name}"
                    self.wrong(step, what, f"go to {inner.name}, or put it before {step.name}", line)
        if to <= n and not any(_waits(s) for s in _round(steps, n, to, step)):
            what = f"then: {steps[to].name} goes back, and nothing on the way waits"
            self.wrong(step, what, "loop with `for`, or wait, listen, ask or call on the way", line)


def _targets(step: Step) -> Iterator[tuple[str, int]]:
    if step.then is not None:
        yield step.then, step.line
    if isinstance(step, Switch):
        for case in step.cases:
            if case.then is not None:
                yield case.then, case.line


def _round(steps: tuple[Step, ...], n: int, to: int, step: Step) -> Iterator[Step]:
    """What lies between the target of a jump and where it jumps from."""
    for one in steps[to : n + 1]:
        yield one
        if one is not step or step.then is not None:
            yield from _inside(one)


def _inside(step: Step) -> Iterator[Step]:
    for body in step.bodies().values():
        for inner in body:
            yield inner
            yield from _inside(inner)


def _waits(step: Step) -> bool:
    if isinstance(step, (HandOver, RunJourney)):
        return step.wait
    return step.kind in _WAITS
