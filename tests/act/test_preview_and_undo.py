from __future__ import annotations

from dataclasses import replace

import pytest

from cxplane.act.plan import CallPlans
from cxplane.act.preview import preview
from cxplane.act.undo import undo_request
from cxplane.domain.catalog import Undo
from cxplane.domain.errors import Conflict, ControlError, SystemFailure
from tests.connectors.fake import FakeSystem
from tests.connectors.world import CEL, CREDIT, FIND, SECRET, allowed, guarded, plan


async def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(billing: FakeSystem) -> None:
    connector = guarded(billing)
    shown = await preview(plan(CREDIT), allowed().request, connector)
    with pytest.raises(SystemFailure, match="cannot stand in a path"):
        await preview(plan(CREDIT), allowed(account_id="..", amount=1).request, connector)
    await connector.aclose()
    assert billing.seen == []
    assert shown["would_send"]["path"].endswith("/credits")
    assert (shown["confirmed_by"], shown["undone_by"]) == ("billing.find_credit", "billing.reverse_credit")
    assert SECRET not in str(shown)


def test_what_undoes_is_computed_from_what_was_done() -> None:
    assert undo_request(plan(CREDIT), allowed().request, {"credit_id": "cr-1"}) == {"credit_id": "cr-1"}


def test_what_cannot_be_undone_says_why() -> None:
    with pytest.raises(Conflict, match="money has left"):
        undo_request(plan(replace(CREDIT, undo=Undo(none="money has left"))), allowed().request, {})
    with pytest.raises(Conflict, match="cannot be computed"):
        undo_request(plan(CREDIT), allowed().request, {})


def test_broken_entries_are_all_named_at_once() -> None:
    broken = replace(CREDIT, id="billing.a", undo=Undo(call="x", with_={"a": "1 +"}), file="a.yaml")
    lost = replace(CREDIT, id="billing.b", file="b.yaml")
    with pytest.raises(ControlError) as caught:
        CallPlans({a.id: a for a in (replace(broken, confirm=None), lost)}, CEL)
    assert [m.file for m in caught.value.mistakes] == ["a.yaml", "b.yaml"]
    assert CallPlans({a.id: a for a in (CREDIT, FIND)}, CEL).plan(CREDIT).action is CREDIT
