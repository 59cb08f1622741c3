"""Who may say that a signal comes from whom."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cxplane.domain.errors import Forbidden, Malformed
from cxplane.domain.people import Caller
from cxplane.domain.values import derived_id
from tests.loop.journeys import Country, country, journeys
from tests.loop.world import AGENT, release

BEGINS = """
journey: begins
version: 1
summary: Begins with what the warehouse says
owner: care
customer: none
input: {type: object}
start: [{signal: parcel.lost, when: signal.source == "/warehouse"}]
do:
  - seen: {set: {seen: "true"}}
"""


async def says(here: Country, by: Caller, source: str, id: str = "1") -> str:
    told = await here.plane.signal(by, type="parcel.lost", source=source, id=id, key="k", data={})
    assert told["id"] == derived_id("sig", "acme", source, id)
    return str(told["id"])


async def listed(here: Country, sources: str, more: Mapping[str, str] | None = None) -> None:
    files = {**journeys(begins=BEGINS), **(more or {})}
    plane = files["plane.yaml"].replace('{"system:crm": [test]}', sources)
    plane = plane.replace("signals: [integration]", "signals: [integration, service-agent]")
    assert sources in plane
    await release(here.settings, {**files, "plane.yaml": plane})
    await here.plane.live.follow()


@pytest.mark.parametrize("source", ["system:crm", "system:crm/contracts", "/crm", "/crm/contracts/7", "/cxplane/cli"])
async def test_a_signal_comes_from_its_sender_or_from_below_it(dsn: str, source: str) -> None:
    async with country(dsn) as here:
        await says(here, here.crm, source)


@pytest.mark.parametrize(
    "source", ["/warehouse", "/crm2", "crm", "system:crm2", "/", "*", "journey:dispute", "JOURNEY:x"]
)
async def test_nobody_speaks_for_somebody_else_and_nothing_is_kept_of_it(dsn: str, source: str) -> None:
    async with country(dsn, begins=BEGINS) as here:
        with pytest.raises(Malformed) as refused:
            await says(here, here.crm, source)
        assert refused.value.where == "/source"
        assert await here.plane.store.stream("acme", derived_id("sig", "acme", source, "1")) == []


async def test_plane_yaml_lists_for_whom_else_a_caller_speaks(dsn: str) -> None:
    async with country(dsn, begins=BEGINS) as here:
        await listed(here, '{"system:crm": [/warehouse, "https://shop.example/"]}')
        for source in ("/warehouse", "/warehouse/7", "https://shop.example/eu", "/crm"):
            await says(here, here.crm, source)
        with pytest.raises(Malformed, match="does not speak"):
            await says(here, here.crm, "https://shop.example.org")
        await listed(here, '{"system:crm": ["*"]}')
        await says(here, here.crm, "/anybody", "2")
        with pytest.raises(Malformed, match="for journeys"):
            await says(here, here.crm, "journey:dispute")


async def test_an_id_that_two_kinds_of_callers_have_is_no_source_of_either(dsn: str) -> None:
    async with country(dsn, begins=BEGINS) as here:
        await listed(here, "{}", {"agents/crm.md": AGENT.format(name="crm", data="billing")})
        for by in (here.crm, here.plane.caller("agent:crm")):
            with pytest.raises(Malformed, match="does not speak"):
                await says(here, by, "/crm")
            await says(here, by, by.name)


async def test_who_may_not_send_at_all_is_told_so_first(dsn: str) -> None:
    async with country(dsn) as here:
        with pytest.raises(Forbidden):
            await says(here, here.plane.caller("agent:fin"), "/warehouse")
