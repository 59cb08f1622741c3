"""What sealing the record needs from outside: keys that sign, the sealed tree in the store, a place apart for checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, signature, message): whether the Ed25519 signature fits (RFC 8032)."""


class Signer(Protocol):
    """A private key with a name. No repr and no error shows it."""

    @property
    def name(self) -> str: ...

    @property
    def public(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """How far the record of a tenant is sealed."""

    origin: str
    size: int
    position: int
    frontier: bytes = field(repr=False)
    note: str = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class Unsealed:
    """Settled entries that come next, at most as many as were asked for; of a tree that has `size` leaves."""

    size: int
    positions: Sequence[int] = ()
    leaves: bytes = b""


@dataclass(frozen=True, slots=True)
class Growth:
    """One step of the tree: from `was` leaves to `sealed.size`."""

    was: int
    sealed: Sealed
    tiles: Sequence[tuple[int, int, int | None, bytes]]  # (level, n, first position, hashes to be added)


class Seals(Protocol):
    """The tree in the store. Everything is per tenant."""

    async def sealed(self, tenant: str) -> Sealed | None: ...

    async def next(self, tenant: str, most: int) -> Unsealed: ...

    async def move(self, tenant: str, growth: Growth) -> bool:
        """All of it or nothing; False if the tree no longer has `was` leaves."""
        ...

    async def restart(self, tenant: str, origin: str) -> bool:
        """Forget the tree of that origin, so that another is begun; its checkpoints stay. False if there was none."""
        ...

    async def tiles(self, tenant: str, places: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        """Hashes of (level, n); those that there are."""
        ...

    async def differs(self, tenant: str, first: int, last: int) -> int | None:
        """The first leaf of these tiles of level 0 that its entry does not give any more."""
        ...

    async def checkpoints(
        self, tenant: str, *, origin: str, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, str]]:
        """(size, note), smallest first."""
        ...

    async def checkpoint(self, tenant: str, *, origin: str, size: int) -> str | None: ...

    async def index_of(self, tenant: str, position: int) -> int | None:
        """The leaf of the entry at this position; None if it is not sealed."""
        ...

    async def lines(self, tenant: str, *, after: int, last: int, limit: int) -> Sequence[tuple[int, str]]:
        """(position, line) of entries past `after` up to `last`, in order."""
        ...

    async def lines_of(
        self, tenant: str, streams: Sequence[str], kinds: Sequence[str] = ()
    ) -> Sequence[tuple[int, str]]:
        """(position, line) of all entries of these streams, and of all of these kinds, in order."""
        ...


class Sink(Protocol):
    """Where checkpoints are kept apart from the store. What is there is never changed."""

    def __str__(self) -> str:
        """Where it is, for people."""
        ...

    async def latest(self) -> str | None:
        """The checkpoint with the largest size; None if there is none yet. Raises SinkFailure."""
        ...

    async def put(self, size: int, note: str) -> None:
        """Durable when it returns. Raises SinkFailure."""
        ...
