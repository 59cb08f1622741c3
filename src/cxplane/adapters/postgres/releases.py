"""Releases with their files, and what shows that the actions in them work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from cxplane.adapters.postgres.questions import Questions
from cxplane.domain.release import ReleaseInfo


class Releases(Questions):
    """The part of the store about releases. See `ports.store`."""

    async def save_release(self, tenant: str, hash: str, files: Mapping[str, str]) -> None:
        await self._rows(
            "insert into cxplane.release_files (tenant, hash, files) values ($1, $2, $3) on conflict do nothing",
            tenant,
            hash,
            dict(files),
        )

    async def release_files(self, tenant: str, hash: str) -> Mapping[str, str] | None:
        row = await self._row("select files from cxplane.release_files where tenant = $1 and hash = $2", tenant, hash)
        files: Mapping[str, str] | None = row["files"] if row else None
        return files

    async def releases(self, tenant: str) -> Sequence[ReleaseInfo]:
        found = await self._rows(
            "select hash, at, by, note, live, gates from cxplane.release where tenant = $1 order by at desc, hash",
            tenant,
        )
        return [ReleaseInfo(*r) for r in found]

    async def live_release(self, tenant: str) -> str | None:
        row = await self._row("select hash from cxplane.release where tenant = $1 and live", tenant)
        return str(row["hash"]) if row else None

    # conformance evidence -----------------------------------------------------------------------------

    async def save_conformance(
        self, tenant: str, action: str, contract: str, result: Mapping[str, object], at: datetime
    ) -> None:
        await self._rows(
            "insert into cxplane.conformance (tenant, action, contract, result, at) values ($1, $2, $3, $4, $5)"
            " on conflict (tenant, action, contract) do update set result = excluded.result, at = excluded.at",
            tenant,
            action,
            contract,
            dict(result),
            at,
        )

    async def conformance(self, tenant: str) -> Mapping[tuple[str, str], Mapping[str, object]]:
        found = await self._rows("select action, contract, result from cxplane.conformance where tenant = $1", tenant)
        return {(r["action"], r["contract"]): r["result"] for r in found}
