"""The business's systems: one connector for each way of reaching them."""

from __future__ import annotations

from typing import Protocol

from cxplane.domain.catalog import Action
from cxplane.domain.decision import Allowed
from cxplane.domain.made import Made
from cxplane.domain.values import JsonObject


class Reply(Made, frozen=True):
    """What the system answered, already mapped to the action's output."""

    hidden = frozenset({"output"})

    output: JsonObject
    took_ms: float = 0.0


class Connector(Protocol):
    """One try, no retries: those are `act`'s. Raises SystemFailure with the class of the failure."""

    async def read(self, action: Action, input: JsonObject, *, timeout_s: float) -> Reply:
        """ValueError if the action is not a read: facts and confirmations can never write."""
        ...

    async def write(self, action: Action, allowed: Allowed, *, timeout_s: float) -> Reply:
        """Carries `allowed.key` as the system's idempotency key."""
        ...

    async def preview(self, action: Action, input: JsonObject) -> JsonObject:
        """What would be sent (method, path, body), without sending it and without secrets."""
        ...

    async def aclose(self) -> None: ...


class Vault(Protocol):
    def secret(self, name: str) -> str:
        """Raises SecretMissing. The value never reaches a log, an error or the record."""
        ...
