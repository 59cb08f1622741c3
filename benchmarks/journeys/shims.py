"""Small C libraries that are compiled on the spot and preloaded into a process, to give it a worse machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.journeys.cache import NotToBeHad


def compiled(source: Path, folder: Path) -> Path:
    """The library made of this source, in the folder. NotToBeHad where there is no C compiler, or it does not take the source."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NotToBeHad(f"no C compiler here, so there is no {source.stem.replace('_', ' ')}")
    made = folder / f"{source.stem}.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotToBeHad(f"{source.name} could not be compiled: {done.stderr.strip()[:300]}")
    made.chmod(0o755)
    return made
