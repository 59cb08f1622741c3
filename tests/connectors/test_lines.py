from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cxplane.connectors.lines import Broken, HttpReply, Lines, Progress, TooBig, Unreachable

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Scripted:
    """Answers each request with the next bytes of its script; None closes the connection after the last."""

    def __init__(self, *script: bytes, then_close: bool = False) -> None:
        self.script, self.then_close = list(script), then_close
        self.connections = 0
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.script:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.script.pop(0))
                await writer.drain()
                if self.then_close:
                    break
            if not self.then_close:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    trusting: ssl.SSLContext | None = None,
) -> AsyncIterator[Lines]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    lines = Lines(f"{'https' if tls else 'http'}://127.0.0.1:{port}/base", tls=trusting)
    try:
        yield lines
    finally:
        await lines.aclose()
        server.close()


async def ask(lines: Lines, method: str = "GET", target: str = "/x", **headers: str) -> HttpReply:
    return await lines.send(method, target, headers, None, most=100_000, timeout_s=2, progress=Progress())


async def test_one_connection_serves_many_calls() -> None:
    server = Scripted(*[OK] * 5)
    async with serving(server) as lines:
        for _ in range(5):
            assert (await ask(lines)).body == b"{}"
    assert server.connections == 1
    assert server.heads[0].startswith(b"GET /base/x HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_replies_of_many_shapes_are_read_and_the_connection_is_kept(raw: bytes, body: bytes) -> None:
    server = Scripted(raw, raw)
    async with serving(server) as lines:
        assert [(await ask(lines)).body for _ in range(2)] == [body, body]
    assert server.connections == 1


async def test_a_reply_may_end_with_the_connection() -> None:
    server = Scripted(b"HTTP/1.0 200 OK\r\n\r\n{}", then_close=True)
    async with serving(server) as lines:
        assert (await ask(lines)).body == b"{}"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_half_a_reply_is_no_reply(raw: bytes) -> None:
    async with serving(Scripted(raw, then_close=True)) as lines:
        with pytest.raises(Broken):
            await ask(lines)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"10000\r\n"
        + b"x" * 65536
        + b"\r\n"
        + b"FFFFF\r\n"
        + b"x" * 99_999,
    ],
)
async def test_a_reply_without_end_is_cut_off(raw: bytes) -> None:
    async with serving(Scripted(raw)) as lines:
        with pytest.raises(TooBig):
            await ask(lines)


@pytest.mark.parametrize("extra", [b'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"no"', b"junk"])
async def test_what_comes_unasked_never_answers_the_next_call(extra: bytes) -> None:
    server = Scripted(OK + extra, OK)
    async with serving(server) as lines:
        first = await ask(lines)
        await asyncio.sleep(0.05)
        assert [first.body, (await ask(lines)).body] == [b"{}", b"{}"]
        assert first.headers == {"content-length": "2"}
    assert server.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_not_used_again() -> None:
    server = Scripted(OK, OK, then_close=True)
    async with serving(server) as lines:
        await ask(lines)
        await asyncio.sleep(0.05)
        await ask(lines)
    assert server.connections == 2


async def test_a_call_that_ran_out_of_time_takes_its_connection_with_it() -> None:
    server = Scripted(b"HTTP/1.1 200 OK\r\n", OK)
    async with serving(server) as lines:
        with pytest.raises(TimeoutError):
            await lines.send("GET", "/x", {}, None, most=100, timeout_s=0.1, progress=Progress())
        assert (await ask(lines)).body == b"{}"
    assert server.connections == 2


async def test_each_call_on_a_kept_connection_has_its_own_time() -> None:
    """The timer of the connection goes on from call to call: a later call may have less time, or more."""
    loop = asyncio.get_running_loop()
    server = Scripted(OK, OK, b"", b"")  # the empty ones: no answer
    async with serving(server) as lines:

        async def asked(timeout_s: float) -> float:
            began = loop.time()
            try:
                await lines.send("GET", "/x", {}, None, most=100, timeout_s=timeout_s, progress=Progress())
            finally:
                took = loop.time() - began
            return took

        await asked(0.2)
        await asked(30.0)
        await asyncio.sleep(0.3)  # the first one's time is over long ago
        (line,) = lines._idle
        began = loop.time()
        with pytest.raises(TimeoutError):
            await asked(0.2)
        assert 0.19 <= loop.time() - began < 5
        assert server.connections == 1
        assert not line.usable and line._alarm is None
        assert not lines._places.locked() and lines._places._value == 100


def test_a_reply_in_the_last_moment_leaves_the_connection_as_it_was() -> None:
    """On uvloop, as planes run: its clock has whole milliseconds, and a timer may go off half of one too early."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.02)
                writer.write(OK)

    async def main() -> None:
        async with serving(late) as lines:
            for n in range(60):
                limit_s = 0.0195 + n * 0.0001  # 19.5 to 25.5 ms
                with contextlib.suppress(TimeoutError):
                    await lines.send("GET", "/x", {}, None, most=100, timeout_s=limit_s, progress=Progress())
                assert (await ask(lines)).status == 200

    uvloop.run(main())


async def test_a_call_that_is_given_up_frees_its_place() -> None:
    async with serving(Scripted(OK, b"")) as lines:
        await ask(lines)
        task = asyncio.create_task(ask(lines))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lines._places._value == 100 and not lines._idle


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/x\r\nX-Evil: 1", {}),
        ("/x HTTP/1.1", {}),
        ("/x#y", {}),
        ("/ä", {}),
        ("/x", {"X": "a\r\nY: b"}),
        ("/x", {"X": "a\x00"}),
        ("/x", {"X": "ä"}),
        ("/x", {"X Y": "a"}),
        ("/x", {"X:Y": "a"}),
        ("/x", {"": "a"}),
    ],
)
async def test_nothing_can_begin_a_header_or_a_request_of_its_own(target: str, headers: dict[str, str]) -> None:
    server = Scripted(OK)
    async with serving(server) as lines:
        progress = Progress()
        with pytest.raises(ValueError, match="may hold"):
            await lines.send("POST", target, headers, b"{}", most=100, timeout_s=1, progress=progress)
        assert not progress.sent
    assert server.heads == []


async def test_no_more_connections_than_allowed() -> None:
    at_once = most = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        await reader.readuntil(b"\r\n\r\n")
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    lines = Lines(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", most=3)
    await asyncio.gather(*(ask(lines) for _ in range(12)))
    await lines.aclose()
    server.close()
    assert most == 3


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake billing")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


async def test_only_a_trusted_certificate_is_spoken_to(tmp_path: Path) -> None:
    cert_file, key_file = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert_file, key_file)
    server = Scripted(OK)
    async with serving(server, tls=tls) as lines:
        with pytest.raises(Unreachable):
            await ask(lines)
    assert server.heads == []
    async with serving(server, tls=tls, trusting=ssl.create_default_context(cafile=cert_file)) as lines:
        assert (await ask(lines)).body == b"{}"


@pytest.mark.parametrize("url", ["", "billing", "ftp://x", "http://", "http://u:p@x", "http://x?y", "http://x#y"])
def test_an_address_is_an_address(url: str) -> None:
    with pytest.raises(ValueError, match="an address is written like"):
        Lines(url)
