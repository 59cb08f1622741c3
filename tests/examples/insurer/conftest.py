"""The insurer's systems, running, and planes in front of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cxplane.wiring import Settings
from examples.insurer.running import SYSTEMS, Services, control_copy
from tests.examples.insurer.world import Insurer, Open


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = Services(tmp_path_factory.mktemp("services"))
    try:
        for name in SYSTEMS:
            services.start_system(name)
        yield services
    finally:
        services.stop()


@pytest.fixture
def services(running: Services) -> Services:
    """The four systems, as on the first day."""
    running.reset()
    return running


@pytest.fixture
async def opened(services: Services, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """A plane with the control repo as it is, or with a shorter day."""
    for name, token in services.tokens.items():
        monkeypatch.setenv(f"{name.upper()}_TOKEN", token)
    begun: list[Insurer] = []

    async def begin(day_ms: int | None = None) -> Insurer:
        control = control_copy(tmp_path / "control", services.urls, day_ms=day_ms)
        plane = control / "plane.yaml"  # policy tests and conformance are run above
        plane.write_text(plane.read_text().replace("gates: [check, test, conformance]", "gates: [check]"))
        world = Insurer(services, Settings(dsn=dsn), control)
        begun.append(world)
        await world.begin()
        return world

    yield begin
    for world in begun:
        await world.down()


@pytest.fixture
async def world(opened: Open) -> Insurer:
    made: Insurer = await opened()
    return made
