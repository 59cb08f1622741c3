"""Evidence files over the plane: for callers who may see the record, told in the words of the releases that decided."""

from __future__ import annotations

from collections.abc import Sequence

from cxplane.domain.opened_entries import data_opened
from cxplane.domain.people import Caller
from cxplane.domain.record import Write
from cxplane.domain.values import JsonObject
from cxplane.loop.access import must
from cxplane.loop.evidence import evidence
from cxplane.loop.explaining import Explaining
from cxplane.loop.live import Releases
from cxplane.ports.clock import Clock
from cxplane.ports.seal import Signer
from cxplane.ports.store import Store


class Proving:
    """Needs the permission `record`: Forbidden. `signers`: who signs a document as a whole; none, and it is not signed."""

    def __init__(
        self,
        tenant: str,
        store: Store,
        releases: Releases,
        clock: Clock,
        explaining: Explaining,
        signers: Sequence[Signer] = (),
    ) -> None:
        self._tenant, self._store, self._releases, self._clock = tenant, store, releases, clock
        self._explaining, self._signers = explaining, signers

    async def evidence(self, caller: Caller, id: str, *, shown: bool) -> JsonObject:
        """Everything on record about a request or run, with its proofs. `shown`: personal data is disclosed, which goes on record.

        NotFound; NotSealed while an entry is under no checkpoint.
        """
        must(self._releases.need(), caller, "record")

        async def made(shown: bool) -> JsonObject:
            return await evidence(
                self._store,
                self._tenant,
                id,
                at=self._clock.now(),
                signers=self._signers,
                shown=shown,
                about=self._explaining.about,
            )

        if not shown:
            return await made(False)
        await made(False)  # what cannot be given is not said to have been
        entry = data_opened("evidence", at=self._clock.now(), actor=caller.name, case=id)
        await self._store.append(Write(self._tenant, (entry,)))
        return await made(True)
