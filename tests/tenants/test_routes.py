"""Every route of the HTTP edge, tried from one tenant at another: with its ids, its cursors, its keys and its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cxplane.edges.http.app import http_app
from cxplane.edges.http.routes import ROUTES
from tests.tenants.world import CALLERS, MARK, Side, at_rest, two

Case = tuple[dict[str, str], dict[str, str], Any]  # path, query, body

SAID: dict[str, Any] = {"comment": "x"}


def at(id: str, body: Any = None) -> Callable[[dict[str, str]], Case]:
    return lambda ids: ({"id": ids[id]}, {}, body)


def of(**query: str) -> Callable[[dict[str, str]], Case]:
    """A list with filters; `{name}` stands for an id of the other tenant."""
    return lambda ids: ({}, {name: value.format(**ids) for name, value in query.items()}, None)


CASES: dict[str, list[Callable[[dict[str, str]], Case]]] = {
    "list_actions": [of()],
    "show_action": [lambda ids: ({"id": "billing.issue_credit"}, {}, None)],
    "ask": [
        lambda ids: (
            {},
            {},
            {
                "action": "billing.issue_credit",
                "customer": "c1",
                "conversation": ids["conversation"],
                "channel": "chat",
                "input": {"account_id": "a1", "dispute_id": "request-1", "amount": 1000},
            },
        )
    ],
    "list_requests": [of(), of(customer="c1"), of(cursor="{cursor}")],
    "show_request": [at("request"), at("held")],
    "undo": [at("request", {"reason": "x"})],
    "settle": [at("request", {"done": True, "comment": "x"})],
    "list_decisions": [of(), of(customer="c1"), of(cursor="{cursor}")],
    "show_decision": [at("request"), at("held")],
    "explain": [at("request"), at("held")],
    "replay": [
        at("request"),
        at("held"),
        lambda ids: ({"id": ids["request"]}, {"release": ids["release"]}, None),
    ],
    "evidence": [at("request"), at("run"), lambda ids: ({"id": ids["held"]}, {"private": "true"}, None)],
    "list_replays": [of(), of(release="{release}"), of(action="billing.issue_credit")],
    "list_approvals": [of(), of(status="open"), of(cursor="{cursor}")],
    "show_approval": [at("approval")],
    "approve": [at("approval", SAID)],
    "reject": [at("approval", SAID)],
    "list_journeys": [of()],
    "show_journey": [lambda ids: ({"name": "asked"}, {}, None)],
    "journey_picture": [lambda ids: ({"name": "asked"}, {}, None)],
    "journey_serverless_workflow": [lambda ids: ({"name": "asked"}, {}, None)],
    "migrate_runs": [lambda ids: ({"name": "asked"}, {}, {"from": ids["release"], "to": "live", "apply": True})],
    "start_run": [lambda ids: ({}, {}, {"journey": "asked", "customer": "c1", "input": {"about": "bravo"}})],
    "list_runs": [of(), of(journey="asked"), of(customer="c1"), of(cursor="{cursor}")],
    "show_run": [at("run")],
    "run_timeline": [at("run")],
    "run_picture": [at("run")],
    "suspend_run": [at("run", SAID)],
    "resume_run": [at("run", SAID)],
    "cancel_run": [at("run", SAID)],
    "retry_run": [at("run", SAID | {"step": "look"})],
    "skip_step": [at("run", SAID | {"step": "look"})],
    "move_run": [at("run", SAID | {"step": "look"})],
    "switch_run": [at("run", SAID | {"journey": "dispute"})],
    "list_tasks": [of(), of(team="care"), of(cursor="{cursor}")],
    "show_task": [at("task")],
    "answer_task": [at("task", {"answer": {"choice": "yes"}})],
    "signal": [
        lambda ids: (
            {},
            {},
            {
                "specversion": "1.0",
                "id": "s-1",
                "source": "/crm",
                "type": "dispute.opened",
                "subject": "d-9",
                "data": {},
            },
        )
    ],
    "list_customers": [of(), of(cursor="{cursor}")],
    "show_customer": [lambda ids: ({"id": "c1"}, {}, None)],
    "put_customer": [lambda ids: ({"id": "c1"}, {}, {"attributes": {"segment": "bravo"}})],
    "assure": [lambda ids: ({"id": "c1"}, {}, {"level": 2, "method": "otp", "lifetime": "30m"})],
    "consent": [lambda ids: ({"id": "c1"}, {}, {"purpose": "ads", "granted": True, "source": "x"})],
    "hold_customer": [
        lambda ids: ({"id": "c1"}, {}, {"on": True, "reason": "x"}),
        lambda ids: ({"id": "c1"}, {}, {"on": False}),
    ],
    "erase_customer": [lambda ids: ({"id": "c9"}, {}, {"reason": "x"}), lambda ids: ({"id": "c1"}, {}, {})],
    "show_erasure": [lambda ids: ({"id": "c9"}, {}, None), lambda ids: ({"id": "c1"}, {}, None)],
    "open_conversation": [lambda ids: ({}, {}, {"customer": "c1", "channel": "chat"})],
    "record_fact": [at("conversation", {"name": "x", "value": True})],
    "list_entries": [of(), of(after="0"), of(stream="{request}"), of(stream="{run}"), of(kind="request")],
    "entry_lines": [of(), of(after="0"), of(after="{position}"), of(kind="request")],
    "stream_entries": [of(), of(after="0"), of(after="{position}")],
    "list_releases": [of()],
    "list_budgets": [of()],
    "questions": [of()],
    "index": [of()],
    "health": [of()],
    "health_live": [of()],
    "health_ready": [of()],
    "metrics": [of()],
}
FOREIGN = {"show_approval", "approve", "reject", "show_run", "run_timeline", "run_picture", "suspend_run", "resume_run",
    "cancel_run", "retry_run", "skip_step", "move_run", "switch_run", "show_task", "answer_task"}  # fmt: skip
"""Routes whose id was made by the plane of the other tenant: there is no such thing here."""


def test_every_route_has_a_case() -> None:
    assert {route.name for route in ROUTES} == set(CASES)  # a new route says here how it is tried


async def cursor_of(side: Side) -> str:
    reply = await side.http.get("/v1/requests?limit=1", headers=side.auth("person:maria"))
    return str(reply.json()["next"])


async def hears_its_own(side: Side, other: Side, path: str, query: dict[str, str], headers: dict[str, str]) -> bool:
    """Whether it heard something by the time its last entry came; it must all be its own."""
    plane, stopping = side.country.plane, asyncio.Event()
    app = http_app(plane, plane.identity, stopping=stopping)  # type: ignore[arg-type]
    mine = {e.position for e in await plane.store.entries(side.tenant, limit=1000)}
    came = bytearray()

    async def tapped(scope: Any, receive: Any, send: Any) -> None:
        async def seen(message: Any) -> None:
            came.extend(message.get("body", b""))
            await send(message)

        await app(scope, receive, seen)

    transport = httpx.ASGITransport(app=tapped)
    async with httpx.AsyncClient(transport=transport, base_url="http://plane") as http:
        listening = asyncio.create_task(http.get(path, params=query, headers=headers))
        while not listening.done() and b"\nid: %d\n" % max(mine) not in came:
            await asyncio.sleep(0.02)
        stopping.set()
        reply = await listening
    assert reply.status_code in (200, 403), reply.text
    assert MARK not in reply.text
    heard = {int(line[4:]) for line in reply.text.splitlines() if line.startswith("id: ")}
    assert not heard & {e.position for e in await other.country.plane.store.entries(other.tenant, limit=1000)}
    assert not heard or mine >= {p for p in heard if p <= max(mine)}
    return bool(heard)


@pytest.mark.timeout(120)
async def test_no_route_of_one_tenant_shows_or_changes_anything_of_another(dsn: str) -> None:
    async with two(dsn) as (acme, bravo):
        ids = acme.ids | {"cursor": await cursor_of(acme)}
        assert {"request", "held", "approval", "run", "task", "conversation"} <= set(ids)
        mine = await acme.http.get("/v1/customers/c1", headers=acme.auth("system:crm"))
        assert MARK in mine.text  # so that looking for the mark can find it
        for side in (acme, bravo):  # so that it is not the token that is wrong
            assert (await side.http.get("/v1/actions", headers=side.token("person:maria"))).status_code == 200
        before = await at_rest(dsn, "acme")
        assert before["entry"] and before["customer"] and before["subject_key"]
        assert not any(MARK in row for rows in before.values() for row in rows)  # sealed; the edge gives it to acme
        done = streamed = 0
        for route in ROUTES:
            for case in CASES[route.name]:
                path, query, body = case(ids)
                for caller in CALLERS:
                    if route.streams:
                        streamed += await hears_its_own(bravo, acme, route.path, query, bravo.auth(caller))
                        continue
                    reply = await bravo.http.request(
                        route.method, route.path.format(**path), params=query, json=body, headers=bravo.auth(caller)
                    )
                    assert reply.status_code < 500, (route.name, reply.text)
                    assert MARK not in reply.text, (route.name, caller)
                    if route.name in FOREIGN:
                        assert reply.status_code in (403, 404), (route.name, caller, reply.text)
                    done += reply.is_success
                shown = [acme.auth(caller) for caller in CALLERS]
                shown += [acme.token("person:maria"), bravo.token("person:maria", cxplane_tenant="acme")]
                for credential in () if route.open else shown:
                    reply = await bravo.http.request(
                        route.method, route.path.format(**path), params=query, json=body, headers=credential
                    )
                    assert reply.status_code == 401, (route.name, reply.text)
        assert streamed >= 2  # so that there was something to hear
        assert done > 60  # most of them answer, about what is theirs
        assert await at_rest(dsn, "acme") == before


async def test_a_key_and_an_unknown_key_get_the_same_answer_at_another_tenant(dsn: str) -> None:
    async with two(dsn) as (acme, bravo):
        said = []
        for key in (acme.keys["agent:fin"], "cxp_" + "0" * 12 + "_" + "0" * 48):
            reply = await bravo.http.get("/v1/requests", headers={"Authorization": f"Bearer {key}"})
            said.append((reply.status_code, {k: v for k, v in reply.json().items() if k != "request_id"}))
        assert said[0] == said[1]
        assert said[0][0] == 401
