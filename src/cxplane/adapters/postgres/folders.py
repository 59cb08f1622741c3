"""Who owns the folders of the embedded Postgres, and the locks in them."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxplane.domain.errors import StoreError

log = logging.getLogger("cxplane.store")

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_LIMIT = 103  # bytes of a unix socket's path that every system takes
USER = "cxplane"


class FileLock:
    """A lock on a file that ends with the process that holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def try_alone(self) -> bool:
        return self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def share(self) -> None:
        self._take(fcntl.LOCK_SH)

    def write(self, text: str) -> None:
        assert self._file is not None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)

    def read(self) -> str:
        try:
            return self._path.read_text().strip()
        except OSError:
            return ""

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take(self, how: int) -> bool:
        assert self._file is None
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StoreError(
                f"{self._path} cannot be opened: {problem.strerror}",
                next="Run as the user who owns the folder, or name another one with CXPLANE_DATA.",
            ) from None
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom Postgres runs as. Postgres refuses root, so root hands it to an ordinary user."""

    uid: int | None = None  # None: as we are
    gid: int | None = None

    @property
    def popen(self) -> dict[str, Any]:
        """For subprocess: the user, and an environment in which no PG… setting of ours leads it astray."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        if self.uid is None:
            return {"env": keep}
        return {"env": keep, "user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def owner_of_store(data: Path, binaries: Path) -> Owner:
    """The owner of the data where there is some; else us, or, if we are root, a system user made for it."""
    if os.geteuid() != 0:
        if data.exists() and data.stat().st_uid != os.geteuid():
            raise StoreError(
                f"the store in {data.parent} belongs to another user",
                next="Run as that user, or name another folder with CXPLANE_DATA.",
            )
        return Owner()
    if data.exists() and (there := data.stat()).st_uid != 0:
        owner = Owner(there.st_uid, there.st_gid)
    else:
        owner = _system_user()
    for way in (data, binaries):
        _let_through(way)
    return owner


def _system_user() -> Owner:
    import pwd

    for name in (USER, "postgres"):
        try:
            found = pwd.getpwnam(name)
            return Owner(found.pw_uid, found.pw_gid)
        except KeyError:
            pass
    if useradd := shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
        made = subprocess.run(  # noqa: S603
            [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER], capture_output=True
        )
        if made.returncode == 0:
            log.info("made the system user %s: Postgres does not run as root", USER)
            found = pwd.getpwnam(USER)
            return Owner(found.pw_uid, found.pw_gid)
    found = pwd.getpwnam("nobody")
    return Owner(found.pw_uid, found.pw_gid)


def _let_through(path: Path) -> None:
    """Let others pass (not list) the folders above, where root's own would stop the user whom Postgres runs as."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            try:
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            except OSError as problem:
                raise StoreError(
                    f"Postgres cannot pass {folder} when started by root: {problem.strerror}",
                    next="Name a folder outside with CXPLANE_DATA, or run as an ordinary user.",
                ) from None
            log.warning("%s: others may now pass through it (not list it), so that Postgres reaches its files", folder)


def socket_folder(data: Path, owner: Owner) -> Path:
    """The data folder itself, which only its owner can enter; a short one where the path is too long for a socket."""
    if len(str(data / SOCKET_NAME).encode()) <= SOCKET_LIMIT:
        return data
    name = hashlib.sha256(str(data).encode()).hexdigest()[:16]
    for base in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108
        folder = base / f"cxplane-{name}"
        if len(str(folder / SOCKET_NAME)) > SOCKET_LIMIT:
            continue
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            owner.own(folder)
        if folder.is_symlink() or folder.stat().st_uid != (os.geteuid() if owner.uid is None else owner.uid):
            raise StoreError(
                f"{folder} belongs to somebody else", next="Name a folder with a shorter path with CXPLANE_DATA."
            )
        folder.chmod(0o700)
        return folder
    raise StoreError("no folder is short enough for a socket", next="Name one with a shorter path with CXPLANE_DATA.")
