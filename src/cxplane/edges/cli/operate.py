"""Releases and conformance: commands that open the store themselves, whether or not a plane runs on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxplane.domain.errors import NothingLive
from cxplane.edges.cli.local import operator, run, store_options, with_store
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
@click.option(
    "--requested",
    metavar="TIME",
    help="When the change was asked for, like 2026-01-05T10:00:00Z: lead time counts from it.  "
    "[default: the last commit of FOLDER]",
)
@click.option("--made-only", is_flag=True, help="Keep it, and let it not decide yet.")
@json_option
@store_options
def release(settings: Settings, folder: Path, note: str, requested: str | None, made_only: bool, as_json: bool) -> int:
    """Make a release of the control repo in FOLDER: immutable, known by the hash of its files.

    The gates that plane.yaml names are asked first: check, test, conformance. A running plane takes the new release
    without a restart; running work keeps the one it began with.

    \b
    Examples:
      cxplane release control --note "credits up to 15.00"
      cxplane release control --requested 2026-01-05T10:00:00Z
      cxplane release control --made-only --json
    """
    asked = _asked_at(requested, folder)
    with working("release") as tell:
        told, gates = run(_release(settings, folder, note, asked, made_only, tell))
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


def _asked_at(text: str | None, folder: Path) -> datetime | None:
    """When the change was asked for; without a word, when it was written."""
    from cxplane.control.release import last_commit

    if text is None:
        return last_commit(folder)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--requested is a time like 2026-01-05T10:00:00Z, not {text!r}") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found > datetime.now(UTC):
        raise click.UsageError("--requested is in the future")
    return found


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
    settings: Settings, folder: Path, note: str, requested: datetime | None, made_only: bool, tell: Any
) -> tuple[dict[str, Any], GateReport]:
    from cxplane.control.release import build

    tell(0, 3, "reading the files")
    made = build(folder)

    async def released(store: Store) -> tuple[dict[str, Any], GateReport]:
        return await let_live(store, made, note=note, requested=requested, made_only=made_only, tell=tell)

    return await with_store(settings, released, tenant=made.repo.plane.tenant)


async def let_live(
    store: Store,
    made: Release,
    *,
    note: str,
    requested: datetime | None = None,
    made_only: bool = False,
    tell: Any = lambda *_: None,
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
    await make_release(store, made, gates, by=by, at=now, note=note, requested=requested)
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

    Your files stay as they are: mend them before the next release. Runs of journeys stay on the release that they are
    on; `cxplane migrate` takes them along.

    \b
    Examples:
      cxplane rollback
      cxplane rollback 9f2b1c04
    """
    back, before = run(with_store(settings, lambda store: _rollback(store, hash)))
    if as_json:
        emit({"release": back, "live": True, "previous": before})
    else:
        click.echo(f"release {back[:12]} is live; before: {before[:12] if before else 'none'}")


async def _rollback(store: Store, to: str | None) -> tuple[str, str | None]:
    """(the release that is live now, the one that was)"""
    from cxplane.control.release import rollback as go_back

    before = await store.live_release(store.tenant)
    return await go_back(store, store.tenant, by=operator(), at=datetime.now(UTC), to=to), before


@click.command(short_help="List the releases, and which one is live.")
@json_option
@store_options
def releases(settings: Settings, as_json: bool) -> None:
    """List the releases, newest first, with the lead time: from when a change was asked for until it first decided.

    \b
    Example:
      cxplane releases --json | jq '.items[] | select(.live)'
    """
    try:
        found = run(with_store(settings, _releases))
    except NothingLive:
        found = []
    if as_json:
        emit({"items": [_info(r, lead) for r, lead in found]})
        return
    table(
        ("release", "live", "made", "lead time", "by", "gates", "note"),
        [
            (r.hash[:12], "live" if r.live else "", when(r.at.isoformat()), _long(lead), r.by, _gates(r), r.note)
            for r, lead in found
        ],
        nothing="There is no release yet. `cxplane release DIR` makes one.",
    )


async def _releases(store: Store) -> list[tuple[ReleaseInfo, timedelta | None]]:
    from cxplane.control.release import lead_time

    found = sorted(await store.releases(store.tenant), key=lambda r: r.at, reverse=True)
    return [(info, await lead_time(store, store.tenant, info.hash)) for info in found]


def _long(span: timedelta | None) -> str:
    """A span in the two largest units that it has: `3 d 4 h`, `12 min 5 s`."""
    if span is None:
        return ""
    left = max(0, int(span.total_seconds()))
    parts: list[str] = []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _gates(info: ReleaseInfo) -> str:
    return ", ".join(gate if said == "passed" else f"{gate}: {said}" for gate, said in info.gates.items())


def _info(info: ReleaseInfo, lead: timedelta | None) -> dict[str, Any]:
    return {
        "hash": info.hash,
        "live": info.live,
        "at": info.at.isoformat(),
        "by": info.by,
        "note": info.note,
        "gates": dict(info.gates),
        "lead_time_s": lead.total_seconds() if lead is not None else None,
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
        results = run(
            with_store(
                settings,
                lambda store: _conform(store, settings, repo, names, only, tell),
                tenant=repo.plane.tenant,
            )
        )
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
