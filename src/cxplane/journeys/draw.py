from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxplane.domain.journey import Journey
from cxplane.domain.run import RunState


def definition(journey: Journey) -> str:
    return ""


def path(journey: Journey, state: RunState, went: Sequence[Any]) -> str:
    return ""
