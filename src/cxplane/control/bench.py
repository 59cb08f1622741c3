"""The test bench's side of a system's fake: make it misbehave, count what it did.

`systems/<name>.yaml`, block `conform`: `faults: {method, path}` takes {"fault": "timeout_after_commit", "times": 1} and
{"fault": "none"}. Beside it, at the same place, `_effects` (GET, {"effects": [{"key": …}]}) lists what was done, each
with the idempotency key that it was done under; `effects: {method, path}` names another place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxplane.domain.catalog import Action, Effect, HttpCall, Risk, System
from cxplane.domain.errors import ControlError, Mistake, SystemFailure
from cxplane.domain.values import JsonObject
from cxplane.ports.systems import Connector

TIMEOUT_S = 5.0


class Bench:
    """One fake, reached like any other system."""

    def __init__(self, system: System, connector: Connector) -> None:
        self._system, self._connector = system, connector
        faults: Mapping[str, Any] = system.conform.get("faults") or {}
        if not faults.get("path"):
            hint = "give conform.faults: {method: POST, path: /_faults}, where the system's fake takes faults"
            raise ControlError(
                [Mistake(system.file, 0, f"system {system.id} cannot be tested: it has no `conform` block", hint)]
            )
        self._faults = self._entry("faults", faults)
        beside = str(faults["path"]).rsplit("/", 1)[0] + "/_effects"
        self._effects = self._entry("effects", system.conform.get("effects") or {"method": "GET", "path": beside})

    async def break_once(self, fault: str = "timeout_after_commit") -> None:
        await self._ask(self._faults, {"fault": fault, "times": 1})

    async def mend(self) -> None:
        await self._ask(self._faults, {"fault": "none"})

    async def effects(self, key: str | None) -> int:
        """How often the system did something under this key."""
        told = await self._ask(self._effects, {})
        done = told.get("effects", ())
        return sum(1 for effect in done if isinstance(effect, Mapping) and effect.get("key") == key)

    async def _ask(self, entry: Action, input: JsonObject) -> JsonObject:
        try:
            return (await self._connector.read(entry, input, timeout_s=TIMEOUT_S)).output
        except SystemFailure as failure:
            name = f"CXPLANE_SYSTEM_{self._system.id.upper()}_URL"
            hint = f"start the fake of {self._system.id}, or set {name} to where it runs"
            raise ControlError([Mistake(self._system.file, 0, str(failure), hint)]) from None

    def _entry(self, name: str, call: Mapping[str, Any]) -> Action:
        """The bench is no business: its addresses are in no catalog, and nothing that is asked there is an action."""
        return Action(
            id=f"{self._system.id}.bench_{name}",
            version=1,
            summary="the test bench of a fake",
            owner=self._system.owner,
            effect=Effect.READ,
            risk=Risk.LOW,
            input={},
            output={"type": "object"},
            via=HttpCall(self._system.id, str(call.get("method", "POST")), str(call["path"])),
            file=self._system.file,
        )
