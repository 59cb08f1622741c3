"""Load on a plane and beside it: governed writes over HTTP, and the same calls between two bare commits."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import asyncpg

from benchmarks.gate.control import POLICIES
from benchmarks.gate.wire import Client


async def load(callers: int, seconds: float, one: Callable[[int, int], Awaitable[None]]) -> dict[str, float]:
    """`callers` at the same time for `seconds`; rate and times of what ended."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def caller(n: int) -> None:
        turn = 0
        while time.perf_counter() < until:
            began = time.perf_counter()
            await one(n, turn)
            times.append(time.perf_counter() - began)
            turn += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller(n) for n in range(callers)))
    took = time.perf_counter() - began
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "per_s": round(len(times) / took, 1),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "count": len(times),
    }


async def governed(port: int, key: str, callers: int, seconds: float, run: str) -> dict[str, float]:
    clients = [Client(port, f"authorization: Bearer {key}\r\n") for _ in range(callers)]

    async def one(n: int, turn: int) -> None:
        input = {"account_id": f"a{n}", "dispute_id": f"{run}.{turn}", "amount": turn % (POLICIES - 1)}
        body = {"action": "billing.credit", "input": input, "customer": "c1"}
        status, told = await clients[n].ask("POST", "/v1/requests", body)
        if status != 200 or told["status"] != "done":
            raise SystemExit(f"a governed write was answered {status}: {told}")

    try:
        return await load(callers, seconds, one)
    finally:
        for client in clients:
            client.close()


async def bare(pool: asyncpg.Pool, port: int, callers: int, seconds: float, mark: str) -> dict[str, float]:
    clients = [Client(port, "") for _ in range(callers)]

    async def one(n: int, turn: int) -> None:
        key = f"{mark}.{callers}.{n}.{turn}"
        await pool.execute("insert into bare (key, state) values ($1, 'begun')", key)
        clients[n]._headers = f"idempotency-key: bare.{key}\r\n"
        await clients[n].ask("POST", "/credits", {"amount": 1})
        await pool.execute("update bare set state = 'done' where key = $1", key)

    try:
        return await load(callers, seconds, one)
    finally:
        for client in clients:
            client.close()
