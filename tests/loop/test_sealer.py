"""The sealer on the real store: it resumes anywhere, signs one tree only, and says when the record is not what was signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cxplane.adapters.clock import SystemClock
from cxplane.adapters.postgres.store import PostgresStore
from cxplane.adapters.signing import new_private_key, signers_from, verify
from cxplane.adapters.sinks import FolderSink
from cxplane.adapters.telemetry import PrometheusTelemetry
from cxplane.domain.errors import SealBroken, SinkFailure
from cxplane.domain.record import NewEntry, Write
from cxplane.loop import sealer as sealing
from cxplane.loop.seal_keys import announce
from cxplane.loop.sealer import Sealer
from cxplane.record import merkle
from cxplane.record.note import parse_checkpoint, parse_note, split_notes
from tests.contracts.writes import T, allowed

KEY = new_private_key(f"cxplane/{T}")


def made(store: PostgresStore, folder: Path, keys: str = KEY) -> Sealer:
    return Sealer(T, store, signers_from(keys), FolderSink(folder), SystemClock(), PrometheusTelemetry(), verify)


async def write(store: PostgresStore, *ids: str) -> None:
    await asyncio.gather(*(store.append(allowed(id, f"k-{id}")) for id in ids))


async def tamper(dsn: str, *statements: str) -> None:
    """As somebody who owns the database can."""
    link = await asyncpg.connect(dsn)
    try:
        await link.execute("set session_replication_role = replica")
        for statement in statements:
            await link.execute(statement)
    finally:
        await link.close()


async def root_of_all(store: PostgresStore) -> tuple[int, bytes]:
    lines = await store.seals.lines(T, after=0, last=2**62, limit=10**6)
    return len(lines), merkle.root_of([merkle.leaf_hash(line.encode()) for _, line in lines])


def in_sink(folder: Path) -> list[Any]:
    return [parse_checkpoint(n) for n in split_notes((folder / "checkpoints").read_text())]


async def test_entries_come_under_signed_checkpoints_as_they_settle(store: PostgresStore, tmp_path: Path) -> None:
    sealer = made(store, tmp_path)
    for ids in (["a"], ["b", "c"], [f"d{n}" for n in range(300)]):
        await write(store, *ids)
        assert await sealer.step() > 0
        last = in_sink(tmp_path)[-1]
        assert (last.size, last.root) == await root_of_all(store)
        assert last.note.signed_by(sealer.keys, verify)
    assert await sealer.step() == 0 and len(in_sink(tmp_path)) == 3
    assert (tmp_path / "latest").read_text().startswith(f"cxplane/{T}\n{last.size}\n")


async def test_many_entries_are_sealed_in_pieces(store: PostgresStore, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sealing, "MOST", 100)
    await write(store, *(f"r{n}" for n in range(120)))
    assert await made(store, tmp_path).step() == 241  # and the entry that announces the key
    assert [c.size for c in in_sink(tmp_path)] == [100, 200, 241]


async def test_a_sealer_goes_on_where_another_was_killed(
    store: PostgresStore, tmp_path: Path, monkeypatch: Any
) -> None:
    await write(store, "a", "b")
    first = made(store, tmp_path)

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for place in ("next", "move"):  # before and after it asked what comes
        with monkeypatch.context() as patch:
            patch.setattr(store.seals, place, killed)
            with pytest.raises(KeyboardInterrupt):
                await first.step()
    with monkeypatch.context() as patch:  # in the store, and not sent
        patch.setattr(FolderSink, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            await first.step()
    assert not (tmp_path / "latest").exists()
    await write(store, "c")
    await made(store, tmp_path).step()
    assert [c.size for c in in_sink(tmp_path)] == [5, 7]
    assert in_sink(tmp_path)[-1].root == (await root_of_all(store))[1]


@pytest.mark.parametrize("folders", [4, 1], ids=["each with its sink", "with one sink"])
async def test_planes_that_seal_side_by_side_sign_one_tree(store: PostgresStore, tmp_path: Path, folders: int) -> None:
    sealers = [made(store, tmp_path / str(n % folders)) for n in range(4)]
    for round in range(8):
        await write(store, *(f"r{round}-{n}" for n in range(9)))
        await asyncio.gather(*(s.step() for s in sealers))
    for s in sealers:
        await s.step()
    by_size = {}
    for n in range(folders):
        for checkpoint in in_sink(tmp_path / str(n)):
            assert by_size.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root
    assert max(by_size.items()) == await root_of_all(store)


async def test_a_sink_that_fails_stops_no_seal_and_gets_what_it_missed(store: PostgresStore, tmp_path: Path) -> None:
    blocked = tmp_path / "sink"
    blocked.write_text("a file where the folder should be")
    sealer = made(store, blocked)
    for id in ("a", "b"):
        await write(store, id)
        with pytest.raises(SinkFailure):
            await sealer.step()
    assert sealer.trouble is not None and "cannot be" in sealer.trouble
    sealed = await store.seals.sealed(T)
    assert sealed is None or sealed.size <= 5
    blocked.unlink()
    await sealer.step()
    assert sealer.trouble is None
    assert in_sink(blocked)[-1].size == 5


CHANGES = {
    "a changed entry": "update cxplane.entry set actor = 'agent:other' where position = 2",
    "a removed entry": "delete from cxplane.entry where position = 2",
    "a changed time": "update cxplane.entry set at = at + interval '1 microsecond' where position = 5",
    "an entry put in between": "insert into cxplane.entry select 280, at, tenant, stream, kind, actor, release, cause, takes,"
    " body, private from cxplane.entry where position = 279",
    "a renamed release": "update cxplane.release_name set hash = 'other'",
}


@pytest.fixture
async def sealed(store: PostgresStore, tmp_path: Path) -> AsyncIterator[Sealer]:
    await write(store, *(f"r{n}" for n in range(150)))
    sealer = made(store, tmp_path)
    await sealer.step()
    sealer._rests_until -= timedelta(hours=1)
    return sealer


@pytest.mark.parametrize("change", CHANGES)
async def test_looking_again_finds(change: str, sealed: Sealer, dsn: str, caplog: Any) -> None:
    sql = CHANGES[change]
    if "put in between" in change:
        sql = sql.replace("select 280", "select 279")  # a second one at the place of the first
    await tamper(dsn, sql)
    with pytest.raises(SealBroken, match="entry number"):
        await sealed.step()
    assert sealed.trouble is not None and "NOT WHAT WAS SIGNED" in caplog.text
    assert b'cxplane_seal_trouble{what="record"} 1' in sealed._telemetry.render()[0]


async def test_looking_again_finds_nothing_in_a_good_record(sealed: Sealer) -> None:
    await sealed.step()
    assert sealed.trouble is None and sealed._rests_until > sealed._clock.now() + timedelta(hours=23)


async def test_entry_and_hash_changed_together_are_found_by_the_root(sealed: Sealer, dsn: str) -> None:
    await tamper(
        dsn,
        CHANGES["a changed entry"],
        "update cxplane.tile t set hashes = substr(hashes, 1, 32) || (select cxplane.leaf(e) from cxplane.entry e where position = 2)"
        " || substr(hashes, 65) where level = 0 and n = 0",
    )
    with pytest.raises(SealBroken, match="hashes of entries 0"):
        await sealed.step()


@pytest.mark.parametrize(
    "change",
    [
        "update cxplane.seal set frontier = sha256('x') || substr(frontier, 33)",
        "update cxplane.seal set note = replace(note, E'\\n301\\n', E'\\n302\\n')",
        "update cxplane.seal set size = size - 1",
        "update cxplane.seal set origin = 'cxplane/other'",
        "delete from cxplane.seal",
        "delete from cxplane.seal; delete from cxplane.tile; delete from cxplane.checkpoint",
        "delete from cxplane.tile where level = 0 and n = 1",
    ],
)
async def test_nothing_is_signed_on_a_tree_that_was_not_signed(
    change: str, sealed: Sealer, store: PostgresStore, dsn: str, tmp_path: Path
) -> None:
    before = len(in_sink(tmp_path))
    await tamper(dsn, change)
    await write(store, "new")
    for sealer in (sealed, made(store, tmp_path)):
        with pytest.raises(SealBroken):
            await sealer.step()
    assert len(in_sink(tmp_path)) == before


async def test_a_store_that_was_set_back_is_not_signed_again_until_a_new_tree_is_begun(
    sealed: Sealer, store: PostgresStore, dsn: str, tmp_path: Path
) -> None:
    link = await asyncpg.connect(dsn)
    kept = await link.fetch("select * from cxplane.seal"), await link.fetch("select * from cxplane.tile")
    await link.close()
    await write(store, "lost")
    await sealed.step()
    await tamper(
        dsn,
        "delete from cxplane.entry where stream = 'lost'",
        f"update cxplane.seal set size = {kept[0][0]['size']}, position = {kept[0][0]['position']},"
        f" frontier = '\\x{kept[0][0]['frontier'].hex()}', note = $q${kept[0][0]['note']}$q$",
        f"update cxplane.tile set hashes = substr(hashes, 1, {max(len(r['hashes']) for r in kept[1] if r['n'] == 1)}) where n = 1",
        f"delete from cxplane.checkpoint where size > {kept[0][0]['size']}",
    )
    await write(store, "other")
    with pytest.raises(SealBroken, match="set back") as told:
        await made(store, tmp_path).step()
    assert "--new-tree" in told.value.next
    both = f"{new_private_key(f'cxplane/{T}/2')} {KEY}"
    again = made(store, tmp_path, both)
    assert await again.step() == (await root_of_all(store))[0]
    last = in_sink(tmp_path)[-1]
    assert last.origin == f"cxplane/{T}/2" and (last.size, last.root) == await root_of_all(store)
    assert len(last.note.signed_by(again.keys, verify)) == 2
    with pytest.raises(SealBroken, match="none of the keys"):
        await made(store, tmp_path).step()  # a plane that has the old key only


@pytest.mark.parametrize("sink", ["kept", "lost with the store"])
async def test_a_store_that_says_it_came_back_is_not_signed_on_whatever_the_sink_knows(
    sink: str, sealed: Sealer, store: PostgresStore, tmp_path: Path, caplog: Any, monkeypatch: Any
) -> None:
    keys = KEY
    folder = tmp_path if sink == "kept" else tmp_path / "fresh"
    await sealed.look()
    before = len(in_sink(tmp_path))
    for name in (f"cxplane/{T}@2", f"cxplane/{T}@3"):  # and it comes back once more
        restored = NewEntry("store.restored", "store", datetime.now(UTC), "operator:sam", {"position": 3})
        await store.append(Write(T, (restored,)))
        for n in range(2):
            sealer = made(store, folder, keys)
            with pytest.raises(SealBroken, match=r"set back to an earlier moment \(entry \d+ says so\)"):
                await sealer.step()
            assert sealer.trouble is not None and "--new-tree" in sealer.trouble and "--new-tree" in caplog.text
            with pytest.raises(SealBroken, match="set back"):
                await sealer.look()
            await write(store, f"more-{name}-{n}")
        assert len(in_sink(tmp_path)) == before
        monkeypatch.setattr(sealing, "MOST", 200)  # what is restored comes under a later checkpoint of the new tree
        keys = f"{new_private_key(name)} {keys}"
        unsaid = made(store, folder, keys)  # a key that was used, and whose announcement is lost, looks the same
        for step in (unsaid.step, unsaid.look):
            with pytest.raises(SealBroken, match="set back"):
                await step()
        await announce(store, signers_from(keys), at=datetime.now(UTC))
        again = made(store, folder, keys)
        await again.step()
        last = in_sink(folder)[-1]
        assert last.origin == name and (last.size, last.root) == await root_of_all(store)
        await write(store, f"goes-on-{name}")
        assert await again.step() == 2
        assert await again.look() == again.sealed
        before = len(in_sink(tmp_path))


async def test_a_new_key_is_announced_and_endorsed_by_the_old_one_and_both_sign(
    sealed: Sealer, store: PostgresStore, tmp_path: Path
) -> None:
    new = new_private_key(f"cxplane/{T}")
    await write(store, "x")
    with pytest.raises(SealBroken, match="none of the keys"):
        await made(store, tmp_path, new).step()
    rotated = made(store, tmp_path, f"{new}\n{KEY}")
    await rotated.step()
    last = in_sink(tmp_path)[-1]
    assert last.note.signed_by(rotated.keys, verify) == rotated.keys
    alone = made(store, tmp_path, new)
    await write(store, "y")
    await alone.step()
    assert in_sink(tmp_path)[-1].note.signed_by(rotated.keys, verify) == alone.keys
    announced = [e.body for e in await store.entries(T, kind="seal.key")]
    assert [b["key"] for b in announced] == [str(sealed.keys[0]), str(rotated.keys[0])] and "endorsed" not in announced[
        0
    ]
    endorsed = parse_note(announced[1]["endorsed"])
    assert endorsed.text == f"cxplane seal key\n{rotated.keys[0]}\n" and endorsed.signed_by(sealed.keys, verify)
