"""A process whose wall clock steps while it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.journeys.cache import NotToBeHad
from benchmarks.journeys.shims import compiled


@dataclass(frozen=True, slots=True)
class StepClock:
    """The wall clock of processes that are started with `env`."""

    shim: Path
    told: Path

    @property
    def env(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.shim), "CLOCK_STEP": str(self.told)}

    def off_by(self, seconds: int) -> None:
        """From now on it is off by so many seconds."""
        fresh = self.told.with_suffix(".new")
        fresh.write_text(f"{seconds}\n")
        os.replace(fresh, self.told)


def step_clock(folder: Path) -> StepClock:
    """One that is right so far. Skips the test where it cannot be made."""
    try:
        shim = compiled(Path(__file__).with_name("step_clock.c"), folder)
    except NotToBeHad as problem:
        pytest.skip(str(problem))
    clock = StepClock(shim, folder / "clock")
    clock.off_by(0)
    return clock
