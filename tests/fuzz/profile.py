"""How long the fuzz runs: the same short one each time, unless CXPLANE_FUZZ says how many times as many examples, at random."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

MORE = int(os.environ.get("CXPLANE_FUZZ", "0"))


def bounded(examples: int, deadline_ms: int | None = 10_000) -> settings:
    """`examples` of a property, always the same ones; with CXPLANE_FUZZ=N, N times as many fresh ones. `deadline_ms`: of one example."""
    return settings(
        max_examples=examples * max(1, MORE),
        derandomize=MORE == 0,
        database=None,
        deadline=deadline_ms,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
