"""What is compiled once per catalog entry and used for every call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from cxplane.domain.catalog import Action

P = TypeVar("P")


class Plans(Generic[P]):
    """Keeps the last `size` plans, by the entry itself: a new release has new entries, old ones fall out."""

    def __init__(self, make: Callable[[Action], P], size: int = 2000) -> None:
        self._make, self._size = make, size
        self._kept: OrderedDict[int, tuple[Action, P]] = OrderedDict()

    def __call__(self, action: Action) -> P:
        if (found := self._kept.get(id(action))) is not None:
            self._kept.move_to_end(id(action))
            return found[1]
        plan = self._make(action)
        self._kept[id(action)] = (action, plan)  # holding the entry keeps its id from being given anew
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return plan
