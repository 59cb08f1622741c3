"""Attacks on the gate from outside: bytes that two readers read in two ways, addresses, methods and tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.edges.running import AUDIENCE, ISSUER
from tests.redteam.gate_world import HELPER, ISSUER_KEY, SAM, Gate, accounted_for, gate


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with gate(tmp_path_factory.mktemp("gate")) as found:
        yield found
        accounted_for(found)


# bytes that two readers read in two ways ---------------------------------------------------------------------


def body_for(order: str) -> bytes:
    return json.dumps(
        {"action": "shop.refund_order", "customer": "c-1", "input": {"order_id": order, "amount": 1000}}
    ).encode()


def head(here: Gate, *more: str | bytes, path: str = "/v1/requests", by: str | None = HELPER) -> list[str | bytes]:
    who = [here.bearer(by)] if by else []
    return [f"POST {path} HTTP/1.1", "Host: plane", "Content-Type: application/json", *who, *more]


@pytest.mark.parametrize(
    "framing",
    [
        ("Content-Length: {whole}", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: {whole}"),
        ("Content-Length: {whole}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: {whole}"),
        ("Content-Length: {whole}", "Transfer-Encoding : chunked"),
        ("Content-Length: {whole}", "Transfer-Encoding: xchunked"),
        ("Content-Length: {whole}", "Transfer-Encoding: identity, chunked"),
        ("Content-Length: +{whole}",),
        ("Content-Length: {whole}, 5",),
        ("Content-Length: -1",),
        ("Content-Length: 0x40",),
        ("Content-Length : {whole}",),
        ("Transfer-Encoding: gzip",),
    ],
    ids=" | ".join,
)
def test_a_body_of_two_lengths_carries_no_second_request(here: Gate, framing: tuple[str, ...]) -> None:
    """What hides behind the end that one reader sees is not carried out by the other."""
    first, hidden = here.order(f"first-{hash(framing)}"), here.order(f"hidden-{hash(framing)}")
    smuggled = body_for(hidden)
    inner = (
        "\r\n".join(str(x) for x in head(here, f"Content-Length: {len(smuggled)}")).encode() + b"\r\n\r\n" + smuggled
    )
    body = b"0\r\n\r\n" + inner
    statuses = here.raw(*head(here, *(line.format(whole=len(body)) for line in framing)), body=body)
    assert here.done(hidden) == [], statuses
    assert here.done(first) == []
    assert all(status >= 400 for status in statuses), statuses
    assert len(statuses) <= 1, statuses


@pytest.mark.parametrize("first", ["good", "bad"])
def test_two_credentials_are_none(here: Gate, first: str) -> None:
    order = here.order(f"two-{first}")
    body = body_for(order)
    good, bad = here.bearer(), "Authorization: Bearer cxp_" + "x" * 40
    pair = (good, bad) if first == "good" else (bad, good)
    statuses = here.raw(*head(here, *pair, f"Content-Length: {len(body)}", "Connection: close", by=None), body=body)
    assert (statuses, here.done(order)) == ([401], [])


def test_two_idempotency_keys_are_none(here: Gate) -> None:
    order = here.order("two-keys")
    body = body_for(order)
    keys = ("Idempotency-Key: one", "Idempotency-Key: two")
    statuses = here.raw(*head(here, *keys, f"Content-Length: {len(body)}", "Connection: close"), body=body)
    assert (statuses, here.done(order)) == ([422], [])


@pytest.mark.parametrize(
    "header",
    [
        b"Idempotency-Key: a\rX-Evil: 1",
        b"Idempotency-Key: a\nAuthorization: Bearer x",
        b"Idempotency-Key: a\x00b",
        b"Idempotency-Key: \xe9\xff",
        b"X-Request-Id: a\r\n Folded: b",
        b"X Y: 1",
        b": nothing",
        b"X-Long: " + b"x" * 300_000,
        b"\r\n".join(b"X-%d: y" % n for n in range(20_000)),
    ],
    ids=["cr", "lf", "nul", "latin", "folded", "space", "unnamed", "long", "many"],
)
def test_broken_headers_lead_to_no_effect(here: Gate, header: bytes) -> None:
    order = here.order(f"broken-{hash(header)}")
    body = body_for(order)
    statuses = here.raw(*head(here, header, f"Content-Length: {len(body)}", "Connection: close", by=None), body=body)
    assert all(400 <= status < 500 for status in statuses), statuses
    assert here.done(order) == []
    assert here.call("GET", "/health/ready", None).status_code == 200


def test_line_ends_in_a_header_do_not_come_back_out(here: Gate) -> None:
    reply = here.call("GET", "/v1/requests/x%0d%0aSet-Cookie:%20a=b", SAM)
    assert reply.status_code == 422
    assert "set-cookie" not in reply.headers


# addresses ---------------------------------------------------------------------------------------------------

PATHS = [
    "//v1/requests",
    "/v1//requests",
    "/v1/%72equests",
    "/v1/requests/",
    "/v1/requests/.",
    "/v1/./requests",
    "/health/live/../../v1/requests",
    "/health/live/%2e%2e/%2e%2e/v1/requests",
    "/metrics/..%2fv1/requests",
    "/v1/requests%2f",
    "/v1%2frequests",
    "/v1/requests;a=b",
    "/v1/requests.",
    "/v1/requests%00",
    "/v1/requests%20",
    "/V1/REQUESTS",
    "/v1/%ef%bd%92equests",
    "/v1\\requests",
    "/v1/requests#",
    "/v1/requests?_method=POST",
    "http://plane/v1/requests",
    "http://other/v1/requests",
    "*",
    "v1/requests",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_an_address_leads_around_the_credentials(here: Gate, path: str) -> None:
    order = here.order(f"spelt-{PATHS.index(path)}")
    body = body_for(order)
    statuses = here.raw(*head(here, f"Content-Length: {len(body)}", "Connection: close", path=path, by=None), body=body)
    assert all(400 <= status < 500 for status in statuses), statuses
    assert here.done(order) == []


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/v1/requests", "/openapi.json"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_method_is_the_one_that_was_sent(here: Gate, method: str, path: str) -> None:
    order = here.order(f"method-{method}-{path}")
    override = dict.fromkeys(("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"), "POST")
    headers = {**override, "X-Original-URL": "/v1/requests", "X-Rewrite-URL": "/v1/requests"}
    here.call(method, path, HELPER, content=body_for(order), headers={**headers, "Content-Type": "application/json"})
    assert here.done(order) == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "post", "P\u00d6ST", "POST/v1"])
def test_odd_methods_do_nothing(here: Gate, method: str) -> None:
    order = here.order(f"odd-{method}")
    body = body_for(order)
    lines = [f"{method} /v1/requests HTTP/1.1", *head(here, f"Content-Length: {len(body)}", "Connection: close")[1:]]
    assert all(status >= 400 for status in here.raw(*lines, body=body))
    assert here.done(order) == []


# tokens ------------------------------------------------------------------------------------------------------


def b64(value: Any) -> str:
    told = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(told).rstrip(b"=").decode()


def forged() -> dict[str, str]:
    """Tokens for person:sam that the issuer did not make."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "person:sam", "iat": now, "exp": now + 300}
    mine = ECKey.generate_key("P-256", {"kid": "k-1"})
    public = ISSUER_KEY.as_pem(private=False)

    def hs256(secret: bytes) -> str:
        text = f"{b64({'alg': 'HS256', 'kid': 'k-1'})}.{b64(claims)}"
        return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    def signed(**header: Any) -> str:
        return jwt.encode({"alg": "ES256", "kid": "k-1"} | header, claims, mine, algorithms=["ES256"])

    good = jwt.encode({"alg": "ES256", "kid": "k-1"}, {**claims, "sub": HELPER}, ISSUER_KEY)
    start, _, signature = good.split(".")
    return {
        "alg none": f"{b64({'alg': 'none'})}.{b64(claims)}.",
        "alg nOnE": f"{b64({'alg': 'nOnE', 'kid': 'k-1'})}.{b64(claims)}.{signature}",
        "public key as secret": hs256(public),
        "jwk as secret": hs256(json.dumps(ISSUER_KEY.as_dict(private=False)).encode()),
        "no secret": hs256(b""),
        "own key in jwk": signed(jwk=mine.as_dict(private=False)),
        "own key by jku": signed(jku="http://127.0.0.1:1/keys"),
        "kid as path": signed(kid="../../../../dev/null"),
        "own key": signed(),
        "zero signature": f"{start}.{b64(claims)}.{b64(bytes(64))}",
        "signature of another": f"{start}.{b64(claims)}.{signature}",
        "no signature": f"{start}.{b64(claims)}.",
        "five parts": f"{start}.{b64(claims)}.{signature}.x.y",
        "huge": f"{start}.{b64({**claims, 'x': 'y' * 40_000})}.{signature}",
    }


@pytest.mark.parametrize("which", sorted(forged()))
def test_no_forged_token_speaks_for_a_supervisor(here: Gate, which: str) -> None:
    approval = here.held(f"token-{which}")
    headers = {"Authorization": f"Bearer {forged()[which]}"}
    reply = here.call("POST", f"/v1/approvals/{approval}/approve", None, json={}, headers=headers)
    assert reply.status_code in (400, 401, 431), reply.text
    assert here.done(f"token-{which}") == []
