from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxplane.domain.journey import Journey
from cxplane.domain.record import Entry


def timeline(journey: Journey | None, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return []
