# ruff: noqa: E402
"""The same leg for Restate: a service whose handler does three calls as `ctx.run` steps. Runs in Restate's own environment.

python restate_service.py PORT EFFECTS_PORT
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])  # this folder has a restate.py of its own
import restate
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from benchmarks.journeys.wire import Effects

effects: Effects
leg = restate.Service("leg")


@leg.handler()
async def run(ctx: restate.Context, name: str) -> str:
    await ctx.run_typed("first", effects.do, key=f"{name}.1")
    await ctx.run_typed("second", effects.do, key=f"{name}.2")
    return await ctx.run_typed("third", effects.do, key=f"{name}.3")


async def main(port: int, system: int) -> None:
    global effects
    effects = Effects(system)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    config.h2_max_concurrent_streams = 10_000
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await serve(restate.app(services=[leg]), config, shutdown_trigger=over.wait)  # type: ignore[arg-type]


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
