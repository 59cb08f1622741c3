"""Who is asking: API keys, and JWTs of the operator's identity provider.

A credential only proves a name; what the name may do is in the live release. A key of a caller that the release
no longer knows opens nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import time
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from cxplane.domain.errors import CallerUnknown, FailureKind, SystemFailure
from cxplane.domain.keys import key_hash, looks_like_api_key
from cxplane.domain.people import Caller, Limits
from cxplane.domain.record import KeyRow
from cxplane.domain.release import Release
from cxplane.ports.clock import Clock
from cxplane.ports.identity import Directory
from cxplane.ports.store import Store

LOOPBACK = ("http://127.0.0.1:", "http://127.0.0.1/", "http://localhost:", "http://localhost/", "http://[::1]")
KEY_TTL_S = 2.0  # a revoked key works at most this long on another process
TOKEN_BYTES = 8192
LEEWAY_S = 30
JWKS_TTL_S = 600.0
JWKS_RETRY_S = 15.0  # between two fetches for key ids nobody has heard of, and after a failed fetch
JWKS_STALE_S = 86_400.0  # how long keys stay in use while the issuer does not answer
JWKS_BYTES = 512 * 1024
# RFC 9864 renames EdDSA to Ed25519; issuers go on using the old name, and here it means Ed25519 only.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")
ALGORITHMS: Mapping[str, str] = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP", "Ed25519": "OKP"}

Key = RSAKey | ECKey | OKPKey


class StoreIdentity:
    """Keys from the store, tokens from the issuer that plane.yaml names. `control`: where a relative `jwks` path starts."""

    def __init__(self, store: Store, clock: Clock, *, control: Path | None = None) -> None:
        self._store, self._clock, self._control = store, clock, control
        self._keys: OrderedDict[tuple[str, str], tuple[float, KeyRow]] = OrderedDict()
        self._used: dict[tuple[str, str], date] = {}
        self._noting: set[asyncio.Task[None]] = set()
        self._jwks: dict[str, Jwks] = {}

    async def authenticate(self, authorization: str | None, directory: Directory) -> Caller:
        if not authorization:
            raise CallerUnknown("no credentials were sent")
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise CallerUnknown("the Authorization header is not of the form `Bearer <key or token>`")
        if len(credential) > TOKEN_BYTES:
            raise CallerUnknown(f"the token is longer than {TOKEN_BYTES} bytes")
        if credential.startswith("cxp_"):
            return await self._by_key(credential, directory)
        return await self._by_token(credential, directory)

    async def aclose(self) -> None:
        for task in list(self._noting):
            task.cancel()
        await asyncio.gather(*self._noting, return_exceptions=True)
        self._keys.clear()

    # API keys ----------------------------------------------------------------------------------------

    async def _by_key(self, credential: str, directory: Directory) -> Caller:
        if not looks_like_api_key(credential):
            raise CallerUnknown(
                "this is not a whole API key", next="Copy the key again: cxp_<id>_<secret>, without spaces."
            )
        hash = key_hash(credential)
        key = await self._key(directory.tenant, hash)
        now = self._clock.now()
        if key.revoked_at is not None:
            raise CallerUnknown(f"API key {key.id} was revoked", next=_ASK_OWNER)
        if key.expires_at is not None and key.expires_at <= now:
            raise CallerUnknown(f"API key {key.id} has expired", next=_ASK_OWNER)
        caller = directory.caller(key.caller)
        self._note_use(directory.tenant, key.id, now.date())
        if key.scope is None and key.actions is None:
            return caller
        return replace(caller, limits=Limits(key.scope, key.actions))

    def _note_use(self, tenant: str, id: str, day: date) -> None:
        """Once a day and key; whoever asks does not wait for it."""
        if self._used.get((tenant, id)) == day:
            return
        self._used[tenant, id] = day
        task = asyncio.create_task(self._store.key_used(tenant, id, day))
        self._noting.add(task)
        task.add_done_callback(self._noted)

    def _noted(self, task: asyncio.Task[None]) -> None:
        self._noting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._used.clear()  # tried again with the next use

    async def _key(self, tenant: str, hash: str) -> KeyRow:
        now = time.monotonic()
        if (kept := self._keys.get((tenant, hash))) is not None and now - kept[0] < KEY_TTL_S:
            return kept[1]
        found = await self._store.key_by_hash(tenant, hash)
        if found is None:
            self._keys.pop((tenant, hash), None)
            raise CallerUnknown("no such API key", next=_ASK_OWNER)
        self._keys[tenant, hash] = (now, found)
        self._keys.move_to_end((tenant, hash))
        while len(self._keys) > 10_000:
            self._keys.popitem(last=False)
        return found

    # tokens ------------------------------------------------------------------------------------------

    async def _by_token(self, token: str, directory: Directory) -> Caller:
        release = directory.release
        trust = release.repo.plane.jwt if release is not None else None
        if release is None or not trust:
            raise CallerUnknown(
                "this plane takes no tokens, only API keys",
                next="Send an API key (`cxplane keys create CALLER`), or name an issuer under auth.jwt in plane.yaml.",
            )
        header = token_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise CallerUnknown(
                "the token is not signed with an algorithm that is accepted here",
                next="Have the issuer sign with RS256, ES256 or EdDSA.",
            )
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise CallerUnknown("the token's key id is not a text")
        key = await self._source(trust["jwks"], release).key(kid, ALGORITHMS[algorithm])
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm]).claims
        except (JoseError, ValueError, TypeError):
            raise CallerUnknown("the token's signature does not hold", next=_ASK_ISSUER) from None
        subject = check_claims(
            claims, issuer=trust["issuer"], audience=trust["audience"], now=self._clock.now().timestamp()
        )
        if claims.get("cxplane_tenant", directory.tenant) != directory.tenant:
            raise CallerUnknown("the token is for another tenant", next=_ASK_ISSUER)
        return directory.caller(subject)

    def _source(self, jwks: str, release: Release) -> Jwks:
        frozen = release.repo.files.get(jwks)
        name = f"{jwks}\n{hashlib.sha256(frozen.encode()).hexdigest()}" if frozen is not None else jwks
        if name not in self._jwks:
            if len(self._jwks) >= 8:  # sources of releases gone by
                self._jwks.clear()
            self._jwks[name] = Jwks(jwks, text=frozen, control=self._control)
        return self._jwks[name]


_ASK_OWNER = "Ask the owner of the plane for a key: `cxplane keys create CALLER`."
_ASK_ISSUER = "Get a new token from the issuer, and ask again."


def token_header(token: str) -> dict[str, Any]:
    """The header of a compact JWS, unverified: only to choose the key. CallerUnknown if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        raise CallerUnknown("this is neither an API key nor a signed token")
    try:
        header = json.loads(base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        raise CallerUnknown("the token cannot be read") from None
    if not isinstance(header, dict):
        raise CallerUnknown("the token cannot be read")
    if header.get("crit"):
        raise CallerUnknown("the token asks for extensions that are not known here")
    return header


def check_claims(claims: Mapping[str, Any], *, issuer: str, audience: str, now: float) -> str:
    """The subject of a token that is ours, in force and complete. CallerUnknown otherwise."""

    def moment(name: str, *, required: bool = False) -> float | None:
        value = claims.get(name)
        if value is None and not required:
            return None
        if (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15
        ):  # nor infinite or NaN
            raise CallerUnknown(f"the token has no proper {name!r} claim", next=_ASK_ISSUER)
        return float(value)

    if claims.get("iss") != issuer:
        raise CallerUnknown("the token is of another issuer", next="Use a token of the issuer that plane.yaml names.")
    audiences = claims.get("aud")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise CallerUnknown("the token is for another audience", next=f"Ask the issuer for a token for {audience!r}.")
    if (moment("exp", required=True) or 0.0) + LEEWAY_S <= now:
        raise CallerUnknown("the token has expired", next=_ASK_ISSUER)
    for name in ("nbf", "iat"):
        since = moment(name)
        if since is not None and since - LEEWAY_S > now:
            raise CallerUnknown(
                "the token is not yet in force", next="Compare the clocks of issuer and plane, then ask again."
            )
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise CallerUnknown(
            "the token names no subject", next="Its `sub` must be a caller of the release, like agent:fin."
        )
    return subject


@dataclass(slots=True)
class Jwks:
    """The public keys of an issuer: from the release, a file or a URL, kept and fetched again when needed."""

    source: str
    text: str | None = None  # frozen in the release
    control: Path | None = None
    _keys: list[tuple[str | None, str, Key]] = field(default_factory=list)  # kid, type, key
    _fetched: float | None = None
    _tried: float | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def key(self, kid: str | None, type: str) -> Key:
        now = time.monotonic()
        fresh = self._fetched is not None and now - self._fetched < JWKS_TTL_S
        found = self._find(kid, type)
        if found is None or not fresh:
            await self._fetch()
            found = self._find(kid, type)
        if found is None:
            raise CallerUnknown("the token is signed with a key that the issuer does not publish", next=_ASK_ISSUER)
        return found

    def _find(self, kid: str | None, type: str) -> Key | None:
        """By id; without an id only where one key of the type exists. The key's type must be the algorithm's."""
        fitting = [key for id, its, key in self._keys if its == type and (kid is None or id == kid)]
        return fitting[0] if len(fitting) == 1 else None

    async def _fetch(self) -> None:
        """At most once in `JWKS_RETRY_S`; what was known stays in use when the issuer does not answer."""
        async with self._lock:
            now = time.monotonic()
            if self._tried is not None and now - self._tried < JWKS_RETRY_S:
                if self._fetched is None:
                    raise self._failure("did not answer just now")
                return
            self._tried = now
            try:
                text = await self._read()
                self._keys = public_keys(text)
                self._fetched = time.monotonic()
            except SystemFailure:
                if self._fetched is None or now - self._fetched > JWKS_STALE_S:
                    self._keys = []
                    raise

    async def _read(self) -> str:
        if self.text is not None:
            return self.text
        if self.source.startswith(("https://", "http://")):
            if not self.source.startswith(("https://", *LOOPBACK)):
                raise self._failure("must be fetched over https: whoever changes it on the way can be anybody")
            return await self._get()
        path = Path(self.source)
        if not path.is_absolute():
            path = (self.control or Path()) / path
        try:
            return await asyncio.to_thread(path.read_text, encoding="utf-8")
        except (OSError, ValueError) as problem:
            raise self._failure(f"cannot be read ({type(problem).__name__})") from None

    async def _get(self) -> str:
        import httpx

        try:
            async with httpx.AsyncClient(timeout=5.0, follow_redirects=False) as http:
                reply = await http.get(self.source, headers={"Accept": "application/json"})
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise self._failure(f"does not answer ({type(problem).__name__})") from None
        if reply.status_code != 200 or len(reply.content) > JWKS_BYTES:
            raise self._failure(f"answered {reply.status_code} with {len(reply.content)} bytes")
        return reply.text

    def _failure(self, why: str) -> SystemFailure:
        return SystemFailure(
            "the key set (JWKS) of the identity provider", why, kind=FailureKind.RETRY, retry_after_s=JWKS_RETRY_S
        )


def public_keys(text: str) -> list[tuple[str | None, str, Key]]:
    """The signing keys of a JWK set that are strong enough; others are left out. SystemFailure if it is none."""
    try:
        entries = json.loads(text)["keys"]
        if not isinstance(entries, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SystemFailure(
            "the key set (JWKS) of the identity provider", "is no JWK set", kind=FailureKind.RETRY
        ) from None
    found: list[tuple[str | None, str, Key]] = []
    kinds: Mapping[str, type[Any]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        if not isinstance(entry.get("kty"), str) or entry["kty"] not in kinds:
            continue
        if entry["kty"] == "EC" and entry.get("crv") != "P-256":
            continue
        if entry["kty"] == "OKP" and entry.get("crv") != "Ed25519":
            continue
        public = {name: value for name, value in entry.items() if name in ("kty", "kid", "crv", "x", "y", "n", "e")}
        try:
            key = kinds[entry["kty"]].import_key(public)
        except (JoseError, ValueError, TypeError):
            continue
        if isinstance(key, RSAKey) and key.public_key.key_size < 2048:
            continue
        kid = entry.get("kid")
        found.append((kid if isinstance(kid, str) else None, entry["kty"], key))
    return found
