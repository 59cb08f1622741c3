"""A client of a running plane."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from cxplane.domain.errors import CxplaneError

if TYPE_CHECKING:
    import httpx

URL = "http://127.0.0.1:8080"
KEY_FILE = "key"  # in the data folder; written by `cxplane keys create … --save`
Command = Callable[..., Any]


class Unreachable(CxplaneError):
    """The plane does not answer."""

    exit_code = 3

    def __init__(self, url: str, why: str, *, next: str) -> None:
        self.next = next
        super().__init__(f"the plane at {url} {why}")


class SaidNo(CxplaneError):
    """The plane answered with a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        self.next = str(problem.get("next", ""))
        self.exit_code = 2 if status in (400, 415, 422) else 3 if status in (408, 429) or status >= 500 else 1
        where = f" ({problem['where']})" if problem.get("where") else ""
        super().__init__(f"{problem.get('detail') or problem.get('title') or f'HTTP {status}'}{where}")


@dataclass(frozen=True, slots=True)
class Api:
    url: str
    key: str | None = field(repr=False)

    def get(self, path: str, **query: Any) -> Any:
        return self.send("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any], **how: Any) -> Any:
        return self.send("POST", path, body=body, **how)

    def text(self, path: str, media: str) -> str:
        """An answer that is no JSON, of that media type."""
        reply, again = self._reply("GET", path, accept=f"{media}, application/json")
        if reply.headers.get("content-type", "").partition(";")[0] != media:
            raise Unreachable(self.url, f"is no cxplane: its answer is not {media}", next=again)
        return str(reply.text)

    def items(self, path: str, *, most: int, cursor: str = "cursor", **query: Any) -> Iterator[dict[str, Any]]:
        """Items of a list over as many pages as it takes."""
        left = most
        while left > 0:
            page = self.get(path, limit=min(left, 200), **query)
            yield from page["items"][:left]
            left -= len(page["items"])
            if page["next"] is None or not page["items"]:
                return
            query[cursor] = page["next"]

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Any:
        """The JSON of the answer. Raises Unreachable, SaidNo. `how`: idempotency_key, media (of the body), timeout_s."""
        reply, again = self._reply(method, path, query=query, body=body, **how)
        try:
            return reply.json()
        except ValueError:
            raise Unreachable(self.url, "is no cxplane: its answer is not JSON", next=again) from None

    def _reply(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        media: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = 75,
    ) -> tuple[httpx.Response, str]:
        """A good answer, and what to do where it turns out not to be one."""
        import httpx

        headers = {"User-Agent": "cxplane-cli", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = media
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        params = {name: value for name, value in (query or {}).items() if value is not None}
        again = "See that it runs (`cxplane serve`), or name it with --url or CXPLANE_URL."
        if idempotency_key:
            again += f" Asking again is safe with --idempotency-key {idempotency_key}."
        try:
            reply = httpx.request(
                method,
                self.url.rstrip("/") + path,
                params=params,
                json=body,
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=5),
            )
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, ValueError) as problem:
            raise click.UsageError(f"this cannot be sent: {problem}") from None
        except httpx.HTTPError as problem:
            raise Unreachable(self.url, f"does not answer ({type(problem).__name__})", next=again) from None
        if reply.status_code >= 400:
            try:
                told = reply.json()
            except ValueError:
                told = None
            if not isinstance(told, dict):
                told = {"detail": f"HTTP {reply.status_code}", "next": again}
            if reply.status_code == 401 and self.key is None:
                told["next"] = (
                    "Give a key with --key or CXPLANE_KEY; `cxplane keys create CALLER --save` makes one that is used by default."
                )
            raise SaidNo(reply.status_code, told)
        return reply, again


def segment(id: str) -> str:
    """An id as one part of an address."""
    if not id:
        raise click.UsageError("an id must not be empty")
    return quote(id, safe=":")


def plane_options(command: Command) -> Command:
    """--url, --key and --data; the command gets an `api`."""
    return plane_options_as("--key", "--data")(command)


def plane_options_as(key: str, data: str) -> Callable[[Command], Command]:
    """The same under other names, for a command whose own words these are."""
    return lambda command: _plane_options(command, key, data)


def _plane_options(command: Command, key: str, data: str) -> Command:
    import functools

    @functools.wraps(command)
    def with_api(*args: Any, url: str, api_key: str | None, data_folder: Path, **named: Any) -> Any:
        return command(*args, api=Api(url, api_key or _saved_key(data_folder)), **named)

    decorated = click.option(
        "--url", envvar="CXPLANE_URL", default=URL, show_default=True, help="Where the plane runs."
    )(with_api)
    decorated = click.option(
        key, "api_key", envvar="CXPLANE_KEY", help="API key. Better in CXPLANE_KEY, or saved in the data folder."
    )(decorated)
    return click.option(
        data,
        "data_folder",
        envvar="CXPLANE_DATA",
        default=".cxplane",
        show_default=True,
        type=click.Path(path_type=Path),
        help="Data folder, for the saved key.",
    )(decorated)


def _saved_key(data: Path) -> str | None:
    try:
        return (data / KEY_FILE).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def save_key(data: Path, text: str) -> Path:
    """Keep a key for the CLI, readable by its owner alone. Returns where."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / KEY_FILE
    partial = path.with_name(f"{KEY_FILE}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    partial.replace(path)
    return path
