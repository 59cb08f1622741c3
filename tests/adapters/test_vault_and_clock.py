from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from cxplane.adapters.clock import SystemClock
from cxplane.adapters.vault import ChainVault, EnvironmentVault, FolderVault, vault_from
from cxplane.domain.errors import SecretMissing

VALUE = "s3cret-planted"


def file(folder: Path, name: str, text: str = VALUE + "\n", mode: int = 0o600) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(mode)


def test_the_environment_gives_the_named_one_first() -> None:
    vault = EnvironmentVault({"TOKEN": "plain", "CXPLANE_SECRET_TOKEN": VALUE, "OTHER": "o", "EMPTY": ""})
    assert (vault.secret("TOKEN"), vault.secret("OTHER")) == (VALUE, "o")
    for name in ("MISSING", "EMPTY", "", "A B"):
        with pytest.raises(SecretMissing):
            vault.secret(name)


def test_a_file_holds_one_secret_without_its_line_end(tmp_path: Path) -> None:
    file(tmp_path, "TOKEN")
    vault = FolderVault(tmp_path)
    assert vault.secret("TOKEN") == VALUE
    file(tmp_path, "TOKEN", "changed")
    assert vault.secret("TOKEN") == "changed"


@pytest.mark.parametrize(
    "name", ["../TOKEN", "/etc/hostname", "a/b", ".", "..", "MISSING", "EMPTY", "FOLDER", "BINARY"]
)
def test_only_a_plain_file_of_the_folder_is_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    file(tmp_path, "TOKEN")
    file(folder, "EMPTY", "\n")
    (folder / "FOLDER").mkdir()
    (folder / "BINARY").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretMissing):
        FolderVault(folder).secret(name)


def test_a_file_that_everybody_may_read_is_refused_and_says_how_to_repair_it(tmp_path: Path) -> None:
    file(tmp_path, "TOKEN", mode=0o644)
    for vault in (
        FolderVault(tmp_path),
        ChainVault([EnvironmentVault({}), FolderVault(tmp_path), EnvironmentVault({})]),
    ):
        with pytest.raises(SecretMissing) as caught:
            vault.secret("TOKEN")
        assert "chmod 600" in caught.value.next
        assert VALUE not in "".join(traceback.format_exception(caught.value)) + caught.value.next


def test_a_chain_asks_one_after_the_other(tmp_path: Path) -> None:
    file(tmp_path, "FILE_TOKEN")
    vault = vault_from({"TOKEN": "from the environment"}, tmp_path)
    assert (vault.secret("TOKEN"), vault.secret("FILE_TOKEN")) == ("from the environment", VALUE)
    with pytest.raises(SecretMissing, match="MISSING"):
        vault.secret("MISSING")


def test_no_vault_shows_what_it_holds(tmp_path: Path) -> None:
    for vault in (EnvironmentVault({"TOKEN": VALUE}), FolderVault(tmp_path), vault_from({"TOKEN": VALUE}, tmp_path)):
        assert VALUE not in f"{vault!r} {vault}"


def test_business_time_stands_still_where_it_is_fixed() -> None:
    fixed = datetime(2026, 1, 5, 11, tzinfo=timezone(timedelta(hours=1)))
    clock = SystemClock(fixed)
    assert clock.business_now() == clock.business_now() == datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert clock.business_now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    running = SystemClock()
    assert running.business_now() <= running.now()


def test_a_fixed_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        SystemClock(datetime(2026, 1, 5, 10))  # noqa: DTZ001
