"""Releases and conformance: commands that open the store themselves, whether or not a plane runs on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxplane.edges.cli.local import operator, run, store_options, tenant_of, with_store
from cxplane.edges.cli.show import emit, json_option, table, when, working

if TYPE_CHECKING:
    from cxplane.control.release import GateReport
    from cxplane.domain.release import ControlRepo, Release, ReleaseInfo
    from cxplane.domain.values import JsonObject
    from cxplane.ports.store import Store
    from cxplane.wiring import Settings

folder = click.argument("folder", default=".", type=click.Path(path_type=Path))


@click.command(short_help="Check a control repo and make it live.")
@folder
@click.option("--note", default="", help="What is new; kept with the release.")
@click.option("--made-only", is_flag=True, help="Keep it, and let it not decide yet.")
@json_option
@store_options
def release(settings: Settings, folder: Path, note: str, made_only: bool, as_json: bool) -> int:
    """Make a release of the control repo in FOLDER: immutable, known by the hash of its files.

    The gates that plane.yaml names are asked first: check, test, conformance. A running plane takes the new release
    without a restart; running work keeps the one it began with.

    \b
    Examples:
      cxplane release control --note "credits up to 15.00"
      cxplane release control --made-only --json
    """
    with working("release") as tell:
        told, gates = run(with_store(settings, lambda store: _release(store, folder, note, made_only, tell)))
    good = gates.may_be_made if made_only else gates.passed
    if as_json:
        emit({**told, **gates.as_json()})
        return 0 if good else 1
    for gate, said in gates.results.items():
        click.echo(f"{gate:<12} {said}")
    for objection in gates.objections():
        click.echo(f"  {objection}")
    click.echo(_outcome(told))
    return 0 if good else 1


def _outcome(told: dict[str, Any]) -> str:
    short = told["release"][:12]
    if told["live"]:
        before = (
            f"; before: {told['previous'][:12]}" if told["previous"] and told["previous"] != told["release"] else ""
        )
        return f"release {short} is live{before}"
    if told["made"]:
        return f"release {short} is made, and not live"
    return f"release {short} was not made"


async def _release(
    store: Store, folder: Path, note: str, made_only: bool, tell: Any
) -> tuple[dict[str, Any], GateReport]:
    from cxplane.control.release import build

    tell(0, 3, "reading the files")
    return await let_live(store, build(folder), note=note, made_only=made_only, tell=tell)


async def let_live(
    store: Store, made: Release, *, note: str, made_only: bool = False, tell: Any = lambda *_: None
) -> tuple[dict[str, Any], GateReport]:
    """Ask the gates, keep the release and let it decide, as far as the gates let it through."""
    from cxplane.control.release import go_live, make_release, run_gates
    from cxplane.wiring import expressions, policy_engine

    tell(1, 3, "asking the gates")
    gates = await run_gates(made, policy_engine(), expressions(), store=store)
    told: dict[str, Any] = {"release": made.hash, "made": False, "live": False, "previous": None}
    if not gates.may_be_made:
        return told, gates
    tell(2, 3, "writing it to the store")
    now, by = datetime.now(UTC), operator()
    await make_release(store, made, gates, by=by, at=now, note=note)
    told["made"] = True
    if gates.passed and not made_only:
        told["previous"] = await go_live(store, made, by=by, at=now)
        told["live"] = True
    tell(3, 3, "")
    return told, gates


@click.command(short_help="Make an earlier release live again.")
@click.argument("hash", required=False)
@json_option
@store_options
def rollback(settings: Settings, hash: str | None, as_json: bool) -> None:
    """Go back to a release that was live: HASH, or the one before this one. Gates are not asked again.

    \b
    Examples:
      cxplane rollback
      cxplane rollback 9f2b1c04
    """
    back = run(with_store(settings, lambda store: _rollback(store, settings, hash)))
    emit({"release": back, "live": True}) if as_json else click.echo(f"release {back[:12]} is live")


async def _rollback(store: Store, settings: Settings, to: str | None) -> str:
    from cxplane.control.release import rollback as go_back

    tenant = await tenant_of(settings, store)
    return await go_back(store, tenant, by=operator(), at=datetime.now(UTC), to=to)


@click.command(short_help="List the releases, and which one is live.")
@json_option
@store_options
def releases(settings: Settings, as_json: bool) -> None:
    """List the releases, newest first.

    \b
    Example:
      cxplane releases --json | jq '.items[] | select(.live)'
    """
    found = run(with_store(settings, lambda store: _releases(store, settings)))
    if as_json:
        emit({"items": [_info(r) for r in found]})
        return
    table(
        ("release", "live", "made", "by", "gates", "note"),
        [(r.hash[:12], "live" if r.live else "", when(r.at.isoformat()), r.by, _gates(r), r.note) for r in found],
        nothing="There is no release yet. `cxplane release DIR` makes one.",
    )


async def _releases(store: Store, settings: Settings) -> list[ReleaseInfo]:
    if not settings.tenant and not settings.control and not await store.tenants():
        return []
    return sorted(await store.releases(await tenant_of(settings, store)), key=lambda r: r.at, reverse=True)


def _gates(info: ReleaseInfo) -> str:
    return ", ".join(gate if said == "passed" else f"{gate}: {said}" for gate, said in info.gates.items())


def _info(info: ReleaseInfo) -> dict[str, Any]:
    return {
        "hash": info.hash,
        "live": info.live,
        "at": info.at.isoformat(),
        "by": info.by,
        "note": info.note,
        "gates": dict(info.gates),
    }


@click.command(short_help="Test a system: done once, confirmed, undone, refused.")
@click.argument("systems", nargs=-1, metavar="[SYSTEM]...")
@click.option(
    "--control",
    envvar="CXPLANE_CONTROL",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The control repo.",
)
@click.option("--only", multiple=True, help="Only this write; may be given again.")
@json_option
@store_options
def conform(settings: Settings, systems: tuple[str, ...], control: Path, only: tuple[str, ...], as_json: bool) -> int:
    """Test the writes of each SYSTEM (all that can be tested, if none is named) against the system or its fake.

    Four tests a write: the same key twice does it once; a time-out after the commit is found out; what undoes it
    undoes it; wrong input is refused before the call. A write that has not passed is not released live.

    \b
    Examples:
      cxplane conform billing --control control
      CXPLANE_SYSTEM_BILLING_URL=http://127.0.0.1:9001 cxplane conform billing --only billing.issue_credit
    """
    from cxplane.control.load import load

    repo = load(control)
    names = systems or tuple(id for id, system in repo.systems.items() if system.conform)
    if not names:
        raise click.UsageError(f"no system in {control} has a `conform` block; name one that should")
    with working("conform") as tell:
        results = run(with_store(settings, lambda store: _conform(store, settings, repo, names, only, tell)))
    passed = all(result["passed"] for result in results)
    if as_json:
        emit({"passed": passed, "results": results})
        return 0 if passed else 1
    for result in results:
        click.echo(f"{'passed' if result['passed'] else 'FAILED'}  {result['action']}")
        for test in result["tests"]:
            if not test["passed"] or test.get("words"):
                click.echo(f"    {'ok  ' if test['passed'] else 'FAIL'} {test['test']}: {test.get('words', '')}")
    click.echo(f"{sum(bool(r['passed']) for r in results)} of {len(results)} writes passed")
    return 0 if passed else 1


async def _conform(
    store: Store, settings: Settings, repo: ControlRepo, systems: tuple[str, ...], only: tuple[str, ...], tell: Any
) -> list[JsonObject]:
    from cxplane.control.conform import conform as run_tests
    from cxplane.wiring import clock, connectors, expressions, policy_engine

    writes = [a for a in repo.actions.values() if a.writes and a.system in systems and (not only or a.id in only)]
    begun = 0

    def begin(words: str) -> None:
        nonlocal begun
        tell(begun, len(writes), words)
        begun += 1

    connector = connectors(repo, settings)
    found: list[JsonObject] = []
    try:
        for system in systems:
            results = await run_tests(
                repo, system, connector, expressions(), policy_engine(), clock(settings), only=only or None, tell=begin
            )
            for result in results:
                at = datetime.now(UTC)
                await store.save_conformance(repo.plane.tenant, result["action"], result["contract"], result, at)
            found += results
    finally:
        await connector.aclose()
    return found
