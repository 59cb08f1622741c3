"""The release that decides now, and older ones that running work still keeps."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cxplane.act.plan import CallPlans
from cxplane.decide.rulebook import Rulebook
from cxplane.decide.shape import Contract
from cxplane.domain.catalog import System
from cxplane.domain.errors import ControlError, NotFound, StoreError
from cxplane.domain.release import Release
from cxplane.journeys.program import Program
from cxplane.journeys.starting import Starting
from cxplane.ports.store import Store
from cxplane.ports.systems import Connector

log = logging.getLogger("cxplane.releases")

KEPT = 8  # compiled releases in memory; running work rarely spans more


@dataclass(frozen=True, slots=True)
class Live:
    """One release, compiled: what judges and what carries out."""

    rulebook: Rulebook
    plans: CallPlans
    systems: Connector
    contracts: Mapping[str, str] = field(default_factory=dict)  # action -> hash of the contract that conformance tests
    programs: Mapping[str, Program] = field(default_factory=dict)  # journey -> what a run goes by
    inputs: Mapping[str, Contract] = field(default_factory=dict)  # journey -> what it is started with
    listened: frozenset[str] = frozenset()  # types of signals that some journey listens for
    starts: Mapping[str, tuple[Starting, ...]] = field(
        default_factory=dict
    )  # type of signal -> journeys that begin with it

    @property
    def release(self) -> Release:
        return self.rulebook.release


OpenRelease = Callable[[str, Mapping[str, str]], Live]


class Systems(Connector, Protocol):
    """The connectors of one plane. Where a system is reached is the newest release's word, also for older work."""

    def use(self, systems: Mapping[str, System]) -> None: ...

    def states(self) -> Mapping[str, str]:
        """System -> state of its circuit breaker: closed | probing | open."""
        ...


class Releases:
    """Follows the store's live release; compiles each at most once."""

    def __init__(self, store: Store, tenant: str, open_release: OpenRelease, systems: Systems) -> None:
        self._store, self._tenant, self._open, self._systems = store, tenant, open_release, systems
        self._compiled: OrderedDict[str, Live] = OrderedDict()
        self._lock = asyncio.Lock()
        self.live: Live | None = None
        self.trouble: str | None = None

    def need(self) -> Live:
        """The live release, or StoreError with what to do."""
        if self.live is None:
            raise StoreError(
                self.trouble or "no release is live yet",
                next="Run `cxplane release` in the control repo, then ask again.",
            )
        return self.live

    async def follow(self) -> None:
        """Take over a new live release, if there is one. One that does not compile leaves the old one deciding."""
        hash = await self._store.live_release(self._tenant)
        if hash is None or (self.live is not None and self.live.release.hash == hash):
            return
        try:
            live = await self.at(hash)
            self._systems.use(live.release.repo.systems)
            self._store.keep(self._tenant, live.release.repo.plane.retention)
            self.live, self.trouble = live, None
            log.info("release %s is live", hash[:12])
        except (ControlError, StoreError) as problem:
            words = f"release {hash[:12]} cannot be used: {problem}"
            if words != self.trouble:
                log.error("%s", words)
            self.trouble = words

    async def named(self, prefix: str) -> str:
        """The hash of the release that begins so; `live` is the one that decides. NotFound if none or several do."""
        if prefix == "live":
            return self.need().release.hash
        found = [r.hash for r in await self._store.releases(self._tenant) if r.hash.startswith(prefix)]
        if len(found) != 1:
            what = "no release begins" if not found else f"{len(found)} releases begin"
            raise NotFound(f"{what} with {prefix!r}", next="List them with `cxplane releases`.")
        return found[0]

    async def at(self, hash: str) -> Live:
        """The release of that hash, compiled. StoreError if the store does not have it."""
        if hash in self._compiled:
            self._compiled.move_to_end(hash)
            return self._compiled[hash]
        async with self._lock:
            if hash not in self._compiled:
                files = await self._store.release_files(self._tenant, hash)
                if files is None:
                    raise StoreError(f"the store has no release {hash[:12]}", next="List them with `cxplane releases`.")
                self._compiled[hash] = await asyncio.to_thread(self._open, hash, files)
                if len(self._compiled) > KEPT:
                    self._compiled.popitem(last=False)  # the live one stays in `self.live`
        return self._compiled[hash]
