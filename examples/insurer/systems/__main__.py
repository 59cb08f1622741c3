"""Run one system: `python -m examples.insurer.systems claims --port 9302 --state claims.json`."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path

import uvicorn

from examples.broadband.systems.service import Service

from . import claims, complaints, letters, policy_admin

SYSTEMS = {"policy_admin": policy_admin, "claims": claims, "letters": letters, "complaints": complaints}


def main() -> None:
    parser = argparse.ArgumentParser(prog="systems", description="One of the insurer's systems, on loopback only.")
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; the address is printed")
    parser.add_argument("--state", type=Path, help="JSON file that keeps the state over a restart (default: memory)")
    parser.add_argument(
        "--token-env", default="", help="environment variable with the bearer token that callers must send"
    )
    chosen = parser.parse_args()

    module = SYSTEMS[chosen.system]
    token = os.environ.get(chosen.token_env, "") if chosen.token_env else ""
    service = Service(chosen.system, module.ROUTES, module.seed, file=chosen.state, token=token)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", chosen.port))
    print(f"{chosen.system} listens on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(service, log_level="critical", timeout_graceful_shutdown=1, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
