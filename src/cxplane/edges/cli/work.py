"""`cxplane work`: a worker process, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from cxplane.edges.cli.local import store_options
from cxplane.edges.cli.show import json_option
from cxplane.edges.process import listening, log_option, log_to_stderr, loop_factory, settle_memory
from cxplane.edges.watching import watched

if TYPE_CHECKING:
    from cxplane.wiring import Settings


@click.command(short_help="Run a worker: background work, without HTTP.")
@click.option(
    "--concurrency",
    default=256,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Pieces of work at once; most of them wait for a system.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Answer /metrics, /health/live and /health/ready here; 0 takes a free port.",
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address for it.")
@log_option
@json_option
@store_options
def work(
    settings: Settings, concurrency: int, metrics_port: int | None, metrics_host: str, level: str, as_json: bool
) -> int:
    """Do the work in the background of a plane: steps of journeys, times that come, outcomes to be found out.

    Any number of workers share one store with any number of planes; the work of one that dies is taken over by the
    others within seconds. Let planes leave it to them with `cxplane serve --no-work`. Stops in good order on SIGTERM and
    Ctrl-C: what was begun comes to an end.

    \b
    Examples:
      cxplane work --dsn postgresql://cxplane@db/cxplane
      cxplane work --data /var/lib/cxplane --concurrency 64 --metrics-port 9464
    """
    log_to_stderr(level)
    settle_memory()
    with contextlib.ExitStack() as stack:
        listener = None
        if metrics_port is not None:
            listener = stack.enter_context(contextlib.closing(listening(metrics_host, metrics_port)))
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory()))
        return runner.run(_work(settings, concurrency, listener, as_json))


async def _work(settings: Settings, concurrency: int, listener: socket.socket | None, as_json: bool) -> int:
    from cxplane.wiring import open_dsn, open_plane

    running = asyncio.current_task()
    assert running is not None
    stopping = asyncio.Event()
    ready = False

    def stop() -> None:
        stopping.set()
        if not ready:
            running.cancel()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    try:
        async with (
            open_dsn(settings) as dsn,  # shares an embedded store with the plane that serves from it
            open_plane(
                replace(settings, dsn=dsn, embedded=settings.dsn is None, concurrency=concurrency, work=True)
            ) as plane,
            watched(plane, listener) if listener else contextlib.nullcontext(),
        ):
            ready = True
            release = plane.release
            if as_json:
                told = {"working": True, "tenant": plane.tenant, "release": release.hash if release else None}
                click.echo(json.dumps({**told, "metrics": _url(listener)} if listener else told))
            else:
                where = f"; metrics at {_url(listener)}" if listener else ""
                click.echo(f"working{where}; stop with Ctrl-C")
            await stopping.wait()
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    click.echo("cxplane: stopped", err=True)
    return 0


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
