"""How the store is asked: one round trip a question, and what is done while nobody answers."""
# ruff: noqa: S608 -- only names of our own columns are put into SQL; values are always parameters

from __future__ import annotations

import asyncio
import time
from typing import Any

from cxplane.adapters.postgres import rows
from cxplane.adapters.postgres.access import Access
from cxplane.adapters.postgres.connect import PATIENCE_S, asking, connect
from cxplane.domain.errors import StoreUnavailable

SLOW_S = 3600.0  # for what looks at every entry


class Questions:
    """What every part of the store asks by."""

    def __init__(self, dsn: str, pool: Any, access: Access) -> None:
        self._dsn, self._pool, self.access = dsn, pool, access

    async def _rows(self, sql: str, *values: Any, patience_s: float = PATIENCE_S) -> list[Any]:
        """One round trip. While Postgres restarts, a question is asked again for a moment."""
        until = time.monotonic() + patience_s
        while True:
            try:
                with asking():
                    found: list[Any] = await self._pool.fetch(sql, *values)
                    return found
            except StoreUnavailable:
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(0.05)

    async def _slow(self, sql: str, *values: Any, owner: bool = False) -> list[Any]:
        """On a connection of its own, for as long as it takes; not asked again by itself. `owner`: of the tables, not of a tenant."""
        link = await connect(self._dsn, "cxplane slow", None if owner else self.access)
        try:
            with asking():
                found: list[Any] = await link.fetch(sql, *values, timeout=SLOW_S)
                return found
        finally:
            link.terminate()

    async def _row(self, sql: str, *values: Any) -> Any:
        found = await self._rows(sql, *values)
        return found[0] if found else None

    async def _newest(
        self,
        table: str,
        columns: str,
        by: str,
        where: list[str],
        values: list[Any],
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Any], str | None]:
        """A page of rows, newest first, and where the next one starts."""
        if cursor is not None:
            values += rows.time_cursor(cursor)
            where.append(f"({by}, id) < (${len(values) - 1}, ${len(values)})")
        values.append(limit + 1)
        found = await self._rows(
            f"select {columns} from {table} where {' and '.join(where)} order by {by} desc, id desc limit ${len(values)}",
            *values,
        )
        return found[:limit], rows.cursor(found[limit - 1][by], found[limit - 1]["id"]) if len(found) > limit else None
