"""Journeys that can be seen to start themselves, by what they emit or run: no mistake, as long as something ends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cxplane.domain.errors import Mistake
from cxplane.domain.journey import Emit, RunJourney, Step
from cxplane.domain.release import ControlRepo


@dataclass(frozen=True, slots=True)
class _Starts:
    """A step of a journey that starts another one."""

    journey: str
    step: Step
    other: str

    @property
    def words(self) -> str:
        if isinstance(self.step, Emit):
            return f"{self.journey} emits {self.step.signal}, which starts {self.other}"
        return f"{self.journey} runs {self.other}"


def warnings(repo: ControlRepo) -> list[Mistake]:
    """One for each ring, at the step of its first journey; in the order of files and lines."""
    starts = {name: list(_starts(repo, name)) for name in sorted(repo.journeys)}
    found, told = [], set[frozenset[str]]()
    for name in starts:
        for first in starts[name]:
            ring = _back(starts, first)
            if ring is None or (members := frozenset(one.journey for one in ring)) in told:
                continue
            told.add(members)
            what = f"step {first.step.name}: {name} starts itself: {', '.join(one.words for one in ring)}"
            hint = f"let an `if` or the `when` of a start end it; it comes to a person {repo.plane.journeys.depth} runs deep"
            found.append(Mistake(repo.journeys[name].file, first.step.line, what, hint))
    return sorted(found)


def _starts(repo: ControlRepo, name: str) -> Iterator[_Starts]:
    for step in repo.journeys[name].walk():
        if isinstance(step, RunJourney):
            yield _Starts(name, step, step.journey)
        elif isinstance(step, Emit):
            for other in sorted(repo.journeys):
                if any(start.signal == step.signal for start in repo.journeys[other].start):
                    yield _Starts(name, step, other)


def _back(starts: Mapping[str, list[_Starts]], first: _Starts) -> list[_Starts] | None:
    """The shortest way that begins with a step and comes back to its journey; None if there is none."""
    ways, seen = [[first]], {first.other}
    for way in ways:
        if way[-1].other == first.journey:
            return way
        for one in starts.get(way[-1].other, ()):
            if one.other not in seen:
                seen.add(one.other)
                ways.append([*way, one])
    return None
