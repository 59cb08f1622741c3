"""Northwind Broadband as the tests of its journeys use it: a plane on a real store, in front of the four systems."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cxplane.domain.views import RunView
from cxplane.loop import Plane
from cxplane.wiring import Settings, open_plane
from examples.broadband.running import CONTROL, SYSTEMS, Estate
from tests.examples.watching import Watching
from tests.loop.world import release
from tests.replayed import differing

UNTIL_VISIT = re.compile(r"wait: \{until: .*\}")


def control(day: str = "1d") -> dict[str, str]:
    """The files of the control repo. A visit begins a second after it was booked; `day`: how long a listening day takes."""
    kept = (".yaml", ".md", ".cedar")
    files = {str(f.relative_to(CONTROL)): f.read_text() for f in CONTROL.rglob("*") if f.suffix in kept}
    gates = "gates: [check, test, conformance]"
    assert gates in files["plane.yaml"]
    files["plane.yaml"] = files["plane.yaml"].replace(gates, "gates: [check]")
    path = "journeys/technician_appointment/journey.yaml"
    text, found = UNTIL_VISIT.subn("wait: 1s", files[path])
    assert found == 1
    files[path] = text.replace("within: 1d", f"within: {day}")
    return files


@dataclass
class Northwind(Watching):
    watcher: ClassVar[str] = "person:maria"
    plane: Plane
    estate: Estate

    async def know(self, *customers: int, consent: bool = True) -> None:
        """Nobody of them has been verified."""
        feed = self.plane.caller("system:crm-sync")
        for n in customers:
            await self.plane.put_customer(feed, f"c-{n}", attributes={}, identities=[])
            await self.plane.consent(feed, f"c-{n}", purpose="service", granted=consent, source="contract")

    async def signal(self, type: str, key: str, id: str = "", **data: Any) -> Mapping[str, Any]:
        feed = self.plane.caller("system:crm-sync")
        found: Mapping[str, Any] = await self.plane.signal(
            feed, type=type, source="/northwind", id=id or uuid.uuid4().hex, key=key, data=data
        )
        return found

    async def begins(self, type: str, key: str, id: str = "", **data: Any) -> str:
        """The one run that a signal starts."""
        (run,) = (await self.signal(type, key, id, **data))["runs_started"]
        return str(run)

    async def handed_over(self, run: str) -> list[tuple[str, str]]:
        """(team, text) of what of this run lies with people."""
        tasks, _ = await self.plane.tasks(self.plane.caller("person:maria"))
        return [(t.team, t.text) for t in tasks if t.run == run]

    async def runs_of(self, journey: str) -> list[RunView]:
        rows, _ = await self.plane.runs(self.plane.caller("person:maria"), journey=journey)
        return [await self.run(row.id) for row in rows]

    def did(self) -> list[str]:
        """What the systems did, in the order of time."""
        effects = [e for name in SYSTEMS for e in self.estate.effects(name)]
        return [e["operation"] for e in sorted(effects, key=lambda e: e["at"])]

    def body(self, system: str, operation: str) -> list[dict[str, Any]]:
        return [e["body"] for e in self.estate.effects(system) if e["operation"] == operation]

    def letters(self, customer: int) -> list[str]:
        path = f"/customers/c-{customer}/messages"
        return [str(e["body"]["text"]) for e in self.estate.effects("crm") if e["path"] == path]

    def row(self, system: str, path: str) -> dict[str, Any]:
        with self.estate.system(system) as client:
            found: dict[str, Any] = client.get(path).raise_for_status().json()
            return found


def systems(home: Path) -> Estate:
    """The four systems as processes, each on a free port of loopback."""
    estate = Estate(home)
    try:
        for name in SYSTEMS:
            estate.start_system(name)
    except BaseException:
        estate.stop()
        raise
    return estate


@asynccontextmanager
async def northwind(
    estate: Estate, dsn: str, monkeypatch: pytest.MonkeyPatch, day: str = "1d"
) -> AsyncIterator[Northwind]:
    for name in SYSTEMS:
        with estate.system(name) as client:
            client.post("/_reset").raise_for_status()
        monkeypatch.setenv(f"{name.upper()}_TOKEN", estate.tokens[name])
    settings = Settings(dsn=dsn, system_urls=dict(estate.urls))
    await release(settings, control(day))
    async with open_plane(settings) as plane:
        yield Northwind(plane, estate)
        odd = await differing(plane.store, plane.tenant, plane.replays)
        assert not odd, odd[0]
