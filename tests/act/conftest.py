from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.connectors.fake import FakeSystem


@pytest.fixture
async def billing() -> AsyncIterator[FakeSystem]:
    system = await FakeSystem().start()
    yield system
    await system.stop()
