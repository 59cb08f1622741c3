"""The record as lines and as server-sent events, by clients that nobody here wrote."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cxplane.adapters.postgres.store import PostgresStore
from cxplane.domain.errors import Forbidden
from cxplane.domain.record import ALL, Line, NewEntry, Wanted, Write
from cxplane.edges.http import streaming
from cxplane.edges.http.limits import HttpLimits
from cxplane.edges.http.streaming import events
from cxplane.loop import feed
from cxplane.loop.feed import Feed
from tests.edges.running import Running, set_up, until
from tests.edges.world import SaidPlane, edge, problem

T = "northwind"
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
_EVENT = re.compile(rb"id: (\d+)\ndata: (\{[^\n]*\})\n\n")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = set_up(tmp_path_factory.mktemp("plane"), {"keys": []})
    for n in range(3):
        running.refund(running.shop.order(f"o-{n}"), 100)
    yield running
    if running.process is not None:
        running.stop()
    running.shop.close()


def ids(text: bytes) -> list[int]:
    return [int(id) for id, _ in _EVENT.findall(text)]


def all_lines(http: httpx.Client, **query: Any) -> bytes:
    """Page after page, by the links."""
    reply = http.get("/v1/entries/lines", params={"limit": 7, **query})
    found = reply.content
    while "next" in reply.links:
        reply = http.get(reply.links["next"]["url"])
        found += reply.content
    assert reply.headers["content-type"] == "application/x-ndjson"
    return found


# from outside ---------------------------------------------------------------------------------------------------


def test_lines_are_those_of_an_export_page_after_page(plane: Running) -> None:
    with plane.http("person:sam") as http:
        got = all_lines(http)
        exported = plane.cx("export", "-", "--data", str(plane.data)).out.encode()
        assert got == exported
        assert got.count(b"\n") > 20
        few = [json.loads(line)["type"] for line in all_lines(http, kind="decision,outcome").splitlines()]
        assert few == ["cxplane.decision", "cxplane.outcome"] * 3


def test_curl_hears_what_is_there_and_what_comes(plane: Running, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    command = ["curl", "-sN", "-H", f"Authorization: Bearer {plane.keys['person:sam']}"]
    with heard.open("wb") as out:
        curl = subprocess.Popen([*command, f"{plane.url}/v1/entries/stream"], stdout=out)
    try:
        with plane.http("person:sam") as http:
            until(lambda: len(ids(heard.read_bytes())) == all_lines(http).count(b"\n"))
            before = len(ids(heard.read_bytes()))
            plane.refund(plane.shop.order("o-new"), 100)
            until(lambda: len(ids(heard.read_bytes())) == before + 3, seconds=5)
            assert b"".join(line + b"\n" for _, line in _EVENT.findall(heard.read_bytes())) == all_lines(http)
    finally:
        curl.kill()
        curl.wait()


def test_who_connects_again_misses_nothing_and_gets_nothing_twice(plane: Running) -> None:
    busy = threading.Thread(target=lambda: [plane.refund(plane.shop.order(f"b-{n}"), 100) for n in range(20)])
    busy.start()
    got: list[int] = []
    with plane.http("person:sam") as http:

        def record() -> list[int]:
            return [int(json.loads(line)["id"]) for line in all_lines(http).splitlines()]

        while busy.is_alive() or got != record():
            headers = {"Last-Event-ID": str(got[-1])} if got else {}
            text = b""
            with (
                contextlib.suppress(httpx.ReadTimeout),
                http.stream("GET", "/v1/entries/stream", headers=headers, timeout=1) as reply,
            ):
                assert reply.headers["content-type"].startswith("text/event-stream")
                for part in reply.iter_raw():  # and break in the middle of whatever comes
                    text += part
                    if len(ids(text)) >= 9:
                        break
            got += ids(text)
            assert got == record()[: len(got)]
        assert len(got) > 80


def test_the_stream_ends_with_the_plane_and_says_so(plane: Running) -> None:
    with (
        plane.http("person:sam") as http,
        http.stream("GET", "/v1/entries/stream", params={"kind": "none"}) as reply,
    ):
        parts = reply.iter_bytes()
        assert next(parts).startswith(b"retry: ")
        assert plane.stop() == 0
        assert b"".join(parts) == b"event: end\ndata: the plane stops; connect again\n\n"
    plane.start("--control", str(plane.control))


@pytest.mark.parametrize("path", ["lines", "stream"])
def test_it_is_not_for_everybody(plane: Running, path: str) -> None:
    with plane.http("agent:helper") as http:
        problem(http.get(f"/v1/entries/{path}"), 403, "forbidden")
    with plane.http("person:sam") as http:
        problem(http.get(f"/v1/entries/{path}", params={"after": "-1"}), 422, "malformed")
        assert http.head(f"/v1/entries/{path}").status_code == 200
    with plane.http("person:sam", **{"Last-Event-ID": "x" * 30}) as http:
        problem(http.get("/v1/entries/stream"), 422, "malformed")


# the edge alone -------------------------------------------------------------------------------------------------


class Babbling:
    """Always has something to say."""

    async def must_be_known(self, caller: Any, after: int) -> None:
        self.may(caller)

    def may(self, caller: object) -> None:
        return

    def listen(self, caller: object, *, after: int, wanted: Wanted, beat_s: float) -> AsyncIterator[Sequence[Line]]:
        async def lines() -> AsyncIterator[Sequence[Line]]:
            for n in range(after + 1, 10**9):
                yield (Line(n, NOW, "note", b'{"x":"%s"}' % (b"x" * 10_000)),)

        return lines()


def test_a_listener_that_takes_nothing_is_left_and_its_place_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SLOW_S", 0.5)
    plane = SaidPlane()
    plane.reading = Babbling()  # type: ignore[attr-defined]
    with edge(plane, HttpLimits(listeners=1)) as http:
        host, port = http.base_url.host, http.base_url.port
        with socket.create_connection((host, port)) as deaf:
            deaf.sendall(b"GET /v1/entries/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n")
            assert deaf.recv(100).startswith(b"HTTP/1.1 200")
            problem(http.get("/v1/entries/stream"), 429, "overloaded")

            def free() -> bool:
                with http.stream("GET", "/v1/entries/stream") as reply:
                    return reply.status_code == 200

            until(free)


async def test_who_may_not_listen_any_more_is_told_and_hears_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHECK_S", 0.0)
    asked = 0

    async def still() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Forbidden("the key was revoked")

    told = [part async for part in events(Babbling().listen(0, after=0, wanted=ALL, beat_s=1), asyncio.Event(), still)]
    assert ids(b"".join(told)) == [1, 2]
    assert told[-1].startswith(b"event: end\ndata: the key was revoked. ")


# the feed -------------------------------------------------------------------------------------------------------


async def test_many_listeners_quick_and_slow_get_every_entry_once_and_in_order(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HELD", 40)  # so that the slow ones fall behind what is held
    one = Feed(store, T)
    await append(store, 30)
    got: list[list[int]] = [[] for _ in range(9)]

    async def listen(n: int) -> None:
        wanted = Wanted(("odd",)) if n % 3 == 2 else ALL
        async for lines in one.listen(after=5 if n == 4 else 0, wanted=wanted, beat_s=0.2):
            got[n] += [line.position for line in lines]
            await asyncio.sleep(0.002 * n * n)

    listening = [asyncio.create_task(listen(n)) for n in range(9)]
    await asyncio.gather(*(append(store, 100) for _ in range(4)))
    every = await store.lines(T, after=0, upto=await store.settled(), limit=1000)
    odd = [line.position for line in every if line.kind == "odd"]
    wanted = [odd if n % 3 == 2 else [e.position for e in every][5 if n == 4 else 0 :] for n in range(9)]
    for _ in range(400):
        if got == wanted:
            break
        await asyncio.sleep(0.05)
    assert got == wanted
    assert len(one._lines) <= 40
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    assert one.listeners == 0
    await one.aclose()


async def append(store: PostgresStore, count: int) -> None:
    for n in range(count):
        await store.append(Write(T, (NewEntry("odd" if n % 2 else "even", f"s{n}", NOW, "x", {}),)))
