from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.edges.world import SaidPlane, edge


@pytest.fixture
def plane() -> SaidPlane:
    return SaidPlane()


@pytest.fixture
def http(plane: SaidPlane) -> Iterator[httpx.Client]:
    """A client of the edge before `plane`."""
    with edge(plane) as client:
        yield client
