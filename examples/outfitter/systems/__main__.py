"""Run one service: `python -m examples.outfitter.systems payment_agent --port 9202 --state payments.json`."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path

import uvicorn

from examples.broadband.systems.service import Service

from . import order_agent, payment_agent, warehouse

SYSTEMS = {
    "order_agent": (order_agent.ROUTES, order_agent.seed),
    "payment_agent": (payment_agent.V1, payment_agent.seed),
    "payment_agent_v2": (payment_agent.V2, payment_agent.seed),
    "warehouse": (warehouse.ROUTES, warehouse.seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="systems", description="One of the example's services, on loopback only.")
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; the address is printed")
    parser.add_argument("--state", type=Path, help="JSON file that keeps the state over a restart (default: memory)")
    parser.add_argument(
        "--token-env", default="", help="environment variable with the bearer token that callers must send"
    )
    chosen = parser.parse_args()

    routes, seed = SYSTEMS[chosen.system]
    token = os.environ.get(chosen.token_env, "") if chosen.token_env else ""
    service = Service(chosen.system, routes, seed, file=chosen.state, token=token)
    if chosen.system == "payment_agent_v2":
        payment_agent.take_over(service)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", chosen.port))
    print(f"{chosen.system} listens on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(service, log_level="critical", timeout_graceful_shutdown=1, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
