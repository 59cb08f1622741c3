"""Closed loop: so many at the same time, each starts the next one when its own has ended. Standard library only."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def closed_loop(
    in_flight: int, seconds: float, one: Callable[[int], Awaitable[None]], *, warm: float = 1.0
) -> dict[str, float]:
    """`one(n)` again and again. Measured are about `seconds` in the middle: after `warm`, and after everybody has ended one.

    Many in flight tend to end together. So what is measured begins and ends when as many have ended as are in flight, or a
    multiple of it: a wave is counted whole or not at all.
    """
    times: list[float] = []
    started = ended = 0
    began = time.perf_counter()
    since = until = float("inf")
    cpu = [0.0, 0.0]

    async def caller() -> None:
        nonlocal started, ended, since, until
        while (at := time.perf_counter()) < until:
            started += 1
            await one(started)
            ended += 1
            now = time.perf_counter()
            whole = ended % in_flight == 0
            if since < now < until:
                times.append(now - at)
                if whole and now - since >= seconds:
                    until, cpu[1] = now, time.process_time()
            elif whole and now - began >= warm and since == float("inf"):
                since, cpu[0] = now, time.process_time()

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return figures(times, until - since) | {
        "cpu_ms": round((cpu[1] - cpu[0]) * 1000 / max(1, len(times)), 2),
        "all": started,
    }


def figures(times: list[float], took: float) -> dict[str, float]:
    """Legs/s and the times of legs in ms."""
    ordered = sorted(times)

    def at(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000, 1) if ordered else 0.0

    return {"per_s": round(len(times) / took, 1), "p50_ms": at(0.5), "p99_ms": at(0.99), "count": len(times)}


async def commands(do: Callable[[dict[str, Any]], Awaitable[Any]], ready: Any = True) -> None:
    """Say that we are ready, then answer lines of JSON on stdin, until it ends."""
    out = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # whatever a library prints is not an answer
    print(json.dumps({"ready": ready}), file=out, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            told = await do(json.loads(line))
        except Exception as problem:  # it is told on; who asked decides
            told = {"error": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(told), file=out, flush=True)
