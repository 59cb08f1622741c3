"""`cxplane doctor`: everything that is usually wrong, looked at in one go."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxplane.domain.errors import (
    ControlError,
    CxplaneError,
    SealBroken,
    SealKeyWrong,
    SecretMissing,
    SinkFailure,
    StoreError,
)
from cxplane.domain.views import Check
from cxplane.edges.cli.local import run, store_options
from cxplane.edges.cli.show import emit, json_option, table

if TYPE_CHECKING:
    from cxplane.domain.release import ControlRepo
    from cxplane.ports.store import Figures, Store
    from cxplane.wiring import Settings

LATE = {  # what is due -> (seconds until warn, until fail, how it is called, what to do)
    "job": (30, 120, "steps of journeys", "Start a worker (`cxplane work`), or more of them."),
    "timer": (30, 120, "times of journeys", "Start a worker (`cxplane work`)."),
    "intent": (
        60,
        300,
        "outcomes to be found out",
        "See `cxplane requests list --status unknown`, and that systems answer.",
    ),
    "approval": (60, 600, "approvals past their time", "Start a plane or a worker: one of them lets approvals expire."),
}
DISK_WARN, DISK_FAIL = 5e9, 1e9  # bytes that are free


@click.command(short_help="Find out what is wrong.")
@click.option("--systems", is_flag=True, help="Call the health address of each business system too.")
@json_option
@store_options
def doctor(settings: Settings, systems: bool, as_json: bool) -> int:
    """Look at this machine, the store, the live release and what waits. Changes nothing.

    Each line says ok, warn or fail, and what to do. An embedded store that does not run is started for the look.
    Exit code: 0 nothing failed, 1 something did, 3 the store cannot be reached.

    \b
    Examples:
      cxplane doctor
      cxplane doctor --systems --json | jq '.checks[] | select(.status != "ok")'
    """
    checks = list(_machine(settings))
    reached = True
    try:
        checks += run(_store(settings, systems))
    except StoreError as problem:
        reached = False
        checks.append(Check("store", "fail", str(problem), problem.next))
    worst = next((s for s in ("fail", "warn") if any(c.status == s for c in checks)), "ok")
    if as_json:
        emit(
            {
                "status": worst,
                "checks": [{"name": c.name, "status": c.status, "said": c.said, "next": c.next} for c in checks],
            }
        )
    else:
        table(
            ("", "what", "found", "do"),
            [(c.status, c.name, c.said, c.next) for c in checks],
            nothing="",
            whole=("", "what"),
        )
    return 3 if not reached else 1 if worst == "fail" else 0


# this machine ----------------------------------------------------------------------------------------------------


def _machine(settings: Settings) -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, requires, version

    running = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Check("python", "ok" if good else "fail", running, "" if good else "cxplane needs Python 3.11 or later.")
    missing = []
    try:
        mine = version("cxplane")
        for line in requires("cxplane") or ():
            if "extra ==" in line:
                continue
            name = line.split(";")[0].split("[")[0].split(">")[0].split("=")[0].strip()
            try:
                version(name)
            except PackageNotFoundError:
                missing.append(name)
    except PackageNotFoundError:
        mine = "not installed as a package"
    found = f"{mine}; missing: {', '.join(missing)}" if missing else mine
    yield Check(
        "cxplane", "fail" if missing else "ok", found, "Install it again with its dependencies." if missing else ""
    )
    where = "the Postgres named by CXPLANE_DSN" if settings.dsn else f"embedded in {settings.data}"
    yield Check("settings", "ok", f"store: {where}")
    yield _disk(settings)
    yield from _modes(settings)


def _disk(settings: Settings) -> Check:
    folder = settings.data.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    status = "fail" if free < DISK_FAIL else "warn" if free < DISK_WARN else "ok"
    what = "logs and seals" if settings.dsn else "the store"
    said = f"{free / 1e9:.1f} GB free for {what}"
    return Check("disk", status, said, "" if status == "ok" else "Make room: without it nothing can be recorded.")


def _modes(settings: Settings) -> Iterator[Check]:
    """Files that hold secrets are for their owner alone."""
    kept = [settings.data / "key", *sorted((settings.data / "keys").glob("*.key"))]
    kept += sorted(p for p in settings.secrets.glob("*") if p.is_file()) if settings.secrets else []
    open_to_all = [path for path in kept if path.is_file() and _open(path)]
    for path in open_to_all:
        yield Check("file modes", "fail", f"everybody on this machine may read {path}", f"chmod 600 {path}")
    if not open_to_all:
        yield Check("file modes", "ok", "secrets are for their owner alone")


def _open(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))


# the store and what is in it -------------------------------------------------------------------------------------


async def _store(settings: Settings, systems: bool) -> list[Check]:
    from cxplane.wiring import examine_store, live_tenants, open_dsn, open_store

    async with open_dsn(settings) as dsn:
        found, known = await examine_store(dsn)
        if not known:
            return found
        tenants = [settings.tenant] if settings.tenant else await live_tenants(dsn)
        for tenant in tenants:
            async with open_store(settings, tenant=tenant) as store:
                found += await _release(settings, store, tenant, systems)
                found += [await _seal(settings, store), await _set_back(store)]
                found += _waiting(await store.figures())
        if not tenants:
            found.append(Check("release", "fail", "none is live", "Run `cxplane release DIR`."))
    return found


async def _release(settings: Settings, store: Store, tenant: str, systems: bool) -> list[Check]:
    from cxplane.control.check import check
    from cxplane.control.load import load
    from cxplane.wiring import expressions, policy_engine

    hash = await store.live_release(tenant)
    files = await store.release_files(tenant, hash) if hash else None
    if hash is None or files is None:
        return [Check(f"release of {tenant}", "fail", "none is live", "Run `cxplane release DIR`.")]
    try:
        repo = load(files)
        if mistakes := check(files, policy_engine(), expressions()):
            raise ControlError(mistakes)
    except ControlError as problem:
        told = f"{hash[:12]} does not pass its checks: {problem.mistakes[0]}"
        return [Check(f"release of {tenant}", "fail", told, "Mend it and release again, or `cxplane rollback`.")]
    return [
        Check(f"release of {tenant}", "ok", f"{hash[:12]}, checks pass"),
        *_secrets(settings, repo),
        *(await _systems(settings, repo) if systems else ()),
    ]


async def _seal(settings: Settings, store: Store) -> Check:
    """Whether a plane with the keys of this machine can seal the record on."""
    from cxplane.wiring import clock, sealer, telemetry

    name, told = f"seal of {store.tenant}", telemetry()
    try:
        made = sealer(settings, store.tenant, store, told, clock(settings), make=False)
        if made is None:
            next = "`cxplane audit keys new` makes a key: docs/how-to/verify-the-record.md."
            return Check(name, "warn", "there is no CXPLANE_SEAL_KEY on this machine", next)
        sealed = await made.look()
    except SinkFailure as problem:
        return Check(name, "warn", str(problem), problem.next)
    except (SealBroken, SealKeyWrong) as problem:
        return Check(name, "fail", str(problem), problem.next)
    finally:
        told.close()
    return Check(name, "ok", f"{sealed.size if sealed else 0} entries are sealed")


async def _set_back(store: Store) -> Check:
    """Whether erasures and the like that a restore undid are done again."""
    from cxplane.loop.redoing import set_back

    name = f"restores of {store.tenant}"
    if not (restored := await set_back(store)):
        return Check(name, "ok", "none, or looked after")
    said = f"set back at {restored[-1].at:%Y-%m-%d %H:%M}: erasures, revoked keys and withdrawn consents since then are undone"
    return Check(
        name, "fail", said, "`cxplane store redo EXPORT` does them again; without an export: by hand, then --by-hand."
    )


def _secrets(settings: Settings, repo: ControlRepo) -> Iterator[Check]:
    """By name; no value is shown."""
    from cxplane.wiring import vault

    kept, missing = vault(settings), False
    for system in repo.systems.values():
        auth = system.auth or {}
        name = auth.get("bearer") or auth.get("basic") or auth.get("secret")
        if not name:
            continue
        try:
            kept.secret(name)
        except SecretMissing as problem:
            missing = True
            yield Check(f"secret {name}", "warn", f"not there on this machine; {system.id} needs it", problem.next)
    if not missing:
        yield Check("secrets", "ok", "all that the release names are there")


async def _systems(settings: Settings, repo: ControlRepo) -> list[Check]:
    from cxplane.wiring import connectors

    opened = connectors(repo, settings)
    try:
        answers = await opened.health()
    except CxplaneError as problem:
        return [Check("systems", "fail", str(problem), problem.next)]
    finally:
        await opened.aclose()
    told = {True: ("ok", "answers"), False: ("fail", "does not answer"), None: ("ok", "has no health address")}
    return [
        Check(
            f"system {id}",
            *told[well],
            "" if well is not False else "Ask its owner; requests that need it wait or are refused.",
        )
        for id, well in answers.items()
    ]


def _waiting(figures: Figures) -> Iterator[Check]:
    for what, (warn_s, fail_s, name, next) in LATE.items():
        late = figures.late_s[what]
        status = "fail" if late > fail_s else "warn" if late > warn_s else "ok"
        said = f"{late:.0f} s late" if late else "none is late"
        yield Check(name, status, said, "" if status == "ok" else next)
    stuck = figures.runs.get("stuck", 0)
    yield Check("stuck runs", "warn" if stuck else "ok", str(stuck), "`cxplane runs list --stuck`" if stuck else "")
    failed = sum(n for (_, status), n in figures.jobs.items() if status == "failed")
    next = "The log of the workers says why: they tried 20 times." if failed else ""
    yield Check("jobs given up", "warn" if failed else "ok", str(failed), next)
