from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.pretty import pretty_repr

from cxplane.decide.judge import resume
from cxplane.domain.decision import Grounds, Reason, Verdict
from cxplane.domain.made import Made
from cxplane.domain.outcome import Outcome, Status
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import NewEntry
from cxplane.domain.request import ActionRequest
from cxplane.domain.run import AskAction, Run, Settled, Went

NOW = datetime(2026, 3, 4, tzinfo=UTC)
FIN = Caller(CallerKind.AGENT, "fin")
SECRET = {"email": "Planted"}
HOLDERS = [
    NewEntry("request", "r1", NOW, "agent:fin", {}, SECRET),
    ActionRequest("r1", "t", "a.b", SECRET, FIN, NOW, reason="Planted", recorded=SECRET),
    Outcome("r1", Status.DONE, NOW, SECRET),
    Grounds("rel", NOW, (), "policy", context=SECRET),
    Run("r1", "t", "j", "rel", NOW, SECRET),
    Settled("r1", "done", SECRET),
    AskAction(1, "s", "r1", "a.b", SECRET, SECRET, "Planted"),
    Went("s", "failed", "name", "Planted"),
]


@pytest.mark.parametrize("made", HOLDERS, ids=lambda made: type(made).__name__)
def test_no_repr_shows_what_may_be_personal(made: Made) -> None:
    assert "Planted" not in repr(made) and "Planted" not in str(made) and "Planted" not in pretty_repr(made)
    assert repr(made).startswith(f"{type(made).__name__}({made.__struct_fields__[0]}=")


@pytest.mark.parametrize("made", HOLDERS, ids=lambda made: type(made).__name__)
def test_what_is_hidden_is_a_field(made: Made) -> None:
    assert made.hidden <= set(made.__struct_fields__)


def test_an_allowed_is_not_made_from_another_one() -> None:
    allowed = resume(HOLDERS[1], Grounds("rel", NOW, (Reason("policy", "fine", Verdict.ALLOW),), "policy"), "k")
    with pytest.raises(TypeError, match="never from another one"):
        allowed.changed(key="other")


def test_it_does_not_change_but_another_can_be_made() -> None:
    outcome = Outcome("r1", Status.DONE, NOW, SECRET)
    with pytest.raises(AttributeError):
        outcome.status = Status.FAILED  # type: ignore[misc]
    other = outcome.changed(output=None)
    assert (other.output, other.request, outcome.output) == (None, "r1", SECRET)
    assert other != outcome and other == Outcome("r1", Status.DONE, NOW)
