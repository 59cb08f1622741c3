"""The connector for each action: by the way its entry names, and by its system."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping

from cxplane.connectors.guarded import Guarded
from cxplane.connectors.http import HttpConnector
from cxplane.connectors.python import PythonConnector
from cxplane.domain.catalog import Action, PythonCall, System
from cxplane.domain.decision import Allowed
from cxplane.domain.errors import ControlError, Mistake
from cxplane.domain.values import JsonObject
from cxplane.ports.expressions import Expressions
from cxplane.ports.systems import Connector, Reply, Vault
from cxplane.ports.telemetry import Telemetry


class Router:
    """The connector for each action, without limits. Connections are opened when first needed."""

    def __init__(
        self,
        systems: Mapping[str, System],
        expressions: Expressions,
        vault: Vault,
        *,
        base_urls: Mapping[str, str],
        tls: ssl.SSLContext | None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._systems = dict(systems)
        self._expressions, self._vault, self._tls = expressions, vault, tls
        self._base_urls = dict(base_urls)
        self._http: dict[str, HttpConnector] = {}
        self._retired: list[HttpConnector] = []
        self._telemetry = telemetry
        self._python = PythonConnector(vault)

    def use(self, systems: Mapping[str, System]) -> None:
        for id, connector in list(self._http.items()):
            if id in systems and systems[id] != connector.system:
                self._retired.append(self._http.pop(id))  # calls under way end on it; closed with the rest
        self._systems |= systems

    def of(self, action: Action) -> Connector:
        """ControlError if the release has no such system."""
        if isinstance(action.via, PythonCall):
            return self._python
        return self.http(action.system, where=action)

    def http(self, id: str, *, where: Action | None = None) -> HttpConnector:
        if id not in self._http:
            if id not in self._systems:
                file, line = (where.file, where.line) if where else ("systems", 0)
                hint = f"write systems/{id}.yaml"
                raise ControlError([Mistake(file, line, f"there is no system {id!r}", hint)])
            self._http[id] = HttpConnector(
                self._systems[id],
                self._expressions,
                self._vault,
                base_url=self._base_urls.get(id) or self._base_urls.get(_plain(id)),
                tls=self._tls,
                telemetry=self._telemetry,
            )
        return self._http[id]

    async def read(self, action: Action, input: JsonObject, *, timeout_s: float) -> Reply:
        return await self.of(action).read(action, input, timeout_s=timeout_s)

    async def write(self, action: Action, allowed: Allowed, *, timeout_s: float) -> Reply:
        return await self.of(action).write(action, allowed, timeout_s=timeout_s)

    async def preview(self, action: Action, input: JsonObject) -> JsonObject:
        return await self.of(action).preview(action, input)

    async def health(self) -> Mapping[str, bool | None]:
        """System -> whether it answers; None where it has no health address."""
        reachable = [
            id
            for id, system in self._systems.items()
            if system.base_url or id in self._base_urls or _plain(id) in self._base_urls
        ]
        answers = await asyncio.gather(*(self.http(id).healthy() for id in reachable))
        return dict(zip(reachable, answers, strict=True))

    async def aclose(self) -> None:
        for connector in [*self._http.values(), *self._retired]:
            await connector.aclose()
        self._http.clear()
        self._retired.clear()


class Connectors(Guarded):
    """All systems behind one Connector, each with its limits and its breaker.

    Where a system is reached and what it takes is the word of the newest release (`use`), also for work that an older
    release decided; a system that only the older one knows stays reachable.
    """

    def __init__(
        self,
        systems: Mapping[str, System],
        expressions: Expressions,
        vault: Vault,
        *,
        base_urls: Mapping[str, str] | None = None,  # system id -> address that overrules the control repo's
        tls: ssl.SSLContext | None = None,  # what https addresses are checked with
        telemetry: Telemetry | None = None,
    ) -> None:
        self._router = Router(systems, expressions, vault, base_urls=base_urls or {}, tls=tls, telemetry=telemetry)
        super().__init__(self._router, systems)

    def use(self, systems: Mapping[str, System]) -> None:
        """Take over the systems of a new release; what did not change keeps its connections and its state."""
        self._router.use(systems)
        self._systems = {**self._systems, **systems}

    async def health(self) -> Mapping[str, bool | None]:
        """System -> whether it answers; None where it has no health address."""
        return await self._router.health()


def base_urls_from(environ: Mapping[str, str], systems: Mapping[str, System]) -> Mapping[str, str]:
    """CXPLANE_SYSTEM_<NAME>_URL of every system that has one; `-` and `.` in a name are written `_`."""
    named = {id: f"CXPLANE_SYSTEM_{_plain(id).upper()}_URL" for id in systems}
    return {id: environ[name] for id, name in named.items() if environ.get(name)}


def _plain(id: str) -> str:
    """A system's name as the environment can write it."""
    return re.sub(r"[^a-z0-9]", "_", id.lower())
