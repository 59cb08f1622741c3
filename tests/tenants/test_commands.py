"""Every command of the command line, tried from one tenant at another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import uvicorn
from click.testing import CliRunner

from cxplane.edges.cli.app import COMMANDS, cli
from cxplane.edges.http.app import http_app
from cxplane.wiring import new_operator_key
from tests.loop.world import write
from tests.tenants.world import MARK, Side, at_rest, files_of, rows_of, two

Case = Callable[[dict[str, str]], list[str]]
SAY = ["--comment", "x"]


def case(*args: str) -> Case:
    return lambda ids: [arg.format(**ids) for arg in args]


LOCAL = {"init", "check", "test", "impact", "version", "audit verify", "data-key new"}  # no store, no plane
WHOLE = {"backup", "restore", "store recovered", "store upgrade"}
"""Of all that is in the store, whatever tenant is named: for who owns it. They tell no more of a tenant than its name."""
PLANES = {"serve", "work"}  # open a plane for one tenant, as the tests of routes and workers do

STORE: dict[str, list[Case]] = {  # with --dsn and --tenant
    "diff": [case("live", "{release}"), case("{release}", "live")],
    "release": [case("{control}")],
    "rollback": [case("{release}"), case()],
    "releases": [case()],
    "conform": [case("billing", "--control", "{control}")],
    "doctor": [case()],
    "store status": [case()],
    "store redo": [case("--by-hand"), case("{control}/plane.yaml", "--yes")],
    "audit keys new": [case()],
    "audit seal": [case()],
    "audit keys list": [case()],
    "audit consistency": [case("{sealed}")],
    "audit export": [case("{out}/proof")],
    "audit prove": [case("{position}")],
    "audit keys rotate": [case()],
    "evidence": [case("{request}", "--private"), case("{held}"), case("{run}", "--private"), case("{position}")],
    "export": [case("{out}/record"), case("-"), case("{out}/open", "--open"), case("-", "--from", "{position}")],
    "replay": [case("--last", "10", "--control", "{control}")],
    "export-parquet": [case("{out}/tables")],
    "keys create": [case("agent:fin")],
    "keys list": [case()],
    "keys rotate": [case("{key}")],
    "keys revoke": [case("{key}")],
}
PLANE: dict[str, list[Case]] = {  # with --url and a key
    "actions": [case(), case("billing.issue_credit")],
    "act": [
        case(
            *("billing.issue_credit", "account_id=a1", "dispute_id=request-1", "amount=1000", "--customer", "c1"),
            *("--conversation", "{conversation}", "--channel", "chat"),
        )
    ],
    "requests list": [case(), case("--customer", "c1")],
    "requests show": [case("{request}"), case("{held}")],
    "requests settle": [case("{request}", "--done", *SAY)],
    "requests undo": [case("{request}", "--reason", "x")],
    "replay": [
        case("{request}"),
        case("{held}"),
        case("{request}", "--release", "{release}"),
        case("--last", "1000"),
    ],
    "hold": [case("c1", "--reason", "x"), case("c1", "--release")],
    "erase": [
        case("c9", "--reason", "x", "--yes"),
        case("c9", "--verify"),
        case("c8", "--verify"),
        case("c1", "--yes"),
    ],
    "decisions": [case(), case("--customer", "c1")],
    "explain": [case("{request}"), case("{held}")],
    "approvals list": [case(), case("--status", "open")],
    "approvals show": [case("{approval}")],
    "approvals approve": [case("{approval}", *SAY)],
    "approvals edit": [case("{approval}", "amount=1", *SAY)],
    "approvals reject": [case("{approval}", *SAY)],
    "customers list": [case()],
    "customers show": [case("c1")],
    "customers put": [case("c1", "segment=bravo")],
    "customers assure": [case("c1", "--level", "2", "--method", "otp", "--lifetime", "30m")],
    "customers consent": [case("c1", "--purpose", "ads", "--grant", "--source", "x")],
    "conversations open": [case("--customer", "c1", "--channel", "chat")],
    "conversations fact": [case("{conversation}", "x=true")],
    "entries": [case(), case("--stream", "{request}"), case("--after", "0"), case("--stream", "{run}")],
    "runs list": [case(), case("--customer", "c1")],
    "runs start": [case("asked", "about=bravo", "--customer", "c1")],
    "runs show": [case("{run}")],
    "runs watch": [case("{run}", "--to-the-end")],
    "runs timeline": [case("{run}")],
    "runs picture": [case("{run}")],
    "runs suspend": [case("{run}", *SAY)],
    "runs resume": [case("{run}", *SAY)],
    "runs cancel": [case("{run}", *SAY)],
    "runs retry": [case("{run}", *SAY)],
    "runs skip": [case("{run}", "--step", "look", *SAY)],
    "runs move": [case("{run}", "look", *SAY)],
    "runs switch": [case("{run}", "dispute", *SAY)],
    "tasks list": [case(), case("--team", "care")],
    "tasks show": [case("{task}")],
    "tasks answer": [case("{task}", "--choose", "all")],
    "signal": [case("dispute.opened", "x=1", "--id", "s-1")],
    "journeys list": [case()],
    "journeys show": [case("asked")],
    "journeys picture": [case("asked")],
    "journeys export": [case("asked")],
    "migrate": [case("asked", "--from", "{release}", "--to", "live", "--apply")],
}
FOREIGN = {
    "diff",
    "rollback",
    "audit prove",
    "audit consistency",
    "keys revoke",
    "keys rotate",
    *(name for name in PLANE if name.split()[0] in ("approvals", "tasks", "runs")),
}
FOREIGN -= {"approvals list", "tasks list", "runs list", "runs start"}  # these name nothing of the other


def leaves(command: click.Command, name: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for one in command.list_commands(context):
            found = command.get_command(context, one)
            assert found is not None
            yield from leaves(found, f"{name} {one}")
    else:
        yield name


def every() -> set[str]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in COMMANDS}  # type: ignore[attr-defined]
    return {leaf for name, command in found.items() for leaf in leaves(command, name)}


def test_every_command_has_a_case() -> None:
    assert every() == LOCAL | PLANES | WHOLE | set(STORE) | set(PLANE) | {
        "data-key rotate"
    }  # a new command says here how it is tried


@contextlib.asynccontextmanager
async def served(side: Side) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    plane = side.country.plane
    config = uvicorn.Config(http_app(plane, plane.identity), http="httptools", lifespan="off", log_config=None)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await task
    listener.close()


async def called(env: dict[str, str], *args: str) -> Any:
    """In a thread: the plane goes on meanwhile."""
    return await asyncio.to_thread(CliRunner(env=env).invoke, cli, list(args))


async def seal_all(env: dict[str, str]) -> str:
    """Under a key of its own; the size of the tree."""
    key = await called(env, "audit", "keys", "new")
    sealed = await called(env | {"CXPLANE_SEAL_KEY": key.stdout.strip()}, "audit", "seal", "--json")
    assert sealed.exit_code == 0, sealed.output
    return str(json.loads(sealed.stdout)["sealed"])


@pytest.mark.timeout(170)
async def test_no_command_of_one_tenant_shows_or_changes_anything_of_another(dsn: str, tmp_path: Path) -> None:
    async with two(dsn) as (acme, bravo), served(bravo) as url:
        out = tmp_path / "out"
        out.mkdir()
        ids = acme.ids | {"control": str(write(tmp_path / "control", files_of("bravo"))), "out": str(out)}
        base = {"CXPLANE_DATA": str(tmp_path / "data"), "CXPLANE_URL": url}
        ids["sealed"] = await seal_all(base | {"CXPLANE_DSN": dsn, "CXPLANE_TENANT": "acme"})
        before = await at_rest(dsn, "acme")
        seen = await called(base | {"CXPLANE_DSN": dsn, "CXPLANE_TENANT": "acme"}, "keys", "list")
        assert acme.ids["key"] in seen.output  # so that looking for it can find it
        key = await called(base | {"CXPLANE_DSN": dsn, "CXPLANE_TENANT": "bravo"}, "audit", "keys", "new")
        base["CXPLANE_SEAL_KEY"] = key.stdout.strip()
        done, worked = 0, set()
        for name, cases in STORE.items():
            for args in cases:
                env = base | {"CXPLANE_DSN": dsn, "CXPLANE_TENANT": "bravo"}
                result = await called(env, *name.split(), *args(ids))
                done += told(name, result, acme)
                worked |= {name} if result.exit_code == 0 else set()
        for name, cases in PLANE.items():
            for args in cases:
                for caller in ("person:maria", "system:crm"):
                    result = await called(base | {"CXPLANE_KEY": bravo.keys[caller]}, *name.split(), *args(ids))
                    done += told(name, result, acme)
                    worked |= {name} if result.exit_code == 0 else set()
                result = await called(base | {"CXPLANE_KEY": acme.keys["person:maria"]}, *name.split(), *args(ids))
                assert result.exit_code != 0, (name, result.output)
                assert MARK not in result.output
        wrote = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
        assert b'"segment":"bravo"' in wrote.replace(b'": "', b'":"')  # opened, as it is looked for
        assert MARK.encode() not in wrote
        assert acme.ids["run"].encode() not in wrote
        assert worked >= {"audit seal", "audit export", "audit keys list", "evidence", "export", "export-parquet"}
        assert worked >= {"replay", "erase", "hold", "doctor"}
        assert done > 50  # most of them do what they say, with what is theirs
        assert await at_rest(dsn, "acme") == before
        mine = await at_rest(dsn, "bravo")
        fresh = f"{new_operator_key()},{os.environ['CXPLANE_DATA_KEY']}"
        env = base | {"CXPLANE_DSN": dsn, "CXPLANE_TENANT": "bravo", "CXPLANE_DATA_KEY": fresh}
        rotated = await called(env, "data-key", "rotate", "--json")
        assert rotated.exit_code == 0, rotated.output
        assert await rows_of(dsn, "bravo") != mine
        assert await at_rest(dsn, "acme") == before


def told(name: str, result: Any, acme: Side) -> bool:
    """Whether it worked; it must not say or do anything about the other."""
    assert MARK not in result.output, name
    assert acme.ids["key"] not in result.output or name in ("keys revoke", "keys rotate"), name
    assert result.exit_code != 2 or name == "conform", (name, result.output)  # the case itself is well written
    if name in FOREIGN and not (name == "rollback" and "live" in result.output):
        assert result.exit_code != 0, (name, result.output)
    return bool(result.exit_code == 0)
