"""Between the store and its callers: personal data goes in sealed and comes out plain, or not at all where it was erased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cxplane.adapters.postgres import rows
from cxplane.adapters.postgres.connect import malformed
from cxplane.adapters.postgres.sealing import Damaged, Key, disclosed, key_id, key_ids, opened, sealed_private
from cxplane.adapters.postgres.subject_keys import SubjectKeys
from cxplane.domain.errors import StoreError
from cxplane.domain.record import Entry, NewEntry, Write
from cxplane.domain.retention import Retention, shelf
from cxplane.domain.values import JsonObject


class Private:
    def __init__(self, keys: SubjectKeys) -> None:
        self.keys = keys
        self.retention: dict[str, Retention] = {}  # tenant -> what its live release says

    async def seal(self, write: Write) -> tuple[list[JsonObject | None], tuple[str, ...]]:
        """`private` of each entry as it is kept, and the ids of the keys that seal it. Raises Malformed for what is not JSON."""
        kept: list[JsonObject | None] = []
        used: dict[str, None] = {}
        for entry in write.entries:
            if not entry.private:
                kept.append(entry.private)
                continue
            key = await self._key_for(write.tenant, entry)
            used[key.id] = None
            try:
                kept.append(sealed_private(entry.kind, entry.private, key))
            except (TypeError, ValueError, OverflowError, RecursionError) as problem:
                raise malformed(problem) from None
        return kept, tuple(used)

    async def _key_for(self, tenant: str, entry: NewEntry) -> Key:
        retention = self.retention.get(tenant)
        place, ends = shelf(entry.kind, entry.data, retention, entry.at) if retention else ("", None)
        return await self.keys.to_seal(tenant, entry.subject or "", place, ends)

    async def open(self, tenant: str, value: Any) -> Any:
        """A value of a projection, plain; what was erased is as if it had never been there."""
        return (await self.open_all(tenant, (value,)))[0]

    async def open_all(self, tenant: str, values: Sequence[Any]) -> list[Any]:
        ids = set(_ids(values))
        if not ids:
            return list(values)
        keys, _ = await self.keys.to_open(tenant, ids)
        return [_plain(value, keys) for value in values]

    async def disclosed(self, tenant: str, private: Mapping[str, Any]) -> list[tuple[tuple[str, ...], bytes, str]]:
        """(path, salt, JSON) of each value that is sealed under a name, where its key is still there."""
        values = list(_named(private, ()))
        keys, _ = await self.keys.to_open(tenant, {id for _, text in values if (id := key_id(text))})
        found = []
        for path, text in values:
            if (key := keys.get(key_id(text) or "")) is not None:
                try:
                    salt, plain = disclosed(key, text)
                except Damaged as problem:
                    raise _changed(problem) from None
                found.append((path, salt, plain.decode()))
        return found

    async def entries(self, tenant: str, found: Iterable[Any]) -> list[Entry]:
        """Entries from rows as `rows.ENTRY` lists them."""
        read = [rows.entry(row) for row in found]
        ids = set(_ids([entry.private for entry in read]))
        if not ids:
            return read
        keys, ended = await self.keys.to_open(tenant, ids)
        told = []
        for entry in read:
            mine = list(key_ids(entry.private))
            if mine:
                how = next((ended[id] for id in mine if id in ended), None)
                entry = replace(entry, private=_plain(entry.private, keys) if how is None else None, erased=how)
            told.append(entry)
        return told


def _ids(values: Sequence[Any]) -> Iterable[str]:
    for value in values:
        yield from key_ids(value)


def _plain(value: Any, keys: Mapping[str, Key | None]) -> Any:
    try:
        return opened(value, keys)
    except Damaged as problem:
        raise _changed(problem) from None


def _changed(problem: Damaged) -> StoreError:
    return StoreError(
        f"the record was changed: {problem}", next="Run `cxplane audit verify` on an export, and restore a backup."
    )


def _named(value: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _named(one, (*path, name))
    elif key_id(value) is not None:
        yield path, value
