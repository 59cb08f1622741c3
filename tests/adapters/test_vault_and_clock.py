from __future__ import annotations

import asyncio
import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from cxplane.adapters.clock import StoreClock, SystemClock
from cxplane.adapters.vault import ChainVault, EnvironmentVault, FolderVault, vault_from
from cxplane.domain.errors import SecretMissing, StoreUnavailable

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


class Keeper:
    """A store's clock, an hour ahead of this machine's, that can be set."""

    def __init__(self) -> None:
        self.ahead = timedelta(hours=1)
        self.down = False

    async def now(self) -> datetime:
        if self.down:
            raise StoreUnavailable("Postgres does not answer")
        await asyncio.sleep(0.01)
        return datetime.now(UTC) + self.ahead


def off(clock: StoreClock) -> float:
    return (clock.now() - datetime.now(UTC)).total_seconds()


async def test_a_plane_goes_by_the_clock_of_its_store_and_follows_it_when_it_is_set() -> None:
    keeper = Keeper()
    clock = StoreClock(keeper.now)
    await clock.look()
    assert abs(off(clock) - 3600) < 1 and abs((clock.business_now() - clock.now()).total_seconds()) < 1
    assert clock.now().tzinfo is UTC
    keeper.ahead = timedelta(hours=-2)
    assert abs(off(clock) - 3600) < 1, "it goes on by itself in between"
    await clock.look()
    assert abs(off(clock) + 7200) < 1


async def test_a_clock_that_agrees_with_the_store_does_not_tremble() -> None:
    keeper = Keeper()
    clock = StoreClock(keeper.now)
    await clock.look()
    first = clock._ahead
    for _ in range(5):
        await clock.look()
    assert clock._ahead == first


async def test_a_store_that_is_away_leaves_the_time_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxplane.adapters.clock.EVERY_S", 0.01)
    keeper = Keeper()
    clock = StoreClock(keeper.now)
    await clock.look()
    keeper.down = True
    following = asyncio.create_task(clock.follow())
    await asyncio.sleep(0.1)
    before = clock.now()
    await asyncio.sleep(0.02)
    assert clock.now() > before and not following.done()
    keeper.down, keeper.ahead = False, timedelta(0)
    for _ in range(500):
        if abs(off(clock)) < 1:
            break
        await asyncio.sleep(0.01)
    assert abs(off(clock)) < 1
    following.cancel()


def test_a_store_clock_with_a_fixed_business_time_keeps_it() -> None:
    fixed = datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert StoreClock(Keeper().now, fixed).business_now() == fixed
