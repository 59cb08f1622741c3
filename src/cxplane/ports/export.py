"""Where exported lines go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cxplane.domain.record import Line


class LineSink(Protocol):
    """Takes lines in order of their positions. What is committed is there once and whole, whatever is killed when.

    Raises ExportFailed.
    """

    @property
    def position(self) -> int:
        """Of the last line that is committed; where to go on."""
        ...

    @property
    def last_sha256(self) -> str:
        """Of the last line that is committed, without its line end; empty if there is none."""
        ...

    def put(self, lines: Sequence[Line]) -> None: ...

    def commit(self) -> None:
        """Everything put so far is durable when it returns."""
        ...

    def drop(self) -> None:
        """Leave it as it was committed last; never raises."""
        ...

    def close(self) -> Mapping[str, Any]:
        """Commit, and say what the place holds now: count, first, last, kinds, files."""
        ...
