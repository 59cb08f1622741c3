"""Only a credential of ours, in force, of a caller that the live release knows, opens the door."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from cxplane.adapters import identity as adapter
from cxplane.adapters.identity import StoreIdentity
from cxplane.domain.errors import CallerUnknown, SystemFailure
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.release import ControlRepo, Plane, Release

ISSUER, AUDIENCE = "https://id.example", "cxplane"
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa-1"})
PUBLIC = {"keys": [k.as_dict(private=False) for k in (RSA, EC, ED)]}
FIN = Caller(CallerKind.AGENT, "fin")


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    business_now = now


class Directory:
    """The callers of a release that holds the key set as a file."""

    tenant = "northwind"

    def __init__(self, jwks: str = "keys.json", files: dict[str, str] | None = None, trust: bool = True) -> None:
        rules = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks} if trust else None
        plane = Plane("p", "northwind", "team", "UTC", "EUR", jwt=rules)
        repo = ControlRepo(
            plane,
            {},
            {},
            {},
            (),
            (),
            {},
            {},
            {FIN.name: FIN},
            files=files if files is not None else {"keys.json": json.dumps(PUBLIC)},
        )
        self.release = Release("0" * 64, repo)

    def caller(self, name: str) -> Caller:
        if (found := self.release.repo.caller(name)) is None:
            raise CallerUnknown(f"nobody is called {name!r}")
        return found


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    told: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "agent:fin",
        "iat": now,
        "nbf": now,
        "exp": now + 300,
    }
    told.update(changes)
    return {name: value for name, value in told.items() if value is not None}


def token(key: Any = RSA, alg: str = "RS256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode({"alg": alg, "kid": key.kid, **(header or {})}, claims(**changes), key, algorithms=[alg])


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def who(credential: str, directory: Directory | None = None, identity: StoreIdentity | None = None) -> Caller:
    identity = identity or StoreIdentity(None, Clock())  # type: ignore[arg-type]
    return await identity.authenticate(f"Bearer {credential}", directory or Directory())


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
async def test_a_good_token_names_a_caller_of_the_release(key: Any, alg: str) -> None:
    assert await who(token(key, alg)) == FIN


async def test_a_token_for_several_audiences_is_taken_if_one_is_ours() -> None:
    assert await who(token(aud=["other", AUDIENCE])) == FIN


async def test_a_token_that_names_our_tenant_is_taken() -> None:
    assert await who(token(cxplane_tenant="northwind")) == FIN


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"exp": int(time.time()) - 120}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"nbf": int(time.time()) + 86_400}, "not yet in force"),
        ({"iat": int(time.time()) + 86_400}, "not yet in force"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"cxplane_tenant": "other"}, "another tenant"),
        ({"sub": None}, "no subject"),
        ({"sub": 7}, "no subject"),
        ({"sub": "agent:nobody"}, "nobody is called"),
    ],
)
async def test_a_token_out_of_force_or_for_others_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CallerUnknown, match=says) as caught:
        await who(token(**changes))
    assert caught.value.next


async def test_a_forged_signature_is_refused() -> None:
    with pytest.raises(CallerUnknown, match="signature"):
        await who(token(STRANGER))


async def test_a_changed_payload_is_refused() -> None:
    head, _, signature = token().split(".")
    with pytest.raises(CallerUnknown, match="signature"):
        await who(f"{head}.{b64(claims(sub='person:boss'))}.{signature}")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "HS512", "RS1", "", None, 5, ["RS256"]])
async def test_no_algorithm_but_the_asymmetric_ones_is_taken(alg: Any) -> None:
    with pytest.raises(CallerUnknown, match="algorithm"):
        await who(f"{b64({'alg': alg, 'kid': 'rsa-1'})}.{b64(claims())}.")


async def test_the_public_key_used_as_an_hmac_secret_opens_nothing() -> None:
    for secret in (RSA.as_pem(private=False), json.dumps(RSA.as_dict(private=False)).encode()):
        body = f"{b64({'alg': 'HS256', 'kid': 'rsa-1'})}.{b64(claims())}"
        forged = f"{body}.{b64(hmac.new(secret, body.encode(), hashlib.sha256).digest())}"
        with pytest.raises(CallerUnknown, match="algorithm"):
            await who(forged)


async def test_a_key_in_the_token_itself_is_not_believed() -> None:
    own = RSAKey.generate_key(2048, {"kid": "mine"})
    with pytest.raises(CallerUnknown):
        await who(token(own, header={"jwk": own.as_dict(private=False)}))


async def test_a_key_of_another_type_than_the_algorithm_is_not_used() -> None:
    head = b64({"alg": "ES256", "kid": "rsa-1"})
    with pytest.raises(CallerUnknown, match="does not publish"):
        await who(f"{head}.{b64(claims())}.{b64(b'x' * 64)}")


async def test_critical_extensions_are_refused() -> None:
    with pytest.raises(CallerUnknown, match="extensions"):
        await who(f"{b64({'alg': 'RS256', 'kid': 'rsa-1', 'crit': ['b64']})}.{b64(claims())}.{b64(b'x')}")


@pytest.mark.parametrize(
    "text", ["x", "a.b", "a.b.c", "..", "a.b.c.d.e", "é.é.é", "W10.W10.W10", "[" * 3000 + ".x.y", "x" * 9000]
)
async def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(CallerUnknown):
        await who(text)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Token x"])
async def test_without_credentials_nobody_comes_in(header: str | None) -> None:
    with pytest.raises(CallerUnknown):
        await StoreIdentity(None, Clock()).authenticate(header, Directory())  # type: ignore[arg-type]


async def test_symmetric_and_weak_keys_of_a_set_are_left_out() -> None:
    secret = OctKey.generate_key(256, {"kid": "oct"})
    files = {
        "keys.json": json.dumps({"keys": [secret.as_dict(private=True), "no key", {"kty": "RSA"}, {"kty": "PQC"}]})
    }
    with pytest.raises(CallerUnknown, match="does not publish"):
        await who(token(), Directory(files=files))


async def test_a_plane_without_an_issuer_takes_no_tokens() -> None:
    with pytest.raises(CallerUnknown, match="only API keys"):
        await who(token(), Directory(trust=False))


# a key set behind an address ---------------------------------------------------------------------------------


class KeyServer:
    def __init__(self) -> None:
        self.asked, self.status, self.body = 0, 200, json.dumps(PUBLIC).encode()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"


@pytest.fixture
def keys() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


async def test_a_key_set_is_fetched_once_and_kept(keys: KeyServer) -> None:
    identity = StoreIdentity(None, Clock())  # type: ignore[arg-type]
    for _ in range(5):
        assert await who(token(), Directory(keys.url), identity) == FIN
    assert keys.asked == 1


async def test_unknown_key_ids_cannot_make_us_fetch_without_end(keys: KeyServer) -> None:
    identity = StoreIdentity(None, Clock())  # type: ignore[arg-type]
    for n in range(20):
        with pytest.raises(CallerUnknown):
            await who(token(header={"kid": f"made-up-{n}"}), Directory(keys.url), identity)
    assert keys.asked == 1


async def test_a_new_key_of_the_issuer_is_found(keys: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "JWKS_RETRY_S", 0.0)
    identity, fresh = StoreIdentity(None, Clock()), RSAKey.generate_key(2048, {"kid": "rsa-2"})  # type: ignore[arg-type]
    await who(token(), Directory(keys.url), identity)
    keys.body = json.dumps({"keys": [fresh.as_dict(private=False)]}).encode()
    assert await who(token(fresh), Directory(keys.url), identity) == FIN
    with pytest.raises(CallerUnknown, match="does not publish"):
        await who(token(RSA), Directory(keys.url), identity)  # the old one is withdrawn


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"{}"), (200, b"<html>"), (200, b"[]"), (302, b""), (200, b"x" * 600_000)]
)
async def test_an_issuer_that_does_not_answer_is_no_fault_of_the_caller(
    keys: KeyServer, status: int, body: bytes
) -> None:
    keys.status, keys.body = status, body
    with pytest.raises(SystemFailure) as caught:
        await who(token(), Directory(keys.url))
    assert caught.value.kind == "retry"


async def test_a_key_set_is_not_fetched_without_tls_from_elsewhere() -> None:
    with pytest.raises(SystemFailure, match="https"):
        await who(token(), Directory("http://id.example/jwks"))


async def test_known_keys_stay_in_use_while_the_issuer_is_away(
    keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = StoreIdentity(None, Clock())  # type: ignore[arg-type]
    await who(token(), Directory(keys.url), identity)
    monkeypatch.setattr(adapter, "JWKS_TTL_S", 0.0)
    monkeypatch.setattr(adapter, "JWKS_RETRY_S", 0.0)
    keys.status = 500
    assert await who(token(), Directory(keys.url), identity) == FIN
    assert keys.asked == 2
