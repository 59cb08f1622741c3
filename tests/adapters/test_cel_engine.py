"""The engine comes without its command line, which can still be had."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys, cxplane.adapters.cel; print('typer' in sys.modules, 'cel.cli' in sys.modules)", "False False"),
        ("import cxplane.adapters.cel, cel.cli; print(cel.cli.app.info.name)", "cel"),
        (
            "import cxplane.adapters.cel_engine as e; print(e.cel.evaluate('1 + 1'), e.cel.stdlib.__name__)",
            "2 cel.stdlib",
        ),
    ],
)
def test_the_engine_without_its_command_line(text: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
