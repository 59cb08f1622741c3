"""`cxplane serve`: the plane as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxplane.domain.errors import StoreError
from cxplane.edges.process import listening, log_option, log_to_stderr, loop_factory, settle_memory

if TYPE_CHECKING:
    import uvicorn

    from cxplane.loop import Plane
    from cxplane.wiring import Settings

GRACE_S = 10  # for requests under way, when the plane is asked to stop


@click.command(short_help="Run the plane.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--control",
    envvar="CXPLANE_CONTROL",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Control repo to release at the start, where nothing is live yet.",
)
@click.option("--dsn", envvar="CXPLANE_DSN", help="Postgres to use; by default an embedded one in the data folder.")
@click.option(
    "--data",
    envvar="CXPLANE_DATA",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data folder.  [default: .cxplane]",
)
@click.option("--tenant", envvar="CXPLANE_TENANT", help="Whose plane, where the store serves several.")
@click.option("--now", envvar="CXPLANE_NOW", help="A fixed business time, for demonstrations: 2026-01-05T10:00:00Z.")
@click.option("--no-work", is_flag=True, help="Leave background work to others on the same store: `cxplane work`.")
@log_option
@click.option("--json", "as_json", is_flag=True, help="Say where it serves as one JSON line.")
def serve(
    host: str,
    port: int,
    control: Path | None,
    dsn: str | None,
    data: Path | None,
    tenant: str | None,
    now: str | None,
    no_work: bool,
    level: str,
    as_json: bool,
) -> int:
    """Run the plane: the HTTP API, and the work in the background.

    Without --dsn, an embedded Postgres is started in the data folder. Stops in good order on SIGTERM and Ctrl-C. For more
    load, run more planes and workers (`cxplane work`) on one Postgres.

    \b
    Examples:
      cxplane serve --control control/
      cxplane serve --port 9000 --data /var/lib/cxplane
      cxplane serve --dsn postgresql://cxplane@db/cxplane --no-work
    """
    from cxplane.wiring import settings_from_env

    try:
        settings = settings_from_env(
            host=host,
            port=port,
            control=control,
            dsn=dsn,
            data=data,
            tenant=tenant,
            business_now=_moment(now),
            work=not no_work,
        )
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    log_to_stderr(level)
    listener = listening(host, port)
    try:
        settle_memory()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_serve(settings, listener, as_json))
    finally:
        listener.close()


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--now is a time like 2026-01-05T10:00:00Z, not {text!r}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _serve(settings: Settings, listener: socket.socket, as_json: bool) -> int:
    from cxplane.wiring import open_plane

    running = asyncio.current_task()
    assert running is not None
    stopping = asyncio.Event()
    servers: list[uvicorn.Server] = []
    planes: list[Plane] = []

    def stop() -> None:
        if stopping.is_set():
            for server in servers:
                server.force_exit = True
        stopping.set()
        for server in servers:
            server.should_exit = True
        if not servers:
            running.cancel()

    def drain() -> None:
        """Say first that no more should come, so that nobody meets a closed door."""
        for plane in planes:
            plane.drain()
        if planes and not stopping.is_set():
            loop.call_later(settings.drain.total_seconds(), stop)
        else:
            stop()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        async with open_plane(settings) as plane:
            from cxplane.edges.http.app import http_app
            from cxplane.edges.http.limits import HttpLimits

            if plane.release is None and settings.control is not None:
                await _first_release(plane, settings.control)
            app = http_app(plane, plane.identity, HttpLimits.from_env(), stopping)
            server = _server(app, lambda: _announce(plane, settings, listener, as_json))
            servers.append(server)
            planes.append(plane)
            await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    if stopping.is_set():
        click.echo("cxplane: stopped", err=True)
    return 0


async def _first_release(plane: Plane, control: Path) -> None:
    """Release the control repo, gates and all. ControlError with everything that stands against it."""
    from cxplane.control.release import build, go_live, make_release, run_gates
    from cxplane.domain.errors import ControlError
    from cxplane.wiring import expressions, policy_engine

    release = build(control)
    if (theirs := release.repo.plane.tenant) != plane.tenant:
        raise StoreError(
            f"the control repo is of the tenant {theirs}, and this plane serves {plane.tenant}",
            next="Leave out --tenant and CXPLANE_TENANT, or name the control repo of this tenant.",
        )
    gates = await run_gates(release, policy_engine(), expressions(), store=plane.store)
    if not gates.passed:
        raise ControlError(gates.objections())
    now = datetime.now(UTC)
    await make_release(plane.store, release, gates, by="cxplane", at=now, note=f"first release, of {control.name}")
    await go_live(plane.store, release, by="cxplane", at=now)
    await plane.live.follow()


def _server(app: Any, started: Callable[[], None]) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to us: the plane has to stop in order after the server has."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            started()

    return Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def _announce(plane: Plane, settings: Settings, listener: socket.socket, as_json: bool) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    release = plane.release
    if as_json:
        told = {"url": url, "tenant": plane.tenant, "release": release.hash if release else None}
        click.echo(json.dumps(told))
    else:
        name = release.repo.plane.name if release else "no release yet"
        store = "the Postgres named by --dsn" if settings.dsn else f"embedded in {settings.data}"
        where = "" if url.endswith(":8080") else f" --url {url}"
        click.echo(f"cxplane serves {name} (tenant {plane.tenant}, release {release.short if release else '-'})")
        click.echo(f"  address  {url}   (API: {url}/openapi.json, metrics: {url}/metrics)")
        click.echo(f"  store    {store}")
        if release is None:
            click.echo("  next     cxplane release CONTROL_DIR     nothing is decided before that")
        else:
            data = "" if str(settings.data) == ".cxplane" else f" --data {settings.data}"
            click.echo(
                f"  next     cxplane keys create CALLER --save{data}     get a key, as a caller of the control repo"
            )
            click.echo(f"           cxplane actions{data}{where}     see what may be asked for")
        click.echo("  stop     Ctrl-C")
    sys.stdout.flush()
