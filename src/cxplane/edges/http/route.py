"""What a route is: one table that the router, the checks and /openapi.json are made from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cxplane.domain.errors import Malformed
from cxplane.domain.people import Caller

if TYPE_CHECKING:
    from cxplane.loop import Plane

PAGE = 50
PAGE_MOST = 200


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter. `values`: the only ones there are. `least`, `most`: of an integer, as `Call.whole` holds it to them."""

    name: str
    text: str
    type: str = "string"  # string | integer | boolean
    values: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked: the caller is known, the body has its shape, the query only what the route takes."""

    plane: Plane
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = field(repr=False)  # the route's struct
    sent: Any = field(repr=False)  # the JSON as it came
    accept: str
    media: str  # of the body, without parameters; "" without a body
    headers: Mapping[str, str] = field(repr=False)  # lower-case names; filled for routes that read `media` or stream
    idempotency_key: str | None
    rest: Callable[[float], Awaitable[bool]]  # sleep without a place in work; False: the plane stops

    again: Callable[[], Awaitable[Caller]]  # who is asking, asked anew; raises CallerUnknown
    stopping: asyncio.Event  # set once the plane stops

    @property
    def cursor(self) -> str | None:
        return self.query.get("cursor")

    @property
    def limit(self) -> int:
        return self.whole("limit", default=PAGE, least=1, most=PAGE_MOST)

    def whole(self, name: str, *, default: int, least: int, most: int) -> int:
        """A whole number from the query. Malformed outside of least … most."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
            raise Malformed(
                f"{name} is a whole number from {least} to {most}", where=f"?{name}", next="Mend the query."
            )
        return int(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a value that becomes JSON, `raw` bytes of a media type, or a `stream` of them that goes on."""

    value: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    media_type: str = "application/json"
    stream: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """`open` routes ask for no credentials, and take no place. `errors`: problem types beside those that every route has."""

    method: str
    path: str  # with {placeholders}
    name: str
    tag: str
    summary: str
    run: Callable[[Call], Awaitable[Answer]]
    answer: Any  # a type, for the schema
    text: str = ""
    body: Any = None
    body_optional: bool = False
    media: Mapping[str, Any] = field(default_factory=dict)  # other than application/json; `run` reads `sent` itself
    query: tuple[Query, ...] = ()
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "Done."})
    errors: tuple[str, ...] = ()
    example: Any = None  # of the body
    answer_example: Any = None
    gives: str = "application/json"  # media type of a raw answer
    also: tuple[str, ...] = ()  # media types that it gives beside that, where `Accept` asks for them
    keyed: bool = False  # takes an Idempotency-Key
    open: bool = False
    streams: bool = False  # answers with a stream
    urgent: bool = False  # gets through when the plane has too much to do
    scope: str = ""  # what a limited key must be for (domain.keys.SCOPES); "" = `read` where the method is GET

    @property
    def needs(self) -> str:
        return self.scope or ("read" if self.method == "GET" else "")


CURSOR = Query("cursor", "Where the page starts: `next` of the page before.")
LIMIT = Query(
    "limit", f"Items on a page, 1 to {PAGE_MOST}; {PAGE} by default.", type="integer", least=1, most=PAGE_MOST
)
