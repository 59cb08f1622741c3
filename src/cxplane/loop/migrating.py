"""What would become of the runs of a journey that is to go by another release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cxplane.domain.errors import Malformed
from cxplane.domain.run import state_from
from cxplane.domain.values import JsonObject
from cxplane.journeys.migrate import preview
from cxplane.journeys.program import Program
from cxplane.ports.store import RunStore

PAGE = 1000


@dataclass(slots=True)
class Fates:
    """Of the runs under way: those that go on where they stand, those that move to another step, those that cannot go."""

    same: list[str] = field(default_factory=list)
    standing: Counter[str] = field(default_factory=Counter)
    mapped: list[JsonObject] = field(default_factory=list)
    impossible: list[JsonObject] = field(default_factory=list)

    def going(self) -> list[str]:
        """Runs that can go to the new release."""
        return [*self.same, *(str(m["run"]) for m in self.mapped)]

    def told(self) -> JsonObject:
        return {
            "runs": len(self.same) + len(self.mapped) + len(self.impossible),
            "same": len(self.same),
            "standing": dict(sorted(self.standing.items())),
            "mapped": self.mapped,
            "impossible": self.impossible,
        }


async def fates(
    runs: RunStore, tenant: str, release: str, old: Program, new: Program, positions: Mapping[str, str]
) -> Fates:
    """Of every run under way on `release`, whose definition is `old`. Changes nothing."""
    told = Fates()
    after = ""
    while page := await runs.under_way(tenant, old.journey.id, release, after=after, limit=PAGE):
        for id, _status, state in page:
            found = preview(old, new, state_from(state or {}), positions)
            one = {"run": id, "at": list(found.at), "to": list(found.to), "why": found.why}
            if found.kind == "same":
                told.same.append(id)
                told.standing.update(found.at)
            elif found.kind == "mapped":
                told.mapped.append(one)
            else:
                told.impossible.append(one)
        after = page[-1][0]
    return told


def known(positions: Mapping[str, str], old: Program, new: Program) -> None:
    """Malformed where a map names a step that is in neither: a slip that would only be seen when it is too late."""
    for before, after in positions.items():
        for name, program, which in ((before, old, "old"), (after, new, "new")):
            if name not in program.nodes:
                what = f"the {which} version has no step {name!r}"
                raise Malformed(what, where="/positions", next=f"Its steps: {', '.join(program.nodes)}.")
