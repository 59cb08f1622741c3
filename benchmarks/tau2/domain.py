"""What a domain gives to the replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tau2.world import System


@dataclass(frozen=True)
class Domain:
    name: str
    control: Path  # its control repo
    system: Callable[[Path], System]  # data folder -> system of record at its beginning
    owner: Callable[[System, Mapping[str, Any]], str | None]  # the user that a call is about
    users: str  # the table of users
    finds: frozenset[str]  # operations whose result is the id of the user who was asked for
    whole: frozenset[str]  # the arguments that its tools describe as whole numbers
    now: str  # the business time of the recordings
