"""Ready and alive are two things; a plane that is told to stop says so first and ends what it has begun."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.edges.running import Running, set_up, until


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = set_up(tmp_path_factory.mktemp("health"), {"keys": []}, CXPLANE_DRAIN="4s")
    yield running
    if running.process is not None:
        running.stop(signal.SIGINT)
    running.shop.close()


def test_health_tells_everybody_yes_or_no_and_details_only_to_who_may_see_the_record(plane: Running) -> None:
    assert httpx.get(f"{plane.url}/health/live").json() == {"status": "ok", "release": None}
    assert httpx.get(f"{plane.url}/health/ready").json()["status"] == "ok"
    with plane.http() as http:
        assert http.get("/v1/health").status_code == 401
    with plane.http("agent:helper") as http:
        assert http.get("/v1/health").status_code == 403
    with plane.http("person:sam") as http:
        told = http.get("/v1/health").json()
    assert told["status"] == "ok"
    assert {c["name"]: c["status"] for c in told["checks"]} == {
        "draining": "ok",
        "store": "ok",
        "release": "ok",
        "background": "ok",
        "system shop": "ok",
        "seal": "ok",
    }


def test_metrics_show_what_waits_what_is_bounded_and_how_long_each_stage_took(plane: Running) -> None:
    assert plane.refund(plane.shop.order("o-metrics"), 2500).status_code == 200
    told = httpx.get(f"{plane.url}/metrics").text
    for line in (
        'cxplane_decisions_total{action="shop.refund_order",verdict="allow"} ',
        'cxplane_outcomes_total{action="shop.refund_order",status="done"} ',
        'cxplane_calls_total{result="done",system="shop"} ',
        'cxplane_breaker{system="shop"} 0.0',
        'cxplane_late_seconds{what="intent"} 0.0',
        'cxplane_late_seconds{what="job"} 0.0',
        'cxplane_store{what="connections_most"} ',
        'cxplane_store{what="appends_most"} ',
        'cxplane_http_limit{lane="urgent"} ',
        "cxplane_ready 1.0",
        *(
            f'cxplane_stage_seconds_count{{stage="{s}"}} '
            for s in ["situation", "facts", "judge", "append", "act", "outcome"]
        ),
    ):
        assert line in told or line.replace('result="done",system="shop"', 'system="shop",result="done"') in told, line
    assert "c-1" not in told and "o-metrics" not in told


def test_a_plane_that_is_told_to_stop_says_so_ends_what_it_has_begun_and_leaves_with_zero(plane: Running) -> None:
    plane.shop.pause_s = 2.0
    order, found, called = plane.shop.order("o-drain"), list[httpx.Response](), len(plane.shop.headers)
    asking = threading.Thread(target=lambda: found.append(plane.refund(order, 2500)))
    asking.start()
    until(lambda: len(plane.shop.headers) > called)
    assert plane.process is not None
    plane.process.send_signal(signal.SIGTERM)
    seen: list[Any] = []

    def not_ready() -> bool:
        seen.append(httpx.get(f"{plane.url}/health/ready"))
        return bool(seen[-1].status_code == 503)

    until(not_ready, 3)
    assert "stopped" in seen[-1].json()["detail"]
    assert httpx.get(f"{plane.url}/health/live").status_code == 200
    asking.join()
    assert (found[0].status_code, found[0].json()["status"]) == (200, "done")
    assert plane.process.wait(40) == 0
    assert plane.process.stdout is not None
    plane.process.stdout.close()
    plane.log.close()
    plane.process = None
    assert plane.shop.done(order) == [2500]
    plane.start()
    with plane.http("agent:helper") as http:
        assert http.get(found[0].headers["location"]).json()["status"] == "done"
