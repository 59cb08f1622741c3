"""Two lanes: one for what agents and systems ask, and one that stays free for people who decide, steer and look."""

from __future__ import annotations

from collections.abc import Callable

from cxplane.domain.errors import Overloaded
from cxplane.domain.people import Caller, CallerKind
from cxplane.edges.http.admission import Admission, Place, Share
from cxplane.edges.http.limits import URGENT, URGENT_PATIENCE_S, URGENT_QUEUE, HttpLimits
from cxplane.edges.http.route import Route
from cxplane.ports.telemetry import Telemetry

FLOODED = frozenset({("POST", "/v1/requests"), ("POST", "/v1/runs"), ("POST", "/v1/signals")})
KNOWN = 4096  # credentials whose caller is remembered


class Lanes:
    def __init__(self, limits: HttpLimits, telemetry: Telemetry, store_late_s: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self.normal = Admission(
            limits.in_flight, queue=limits.queue, patience_s=limits.patience_s, store_late_s=store_late_s
        )
        self.urgent = Admission(URGENT, queue=URGENT_QUEUE, patience_s=URGENT_PATIENCE_S)
        self._known: dict[int, Share] = {}  # hash of the credentials -> whose they were

    async def enter(self, route: Route, caller: Caller, share: Share, credentials: int) -> Place:
        """Refused where there is no place in time."""
        if route.urgent or (caller.kind is CallerKind.PERSON and route.method == "GET"):
            return await self.urgent.enter(share)
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[credentials] = share
        return await self.normal.enter(share)

    def hopeless(self, method: str, path: str, credentials: int) -> Overloaded | None:
        """Before a request is read: whether its caller has more in the queue than comes to its turn in time.

        Credentials are taken at their word here: who forges them gets a 429 instead of a 401.
        """
        if not self.normal.waiting or (method, path) not in FLOODED:
            return None
        share = self._known.get(credentials)
        return None if share is None else self.normal.hopeless(share)

    def tell(self) -> None:
        """The gauges."""
        for lane, admission in (("normal", self.normal), ("urgent", self.urgent)):
            self._telemetry.gauge("http_in_flight", admission.taken, {"lane": lane})
            self._telemetry.gauge("http_queue", admission.waiting, {"lane": lane})
            self._telemetry.gauge("http_limit", admission.limit, {"lane": lane})
        self._telemetry.gauge("loop_late_seconds", self.normal.late_s)
