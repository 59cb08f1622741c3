"""What those who run the plane look at."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from cxplane.edges.http.bodies import Health, HealthDetail
from cxplane.edges.http.route import Answer, Call, Route
from cxplane.loop.health import numbers


async def index(call: Call) -> Answer:
    release = call.plane.release
    return Answer(
        {
            "product": "cxplane",
            "plane": release.repo.plane.name if release else None,
            "release": release.hash if release else None,
            "openapi": "/openapi.json",
            "start_with": "GET /v1/actions with `Authorization: Bearer <api key>`",
        }
    )


async def live(call: Call) -> Answer:
    return Answer(Health("ok"))


async def ready(call: Call) -> Answer:
    await call.plane.health.ready()
    release = call.plane.release
    return Answer(Health("ok", release.hash if release else None, call.plane.seal_trouble or UNSET))


async def health(call: Call) -> Answer:
    checks = await call.plane.checks(call.caller)
    worst = next((s for s in ("fail", "warn") if any(c.status == s for c in checks)), "ok")
    return Answer(HealthDetail(worst, checks))


async def metrics(call: Call) -> Answer:
    text, media_type = await numbers(call.plane.health, call.plane.telemetry)
    return Answer(raw=text, media_type=media_type)


ROUTES = (
    Route("GET", "/", "index", "service", "What this is, and where to go on", index, dict[str, Any], open=True),
    Route("GET", "/health/live", "health_live", "service", "The process runs", live, Health, open=True),
    Route(
        "GET",
        "/health/ready",
        "health_ready",
        "service",
        "The store answers and a release is live",
        ready,
        Health,
        errors=("unavailable",),
        open=True,
    ),
    Route(
        "GET",
        "/v1/health",
        "health",
        "service",
        "What the plane finds of itself, one check after the other",
        health,
        HealthDetail,
        text="For callers with the permission `record`.",
        errors=("forbidden", "unavailable"),
        urgent=True,
    ),
    Route("GET", "/metrics", "metrics", "service", "Metrics for Prometheus", metrics, str, open=True),
)
