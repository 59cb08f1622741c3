"""How much a CEL expression would have to go through, told from the values that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT = 64  # characters that weigh as much as one value


def heaviest(values: Mapping[str, Any]) -> tuple[int, int]:
    """(items of the longest list or map, values in the one that holds most of them). Texts weigh by their length."""
    longest = weightiest = 0
    for value in values.values():
        _, items, weight = _weigh(value)
        longest, weightiest = max(longest, items), max(weightiest, weight)
    return longest, weightiest


def _weigh(value: Any) -> tuple[int, int, int]:
    """(its own weight, items of the longest within, weight of the heaviest list within)"""
    if isinstance(value, str):
        return 1 + len(value) // TEXT, 0, 0
    if isinstance(value, Mapping):
        inner, is_list = value.values(), False
    elif isinstance(value, list | tuple):
        inner, is_list = value, True  # type: ignore[assignment]
    else:
        return 1, 0, 0
    weight, longest, heavy = 1, len(value), 0
    for one in inner:
        if one.__class__ in _PLAIN:
            weight += 1
            continue
        own, items, inside = _weigh(one)
        weight += own
        longest, heavy = max(longest, items), max(heavy, inside)
    # a map may be gone through as well, but seldom is: only a long one counts
    return weight, longest, max(heavy, weight if is_list or len(value) > 100 else 0)


_PLAIN = frozenset({int, float, bool, type(None)})
