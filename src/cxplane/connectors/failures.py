"""A failure that says nothing about the health of a system, so that no breaker counts it."""

from __future__ import annotations

from cxplane.domain.errors import SystemFailure


class NotTheSystem(SystemFailure):
    """It was not called (input, no free place, breaker open), asked us to slow down, or our credentials are wrong."""
