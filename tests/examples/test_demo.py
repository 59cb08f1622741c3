"""The demonstration is a test of the whole: real processes, a real store, and every claim of it checked."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demonstration_ends_well_and_every_check_holds() -> None:
    done = subprocess.run(
        [sys.executable, "examples/broadband/demo.py", "--once"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=160,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every check held" in done.stdout
    for shown in ("repeat: nothing done again", "SIGKILL", "policies/credits.cedar:", "ai-giveaways-daily"):
        assert shown in done.stdout
    for secret in ("cxp_", "_TOKEN"):
        assert secret not in done.stdout
