"""Small values as they stand in files: CEL by name, spans of time."""

from __future__ import annotations

import json
from datetime import timedelta

from cxplane.domain.values import JsonObject, span


def arguments(said: JsonObject | None) -> dict[str, str]:
    """CEL by parameter; numbers, truth values and null may be written as they are."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in (said or {}).items()}


def optional_arguments(said: JsonObject | None) -> dict[str, str] | None:
    return None if said is None else arguments(said)


def optional_span(text: str | None) -> timedelta | None:
    return None if text is None else span(text)
