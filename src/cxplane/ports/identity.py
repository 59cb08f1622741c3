"""Who is asking: credentials in, a caller of the live release out."""

from __future__ import annotations

from typing import Protocol

from cxplane.domain.people import Caller
from cxplane.domain.release import Release


class Directory(Protocol):
    """The callers that the live release knows."""

    @property
    def tenant(self) -> str: ...

    @property
    def release(self) -> Release | None: ...

    def caller(self, name: str) -> Caller:
        """By `kind:id`. Raises CallerUnknown."""
        ...


class Identity(Protocol):
    async def authenticate(self, authorization: str | None, directory: Directory) -> Caller:
        """The caller behind an `Authorization` header.

        Raises CallerUnknown (no, wrong, expired or forged credentials), SystemFailure (the keys of the
        identity provider cannot be had), StoreUnavailable.
        """
        ...

    async def aclose(self) -> None: ...
