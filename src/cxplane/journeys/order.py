"""What may have been done before a step: by the ways through a journey, not by the lines of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cxplane.domain.journey import For, Fork, Journey, Step, Switch, Try

_Place = tuple[str, bool]  # a step, and whether it is behind
_Ways = dict[_Place, set[_Place]]


def may_be_before(journey: Journey) -> Mapping[str, frozenset[str]]:
    """The steps that some way leads through before it comes to a step, for each; a step around others stands behind them.

    What runs side by side may come in any order; a `try` may be left anywhere.
    """
    steps = {step.name: step for step in journey.walk()}
    ways: _Ways = {(name, behind): set() for name in steps for behind in (False, True)}
    _list(journey.steps, None, ways)
    reached = {name: _from((name, True), ways) for name in steps}
    return {
        name: frozenset(other for other in steps if (name, bool(step.bodies())) in reached[other])
        for name, step in steps.items()
    }


def _list(steps: Sequence[Step], around: Step | None, ways: _Ways) -> None:
    names = {step.name for step in steps}
    for n, step in enumerate(steps):
        here, behind = (step.name, False), (step.name, True)
        ways[here].add(behind)
        if n + 1 < len(steps):
            ways[behind].add((steps[n + 1].name, False))
        elif around is not None:
            ways[behind].add((around.name, True))
        cases = step.cases if isinstance(step, Switch) else ()
        ways[behind] |= {(to, False) for to in (step.then, *(case.then for case in cases)) if to in names}
        for body in step.bodies().values():
            if body:
                ways[here].add((body[0].name, False))
                _list(body, step, ways)
        _leaps(step, ways)


def _leaps(step: Step, ways: _Ways) -> None:
    """From anywhere inside to the beginning of a body: the next round, the catch or another try, the other branches."""
    bodies = [body for body in step.bodies().values() if body]
    if not isinstance(step, (For, Try, Fork)):
        return
    targets = {(body[0].name, False) for body in bodies}
    for body in bodies[:1] if isinstance(step, Try) else bodies:
        for inner in _walk(body):
            ways[inner.name, False] |= targets
            ways[inner.name, True] |= targets


def _walk(steps: Sequence[Step]) -> list[Step]:
    return [one for step in steps for one in (step, *(i for body in step.bodies().values() for i in _walk(body)))]


def _from(start: _Place, ways: _Ways) -> set[_Place]:
    seen: set[_Place] = set()
    ahead = [start]
    while ahead:
        for place in ways[ahead.pop()] - seen:
            seen.add(place)
            ahead.append(place)
    return seen
