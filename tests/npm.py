"""Tools that come from npm, for tests alone: installed from a lock into a folder of the test's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


def installed(source: Path, folder: Path, what: str) -> str:
    """Install the lock of `source` into `folder`; where node is. Skips where there is none, or no registry outside of CI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip(f"{what} runs on Node, and node and npm are not installed")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        offline = re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH", done.stderr)
        if offline and not os.environ.get("CI"):
            pytest.skip(f"{what} cannot be fetched from here: no npm registry is within reach")
        pytest.fail(f"npm could not install {what}:\n{done.stderr}")
    return node
