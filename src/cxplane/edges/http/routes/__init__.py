"""All routes, in the order in which they are documented."""

from __future__ import annotations

from cxplane.edges.http.route import Route
from cxplane.edges.http.routes import (
    approvals,
    customers,
    decisions,
    journeys,
    record,
    requests,
    runs,
    service,
    signals,
    tasks,
)

ROUTES: tuple[Route, ...] = (
    *requests.ROUTES,
    *decisions.ROUTES,
    *approvals.ROUTES,
    *journeys.ROUTES,
    *runs.ROUTES,
    *tasks.ROUTES,
    *signals.ROUTES,
    *customers.ROUTES,
    *record.ROUTES,
    *service.ROUTES,
)
