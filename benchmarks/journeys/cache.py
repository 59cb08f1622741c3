"""Peers are installed beside cxplane, never into it: each in its own folder of the cache, at a pinned version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

DBOS = ("dbos==3.4.0", "uvloop==0.22.1")
RESTATE = ("restate-sdk==1.3.0", "hypercorn==0.18.0", "uvloop==0.22.1")
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"


class NotToBeHad(Exception):
    """A peer that cannot be installed or run here. The text says why; the report goes on without it."""


def folder() -> Path:
    """`CXPLANE_BENCH_CACHE`, or a folder in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = Path(os.environ.get("CXPLANE_BENCH_CACHE") or home / "cxplane-bench")
    found.mkdir(parents=True, exist_ok=True)
    return found


def python_with(packages: tuple[str, ...]) -> Path:
    """The interpreter of a virtual environment that has these and nothing else. NotToBeHad says what pip said."""
    name = packages[0].replace("==", "-")
    home = folder() / f"{name}-py{sys.version_info.major}{sys.version_info.minor}"
    python, ready = home / "bin" / "python", home / ".ready"
    wanted = "\n".join(packages)
    if ready.exists() and ready.read_text() == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)], f"a virtual environment for {name}")
    _run([str(python), "-m", "pip", "install", "--quiet", *packages], name)
    ready.write_text(wanted)
    return python


def restate_server() -> Path:
    """The server's program, from its npm package."""
    home = folder() / RESTATE_SERVER.replace("/", "-").strip("@")
    if not (home / ".ready").exists():
        npm = shutil.which("npm")
        if npm is None:
            raise NotToBeHad("the Restate server comes from npm, and there is no npm here")
        home.mkdir(parents=True, exist_ok=True)
        _run([npm, "install", "--silent", "--no-save", "--prefix", str(home), RESTATE_SERVER], "the Restate server")
        (home / ".ready").touch()
    for found in sorted(home.glob("node_modules/@restatedev/restate-server-*/bin/restate-server")):
        return found
    raise NotToBeHad(f"the Restate package in {home} has no program for this machine")


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NotToBeHad(f"{what} could not be installed: {said[-1] if said else done.returncode}")
