"""What keeps a run from going on for ever: how many steps it enters within a time, and how deep runs start runs.

How many runs one leads to is counted where they are started (`loop/lineage.py`).

A run that would go further is stuck at that step with the error `runaway`, whatever catches stand around it.
"""

from __future__ import annotations

from datetime import datetime

from cxplane.domain.journey import RUNAWAY
from cxplane.domain.run import Token
from cxplane.domain.values import spelled
from cxplane.journeys.machine import Machine, StepError


def not_too_fast(m: Machine, token: Token) -> None:
    """StepError where it has entered as many steps as it may within the time that the plane allows."""
    bounds = m.run.bounds
    since = m.run.started_at if m.pace is None else datetime.fromisoformat(m.pace[0])
    if m.now - since >= bounds.within:
        _count_anew(m)
    if m.entered - (0 if m.pace is None else m.pace[1]) < bounds.steps:
        return
    often = f"{m.visits.get(token.at, 0)} times {token.at} until now"
    raise StepError(
        RUNAWAY,
        f"it entered {bounds.steps} steps within {spelled(bounds.within)}, {often}; told to retry, it goes on as far again. "
        "If that is as it should be, raise journeys: steps in plane.yaml",
    )


def not_too_deep(m: Machine, what: str) -> None:
    """StepError where a run that it starts would be one too deep."""
    if m.run.depth < m.run.bounds.depth:
        return
    raise StepError(
        RUNAWAY,
        f"{what}, and this run is {m.run.depth} deep: started by a run that was started by a run, and so on. "
        "If that is as it should be, raise journeys: depth in plane.yaml, then retry",
    )


def looked_at(m: Machine) -> None:
    """A person lets it go on: its steps are counted anew."""
    if any(t.wait is not None and t.wait.error == RUNAWAY for t in m.tokens.values()):
        _count_anew(m)


def _count_anew(m: Machine) -> None:
    m.pace = (m.iso(), m.entered)
