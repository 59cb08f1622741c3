"""Two tenants on one Postgres with the same control repo but for the name, the same customers, keys and conversations.

What is of the first bears a mark that must never come back to the second.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

from cxplane.domain.key_entries import key_created
from cxplane.domain.keys import new_api_key
from cxplane.domain.record import Write
from cxplane.domain.views import Ask
from cxplane.edges.http.app import http_app
from cxplane.wiring import Settings, open_plane
from tests.connectors.fake import FakeSystem
from tests.loop.journeys import Country, journeys
from tests.loop.world import release

ISSUER = "https://id.example"
SIGNS = ECKey.generate_key("P-256", {"kid": "ec-1"})
MARK = "only-of-acme"
CALLERS = ("agent:fin", "person:maria", "system:crm")
ASKED = """
journey: asked
version: 1
summary: Ask somebody
owner: care
input: {type: object, properties: {about: {type: string}}}
do:
  - look:
      ask: {team: care, choose: "'Fine?'", choices: [all, half], show: {about: input.about}}
"""


@dataclass
class Side:
    """One tenant: its plane, a client of it, keys, and the ids that came about there."""

    tenant: str
    country: Country
    settings: Settings
    http: httpx.AsyncClient
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    ids: dict[str, str] = field(default_factory=dict)

    def auth(self, caller: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[caller]}"}

    def token(self, caller: str, **more: Any) -> dict[str, str]:
        """A good token of the identity provider that both tenants trust, for this one."""
        now = int(time.time())
        told = {"iss": ISSUER, "aud": f"cxplane-{self.tenant}", "sub": caller, "iat": now, "exp": now + 300} | more
        signed = jwt.encode({"alg": "ES256", "kid": SIGNS.kid}, told, SIGNS, algorithms=["ES256"])
        return {"Authorization": f"Bearer {signed}"}

    async def key(self, caller: str, **more: Any) -> str:
        key = new_api_key()
        entry = key_created(
            key.id, caller=caller, hash=key.hash, expires_at=None, at=datetime.now(UTC), actor="x", **more
        )
        await self.country.plane.store.append(Write(self.tenant, (entry,)))
        self.ids["key"] = key.id
        return key.text

    async def fill(self) -> None:
        plane, country = self.country.plane, self.country
        crm, fin, maria = country.crm, plane.caller("agent:fin"), country.maria
        mark = MARK if self.tenant == "acme" else "bravo"
        for caller in CALLERS:
            self.keys[caller] = await self.key(caller)
        await country.know()
        await plane.put_customer(crm, "c1", attributes={"segment": mark}, identities=[{"kind": "email", "value": mark}])
        for gone in ("c8", "c9"):  # with nothing under way, so that they can be erased
            await plane.put_customer(crm, gone, attributes={"segment": mark}, identities=[])
        talk = await plane.open_conversation(crm, customer="c1", channel="chat", id="talk-1")
        self.ids["conversation"] = getattr(talk, "id", "talk-1")
        for name, amount in (("request", 1000), ("held", 8000)):
            input = {"account_id": "a1", "dispute_id": f"{name}-1", "amount": amount}
            ask = Ask("billing.issue_credit", input, customer="c1", channel="chat", reason=mark, id=f"req_{name}")
            view = await plane.ask(fin, ask)
            self.ids[name] = view.id
        for row in (await plane.approvals(maria))[0]:
            self.ids["approval"] = row.id
        self.ids["run"] = await country.start("asked", about=mark)
        await country.until(self.ids["run"], "waiting")
        for task in (await plane.tasks(maria))[0]:
            self.ids["task"] = task.id
        self.ids["release"] = plane.release.hash if plane.release else ""
        self.ids["position"] = str((await plane.store.entries(self.tenant, limit=1000))[-1].position)


def files_of(tenant: str) -> dict[str, str]:
    files = journeys(asked=ASKED)
    trust = f"auth: {{jwt: {{issuer: '{ISSUER}', audience: cxplane-{tenant}, jwks: keys.json}}}}\n"
    return files | {
        "plane.yaml": files["plane.yaml"]
        .replace("tenant: acme", f"tenant: {tenant}")
        .replace("  customers: [", "  erase: [supervisor]\n  customers: [")
        + trust,
        "keys.json": json.dumps({"keys": [SIGNS.as_dict(private=False)]}),
    }


@asynccontextmanager
async def two(dsn: str) -> AsyncIterator[tuple[Side, Side]]:
    async with AsyncExitStack() as stack:
        sides = []
        for tenant in ("acme", "bravo"):
            billing = await FakeSystem().start()
            stack.push_async_callback(billing.stop)
            settings = Settings(dsn=dsn, tenant=tenant, work=True, system_urls={"billing": billing.url})
            await release(settings, files_of(tenant))
            plane = await stack.enter_async_context(open_plane(settings))
            transport = httpx.ASGITransport(app=http_app(plane, plane.identity))  # type: ignore[arg-type]
            http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://plane"))
            side = Side(tenant, Country(plane, billing, settings), settings, http)
            await side.fill()
            sides.append(side)
        yield sides[0], sides[1]


async def rows_of(dsn: str, tenant: str) -> dict[str, list[str]]:
    """Everything that the store holds of a tenant."""
    link = await asyncpg.connect(dsn)
    try:
        names = await link.fetch(
            "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'"
            " where c.relnamespace = 'cxplane'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition"
            " and not a.attisdropped and c.relname not in ('pgqueuer', 'worker') order by 1"
        )
        return {
            name: [
                r["t"]
                for r in await link.fetch(f"select t::text from cxplane.{name} t where tenant = $1 order by 1", tenant)
            ]
            for (name,) in names
        }
    finally:
        await link.close()


async def at_rest(dsn: str, tenant: str) -> dict[str, list[str]]:
    """The same twice in a row: what went on in the background has come to an end."""
    before = await rows_of(dsn, tenant)
    for _ in range(100):
        await asyncio.sleep(0.2)
        now = await rows_of(dsn, tenant)
        if now == before:
            return now
        before = now
    raise AssertionError("it does not come to rest")
