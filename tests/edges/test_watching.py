"""What is to be seen of a worker: the numbers of a plane, and whether it is ready."""

from __future__ import annotations

import httpx

from cxplane.edges.process import listening
from cxplane.edges.watching import watched
from tests.loop.world import world


async def test_a_worker_answers_metrics_and_health_and_nothing_else(dsn: str) -> None:
    listener = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with world(dsn) as w:
        await w.know()
        await w.ask(1000)
        async with watched(w.plane, listener), httpx.AsyncClient(base_url=url) as http:
            numbers = (await http.get("/metrics")).text
            assert 'cxplane_calls_total{result="done",system="billing"} 1.0' in numbers
            assert "cxplane_ready 1.0" in numbers
            assert 'cxplane_late_seconds{what="job"}' in numbers
            assert (
                (await http.get("/health/live")).json() == (await http.get("/health/ready")).json() == {"status": "ok"}
            )
            assert (await http.head("/metrics")).content == b""
            assert (await http.get("/v1/entries")).status_code == 404
            assert (await http.post("/metrics")).status_code == 405
            w.plane.drain()
            told = await http.get("/health/ready")
            assert (told.status_code, told.json()["said"]) == (503, "the plane is being stopped")
            assert "cxplane_ready 0.0" in (await http.get("/metrics")).text
    listener.close()
