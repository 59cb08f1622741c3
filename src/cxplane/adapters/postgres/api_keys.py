"""API keys of callers, and the day on which each was last used."""
# ruff: noqa: S608 -- only names of our own columns are put into SQL; values are always parameters

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from cxplane.adapters.postgres import rows
from cxplane.adapters.postgres.questions import Questions
from cxplane.domain.record import KeyRow


class ApiKeys(Questions):
    """The part of the store about API keys. See `ports.store`."""

    async def key_by_hash(self, tenant: str, hash: str) -> KeyRow | None:
        row = await self._row(f"select {rows.KEY} from cxplane.api_key where hash = $2 and tenant = $1", tenant, hash)
        return rows.key_row(row) if row else None

    async def keys(self, tenant: str) -> Sequence[KeyRow]:
        found = await self._rows(
            f"select {rows.KEY} from cxplane.api_key where tenant = $1 order by created_at, id", tenant
        )
        return [rows.key_row(r) for r in found]

    async def key_used(self, tenant: str, id: str, day: date) -> None:
        await self._rows(
            "insert into cxplane.key_use as u (tenant, id, day) values ($1, $2, $3)"
            " on conflict (tenant, id) do update set day = excluded.day where u.day < excluded.day",
            tenant,
            id,
            day,
        )

    async def key_uses(self, tenant: str) -> Mapping[str, date]:
        found = await self._rows("select id, day from cxplane.key_use where tenant = $1", tenant)
        return {r["id"]: r["day"] for r in found}
