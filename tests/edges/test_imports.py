"""What only works with files is quick to start: it imports nothing that speaks to a store, a system or a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cxplane.control.init import init

HEAVY = ("asyncio", "asyncpg", "cryptography", "httpx", "jsonschema", "litestar", "prompt_toolkit", "typer")
TEXT = f"""
import sys
from cxplane.edges.cli.app import run
code = run(sys.argv[1:])
print(code, sorted(sys.modules.keys() & set({HEAVY})))
"""


@pytest.mark.parametrize("command", ["--help", "check", "init", "check --help"])
def test_a_command_for_files_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "control"
    if command == "check":
        init(folder)
    place = [str(folder)] if command in ("check", "init") else []
    asked = [sys.executable, "-c", TEXT, *command.split(), *place]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
