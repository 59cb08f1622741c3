"""That somebody took personal data out of the record in the clear: who, when, how, and of what."""

from __future__ import annotations

from datetime import datetime

from cxplane.domain.decision_body import lean
from cxplane.domain.record import NewEntry
from cxplane.domain.values import Json


def data_opened(how: str, *, at: datetime, actor: str, **of: Json) -> NewEntry:
    """`how`: export | evidence. `of`: what was asked for (case, kinds, since, until, after); what is None is left out.

    It is appended before anything is opened: who cannot say so on record opens nothing.
    """
    return NewEntry("data.opened", "record", at, actor, lean({"how": how, **of}))
