"""All routes, in the order in which they are documented."""

from __future__ import annotations

from cxplane.edges.http.route import Route
from cxplane.edges.http.routes import approvals, customers, record, requests, service

ROUTES: tuple[Route, ...] = (
    *requests.ROUTES,
    *approvals.ROUTES,
    *customers.ROUTES,
    *record.ROUTES,
    *service.ROUTES,
)
