"""Bare DBOS: a workflow of three steps, each one call. Runs in DBOS's own environment, never in ours.

python dbos_service.py DSN PORT        then lines like {"in_flight": 32, "seconds": 4} on stdin
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import uvloop
from dbos import DBOS, DBOSConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.journeys.loads import closed_loop, commands
from benchmarks.journeys.wire import Effects

effects: Effects


@DBOS.step()
async def first(leg: str) -> str:
    return await effects.do(f"{leg}.1")


@DBOS.step()
async def second(leg: str) -> str:
    return await effects.do(f"{leg}.2")


@DBOS.step()
async def third(leg: str) -> str:
    return await effects.do(f"{leg}.3")


@DBOS.workflow()
async def leg(name: str) -> str:
    await first(name)
    await second(name)
    return await third(name)


async def main(dsn: str, port: int) -> None:
    global effects
    effects = Effects(port)
    config: DBOSConfig = {
        "name": "bare",
        "system_database_url": dsn,
        "application_version": "1",
        "executor_id": "A",
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()

    async def do(asked: dict[str, Any]) -> Any:
        mark = f"{os.getpid()}.{asked['in_flight']}.{asked.get('mark', '')}"

        async def one(n: int) -> None:
            await leg(f"{mark}.{n}")

        return await closed_loop(asked["in_flight"], asked["seconds"], one, warm=asked.get("warm", 1.0))

    await commands(do)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
