"""A plane seals by itself; its keys come from the vault, or from the data folder of an embedded store."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cxplane.adapters.signing import Ed25519Signer, new_private_key
from cxplane.domain.errors import SealKeyWrong
from cxplane.edges.cli.app import run as cli
from cxplane.record.note import Key, parse_checkpoint
from cxplane.wiring import Settings, open_plane, rotate_seal_key, seal_key_file, seal_signers, settings_from_env
from tests.connectors.fake import FakeSystem
from tests.loop.world import TENANT, World, control, release

KEY = new_private_key(f"cxplane/{TENANT}")


async def sealed_to(sink: Path, size: int) -> None:
    async with asyncio.timeout(30):
        while True:
            latest = sink / TENANT / "latest"
            if latest.exists() and parse_checkpoint(latest.read_text()).size >= size:
                return
            await asyncio.sleep(0.05)


async def test_a_plane_seals_what_it_does(dsn: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CXPLANE_SEAL_KEY", KEY)
    billing = await FakeSystem().start()
    settings = Settings(dsn=dsn, data=tmp_path, seal_every=timedelta(seconds=0.1), system_urls={"billing": billing.url})
    try:
        await release(settings, control())
        async with open_plane(settings) as plane:
            await World(plane, billing, settings).know()
            await World(plane, billing, settings).ask()
            entries = await plane.store.entries(TENANT, limit=1000)
            await sealed_to(tmp_path / "seals", len(entries))
            assert plane.seal_trouble is None
            seal = [(c.status, c.said) for c in await plane.health.checks() if c.name == "seal"]
            assert seal == [("ok", "goes on")]
            assert plane.sealer is not None
            plane.sealer.trouble = "it was set back"
            seal = [(c.status, c.said) for c in await plane.health.checks() if c.name == "seal"]
            assert seal == [("warn", "it was set back")]
            assert b"cxplane_sealed_entries" in plane.telemetry.render()[0]
    finally:
        await billing.stop()


async def test_a_plane_on_a_postgres_of_ones_own_without_a_key_says_that_it_does_not_seal(
    dsn: str, tmp_path: Path, caplog: Any
) -> None:
    async with _plane(Settings(dsn=dsn, tenant=TENANT, data=tmp_path, work=False)) as plane:
        assert plane.sealer is None
    assert "NOT sealed" in caplog.text and not (tmp_path / "keys").exists()


def _plane(settings: Settings) -> Any:
    return open_plane(settings)


def test_the_key_of_an_embedded_store_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    assert seal_signers(settings, "acme", make=False) == ()
    (first,) = seal_signers(settings, "acme")
    (again,) = seal_signers(settings, "acme")
    assert first.public == again.public and first.name == "cxplane/acme"
    assert stat.S_IMODE(seal_key_file(settings).stat().st_mode) == 0o600
    (beside,) = seal_signers(Settings(data=tmp_path, dsn="postgresql://…", embedded=True), "acme")  # a worker's
    assert beside.public == first.public
    assert seal_signers(Settings(data=tmp_path, dsn="postgresql://…"), "acme") == ()


def test_a_new_key_stands_before_the_old_one(tmp_path: Path, monkeypatch: Any) -> None:
    settings = Settings(data=tmp_path)
    (old,) = seal_signers(settings, "acme")
    _, public, kept = rotate_seal_key(settings, "acme", new_tree=False)
    assert kept == str(seal_key_file(settings))
    new, before = seal_signers(settings, "acme")
    assert str(Key(new.name, new.public)) == public and before.public == old.public and new.name == old.name
    rotate_seal_key(settings, "acme", new_tree=True)
    assert [s.name for s in seal_signers(settings, "acme")] == ["cxplane/acme@2", "cxplane/acme", "cxplane/acme"]
    monkeypatch.setenv("CXPLANE_SEAL_KEY", KEY)
    own = replace(settings, dsn="postgresql://nobody@127.0.0.1/x")
    secret, _, kept = rotate_seal_key(own, "acme", new_tree=False)
    assert kept is None and secret.split()[1] == KEY and Ed25519Signer(secret.split()[0]).name == f"cxplane/{TENANT}"


def test_without_the_old_key_there_is_no_next_one(tmp_path: Path, monkeypatch: Any) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "CXPLANE_SEAL_KEY").write_text("")  # a shell empties the file before the command that writes to it runs
    own = Settings(data=tmp_path, dsn="postgresql://nobody@127.0.0.1/x", secrets=secrets)
    with pytest.raises(SealKeyWrong, match="is missing") as told:
        rotate_seal_key(own, "acme", new_tree=True)
    assert "its own file" in told.value.next


def test_a_key_that_everybody_may_read_is_not_taken_for_none(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("CXPLANE_SEAL_KEY", raising=False)
    file = tmp_path / "CXPLANE_SEAL_KEY"
    file.write_text(KEY)
    file.chmod(0o644)
    with pytest.raises(SealKeyWrong, match="everybody") as told:
        seal_signers(Settings(data=tmp_path, dsn="postgresql://nobody@127.0.0.1/x", secrets=tmp_path), "acme")
    assert "chmod 600" in told.value.next


def test_a_key_can_be_made_before_there_is_a_store_and_none_is_made_for_it(
    empty_dsn: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.delenv("CXPLANE_DSN", raising=False)
    new = ["audit", "keys", "new", "--json", "--data", str(tmp_path / "data")]
    for where in ([], ["--dsn", empty_dsn]):
        assert cli([*new, *where]) == 2
        assert "--tenant" in capsys.readouterr().out
        assert cli([*new, *where, "--tenant", "acme"]) == 0
        assert json.loads(capsys.readouterr().out)["public"].startswith("cxplane/acme+")
    assert not (tmp_path / "data").exists()


def test_a_key_that_cannot_be_used_stops_the_start_and_is_not_shown(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CXPLANE_SEAL_KEY", KEY[:-6])
    with pytest.raises(SealKeyWrong) as told:
        seal_signers(Settings(data=tmp_path), "acme")
    assert KEY[30:60] not in f"{told.value} {told.value.next}"


def test_settings_of_the_seal_come_from_the_environment() -> None:
    found = settings_from_env({"CXPLANE_SEAL_SINK": "/mnt/x", "CXPLANE_SEAL_EVERY": "2s"})
    assert (found.seal_sink, found.seal_every) == ("/mnt/x", timedelta(seconds=2))
    with pytest.raises(ValueError, match="CXPLANE_SEAL_EVERY"):
        settings_from_env({"CXPLANE_SEAL_EVERY": "often"})
