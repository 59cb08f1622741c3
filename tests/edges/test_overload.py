"""Several times what a plane can do: those it takes are served well, the others are told when to come back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.edges.running import Running, set_up

PLACES, PATIENCE_S, EFFECT_S = 8, 0.4, 0.05
NOISY, FLOOD = "agent:helper", 48  # so many ask at once, again and again
QUIET, CALM = "person:sam", 25  # requests, one after the other


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = set_up(
        tmp_path_factory.mktemp("overload"),
        {"keys": []},
        CXPLANE_HTTP_IN_FLIGHT=str(PLACES),
        CXPLANE_HTTP_QUEUE="16",
        CXPLANE_HTTP_PATIENCE=str(PATIENCE_S),
    )
    running.shop.pause_s = EFFECT_S
    yield running
    if running.process is not None:
        running.stop()
    running.shop.close()


class Caller:
    """Asks for refunds, each of an order of its own; remembers what it was told."""

    def __init__(self, plane: Running, by: str) -> None:
        self.plane, self.by = plane, by
        self.told: Counter[int] = Counter()
        self.refused: list[httpx.Response] = []
        self.orders: dict[str, int] = {}  # order -> status of the answer

    async def ask(self, http: httpx.AsyncClient) -> int:
        order = self.plane.shop.order(f"o-{self.by[-3:]}-{len(self.orders)}")
        self.orders[order] = 0
        body = {"action": "shop.refund_order", "customer": "c-1", "input": {"order_id": order, "amount": 500}}
        reply = await http.post("/v1/requests", json=body, headers={"Idempotency-Key": f"k-{order}"})
        self.orders[order] = reply.status_code
        self.told[reply.status_code] += 1
        if reply.status_code == 429:
            self.refused.append(reply)
        return reply.status_code

    def client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.plane.keys[self.by]}"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncClient(base_url=self.plane.url, headers=headers, timeout=60, limits=limits)


def took_ms(plane: Running) -> list[float]:
    """How long the refunds that were taken were in the plane, as its log says, quickest first."""
    lines = [json.loads(line) for line in (plane.root / "serve.log").read_text().splitlines() if line[:1] == "{"]
    return sorted(line["ms"] for line in lines if line.get("route") == "/v1/requests" and line["status"] == 200)


async def test_a_flood_is_held_off_and_hurts_nobody(plane: Running) -> None:
    alone, noisy, quiet = Caller(plane, NOISY), Caller(plane, NOISY), Caller(plane, QUIET)
    async with alone.client() as http:
        for _ in range(10):
            assert await alone.ask(http) == 200
    slowest_alone = took_ms(plane)[-1]
    noisy.orders = dict(alone.orders)
    over = asyncio.Event()
    urgent: list[int] = []

    async def flood(http: httpx.AsyncClient) -> None:
        while not over.is_set():
            if await noisy.ask(http) == 429:
                await asyncio.sleep(0.05)

    async with noisy.client() as http, quiet.client() as calm:
        floods = [asyncio.create_task(flood(http)) for _ in range(FLOOD)]
        await asyncio.sleep(0.5)
        for _ in range(CALM):
            await quiet.ask(calm)
            urgent.append((await calm.get("/v1/approvals")).status_code)
            urgent.append((await calm.get("/health/ready")).status_code)
            await asyncio.sleep(0.02)
        told = (await calm.get("/metrics")).text
        over.set()
        await asyncio.gather(*floods)

    # the flood was more than the plane takes, and each one that was refused was told when to come back
    assert noisy.told[429] > noisy.told[200] / 2 > 0
    assert set(noisy.told) == {200, 429}
    for reply in noisy.refused:
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.headers["content-type"] == "application/problem+json"
        assert "with the same key" in reply.json()["next"]
    # what was taken waited no longer than it may, and then was served nearly as alone
    taken = took_ms(plane)
    assert taken[int(len(taken) * 0.99)] < PATIENCE_S * 1000 + 10 * slowest_alone
    # the calm caller got through, and so did people and probes
    assert quiet.told[200] >= CALM - 1, quiet.told
    assert set(urgent) == {200}
    # nothing is half done: what was taken was done once, what was refused was not begun
    for order, status in {**noisy.orders, **quiet.orders}.items():
        assert plane.shop.done(order) == ([500] if status == 200 else [])
    # and it can be seen
    assert 'cxplane_http_limit{lane="normal"}' in told
    assert 'cxplane_http_shed_total{why="' in told
    listed = plane.cx("entries", "--after", "0", "--limit", "10000", "--json", by=QUIET).out
    assert listed.count('"kind": "outcome"') + listed.count('"kind":"outcome"') == len(plane.shop.effects)
