"""What comes twice, or from two at once, is done once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from cxplane.domain.erasure import CustomerErased
from cxplane.domain.errors import Conflict, Malformed
from tests.loop.journeys import country
from tests.loop.test_journeys import CLAIM

DISPUTED = {"account_id": "a1", "dispute_id": "d5", "amount": 5}
OTHER = CLAIM.replace("journey: claim", "journey: complaint")


async def test_of_two_switches_at_the_same_moment_one_starts_a_run(dsn: str) -> None:
    async with country(dsn, claim=CLAIM, complaint=OTHER) as here:
        for n in range(5):
            run = await here.start("claim", claim_id=f"cl-{n}")
            await here.until(run, "waiting")
            told = await asyncio.gather(
                here.plane.switch(here.maria, run, "dispute", input=DISPUTED | {"dispute_id": f"d{n}"}),
                here.plane.switch(here.maria, run, "complaint"),
                return_exceptions=True,
            )
            (view,) = [one for one in told if not isinstance(one, BaseException)]
            (refused,) = [one for one in told if isinstance(one, BaseException)]
            assert isinstance(refused, Conflict) and view.run.id in str(refused)
            assert (await here.until(run)).run.status == "cancelled"
            told_it = [e for e in await here.plane.store.stream("acme", run) if e.kind == "run.told"]
            assert [e.body["switched_to"] for e in told_it] == [view.run.id]
        found, _ = await here.plane.runs(here.maria, customer="c1")
        assert len(found) == 10


async def test_the_same_switch_twice_is_one_and_another_one_later_goes_from_the_new_run(dsn: str) -> None:
    async with country(dsn, claim=CLAIM, complaint=OTHER) as here:
        run = await here.start("claim", claim_id="cl-1")
        await here.until(run, "waiting")
        views = [await here.plane.switch(here.maria, run, "complaint") for _ in range(2)]
        assert len({view.run.id for view in views}) == 1
        with pytest.raises(Conflict, match="was switched to complaint already"):
            await here.plane.switch(here.maria, run, "dispute", input=DISPUTED)
        back = await here.plane.switch(here.maria, views[0].run.id, "claim")
        assert (await here.until(views[0].run.id)).run.status == "cancelled"
        assert (await here.until(back.run.id, "waiting")).run.journey == "claim"


async def test_a_signal_that_comes_again_after_its_customer_was_erased_is_a_repeat(dsn: str) -> None:
    async with country(dsn) as here:
        sent = {"customer": "c1", "account": "a1", "amount": 1500}
        first = await here.signal("dispute.opened", "d7", **sent)
        await here.until(first["runs_started"][0])
        erased = await here.plane.store.erasing.erase("acme", "c1", at=datetime.now(UTC), by="x", reason="asked")
        assert isinstance(erased, CustomerErased)
        again = await here.signal("dispute.opened", "d7", **sent)
        assert (again["repeated"], again["id"], again["runs_started"]) == (True, first["id"], [])
        with pytest.raises(Malformed, match="not known"):
            await here.signal("dispute.opened", "d8", id="2", **sent)
