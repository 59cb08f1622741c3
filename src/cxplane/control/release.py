"""Releases: immutable versions of a control repo, known by the hash of their files, let through by gates.

    build → gates (check, test, conformance) → make_release → go_live; rollback goes back to one that was live

A release can be made before its writes have passed conformance; it cannot go live.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cxplane.control.check import check
from cxplane.control.contract import contract_hash
from cxplane.control.load import load
from cxplane.control.test import TestReport, run_tests
from cxplane.domain.entries import release_live, release_made
from cxplane.domain.errors import Conflict, ControlError, Mistake, NotFound, StoreError
from cxplane.domain.record import Entry, NewEntry, Write
from cxplane.domain.release import ControlRepo, Release, ReleaseInfo
from cxplane.domain.values import digest
from cxplane.ports.expressions import Expressions
from cxplane.ports.policy import PolicyEngine
from cxplane.ports.store import Store

__all__ = [
    "GATES",
    "GateReport",
    "build",
    "content_hash",
    "contract_hash",
    "go_live",
    "last_commit",
    "lead_time",
    "make_release",
    "not_conforming",
    "release_named",
    "rollback",
    "run_gates",
]

GATES = ("check", "test", "conformance")
PASSED = "passed"
NOT_ASKED = "not asked: plane.yaml does not name it"


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gates said. `results`: gate -> `passed`, or why it did not or was not asked."""

    results: Mapping[str, str]
    mistakes: tuple[Mistake, ...] = ()  # of check
    tests: TestReport | None = None
    not_conforming: tuple[Mistake, ...] = ()  # writes without a passing conformance record

    @property
    def may_be_made(self) -> bool:
        """Whether check and test let it through."""
        return all(self.results.get(gate) in (PASSED, NOT_ASKED) for gate in ("check", "test"))

    @property
    def passed(self) -> bool:
        """Whether it may go live."""
        return self.may_be_made and self.results.get("conformance") in (PASSED, NOT_ASKED)

    def objections(self) -> tuple[Mistake, ...]:
        """Everything that stands against it, as mistakes with file, line and what to do."""
        failed = self.tests.failed if self.tests is not None else ()
        broken = tuple(
            Mistake(t.file, t.line, f"policy test failed: {_in_one(t.words())}", "run `cxplane test`") for t in failed
        )
        return (*self.mistakes, *broken, *self.not_conforming)

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "gates": dict(self.results),
            "objections": [{"file": m.file, "line": m.line, "what": m.what, "hint": m.hint} for m in self.objections()],
        }


def _in_one(words: str) -> str:
    """The lines of a failed test after the first, as one."""
    return "; ".join(line.strip() for line in words.splitlines()[1:] if line.strip()) or "no reason"


def content_hash(files: Mapping[str, str]) -> str:
    """SHA-256 over the canonical map path -> text: the same files give the same hash, in any order, on any machine."""
    return digest(dict(files))


def build(source: Path | str | Mapping[str, str]) -> Release:
    """The release that these files make. ControlError with all their mistakes."""
    repo = load(source)
    return Release(content_hash(repo.files), repo)


async def run_gates(
    release: Release, engine: PolicyEngine, expressions: Expressions, *, store: Store | None = None
) -> GateReport:
    """Ask the gates that plane.yaml names. Without a store, conformance cannot be known and has not passed."""
    asked = release.repo.plane.gates
    results = dict.fromkeys(GATES, NOT_ASKED)
    mistakes = tuple(check(release.repo.files, engine, expressions))  # always: what is wrong cannot be compiled
    results["check"] = PASSED if not mistakes else _count(len(mistakes), "mistake")
    tests: TestReport | None = None
    if "test" in asked:
        if mistakes:
            results["test"] = "not run: check did not pass"
        else:
            tests = await run_tests(release, engine, expressions)
            results["test"] = PASSED if tests.passed else f"{_count(len(tests.failed), 'test')} failed"
    lacking: tuple[Mistake, ...] = ()
    if "conformance" in asked:
        lacking = await not_conforming(store, release.repo)
        results["conformance"] = PASSED if not lacking else f"{_count(len(lacking), 'write')} without a passing result"
    return GateReport(results, mistakes, tests, lacking)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


async def not_conforming(store: Store | None, repo: ControlRepo) -> tuple[Mistake, ...]:
    """The writes that have no passing conformance result for their contract as it stands now."""
    results = await store.conformance(repo.plane.tenant) if store is not None else {}
    found = []
    for action in repo.actions.values():
        if not action.writes:
            continue
        result = results.get((action.id, contract_hash(action)))
        if result is None:
            earlier = any(id == action.id for id, _ in results)
            what = "has changed since its conformance was tested" if earlier else "has not been tested for conformance"
        elif result.get("passed") is not True:
            broken = [str(t.get("test")) for t in _listed(result.get("tests")) if not t.get("passed")]
            what = "failed conformance" + (f": {'; '.join(broken)}" if broken else "")
        else:
            continue
        found.append(
            Mistake(action.file, action.line, f"the write {action.id} {what}", f"run `cxplane conform {action.system}`")
        )
    return tuple(found)


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, (list, tuple)) else []


async def make_release(
    store: Store,
    release: Release,
    gates: GateReport,
    *,
    by: str,
    at: datetime,
    note: str = "",
    requested: datetime | None = None,
) -> Release:
    """Keep a release, and put on record that it was made and what its gates said. The same files again change nothing but that.

    `requested`: when the change was asked for; lead time is counted from it. `last_commit` knows it as a rule.
    ControlError if check or test did not pass. `by`: a caller's name.
    """
    if not gates.may_be_made:
        raise ControlError(gates.objections())
    tenant = release.repo.plane.tenant
    await store.save_release(tenant, release.hash, release.repo.files)
    made = release_made(release.hash, note=note, gates=gates.results, at=at, actor=by, requested=requested)
    await _append(store, tenant, made)
    return release


def last_commit(folder: Path | str) -> datetime | None:
    """When the files of a folder were last changed in git: when a change was written. None without git, or outside of it."""
    said = ["git", "-C", str(folder), "log", "-1", "--format=%cI", "--", "."]
    try:
        found = subprocess.run(said, capture_output=True, text=True, timeout=10, check=True).stdout.strip()  # noqa: S603
        return datetime.fromisoformat(found).astimezone(UTC) if found else None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


async def lead_time(store: Store, tenant: str, hash: str) -> timedelta | None:
    """From when a release was asked for until it first went live; None where it was not said, or it never did."""
    made = [e for e in await _entries_of(store, tenant, "release.made") if e.body["hash"] == hash]
    live = [e for e in await _entries_of(store, tenant, "release.live") if e.body["hash"] == hash]
    asked = [datetime.fromisoformat(str(e.body["requested"])) for e in made if e.body.get("requested")]
    return live[0].at - min(asked) if asked and live else None


async def go_live(store: Store, release: Release, *, by: str, at: datetime) -> str | None:
    """Let a release that was made decide from now on; gives the hash that decided before, None if there was none.

    Conformance is looked at again, as it stands now: ControlError with every write that has not passed.
    Conflict if the release was not made, or its gates did not pass.
    """
    tenant = release.repo.plane.tenant
    made = await _info(store, tenant, release.hash)
    if made is None:
        raise Conflict(f"release {release.short} was not made", next="Run `cxplane release` on its control repo.")
    stuck = {gate: made.gates.get(gate, "not run") for gate in ("check", "test")}
    if broken := [f"{gate}: {said}" for gate, said in stuck.items() if said not in (PASSED, NOT_ASKED)]:
        raise Conflict(
            f"release {release.short} did not pass its gates ({'; '.join(broken)})", next="Mend it and release again."
        )
    if "conformance" in release.repo.plane.gates and (lacking := await not_conforming(store, release.repo)):
        raise ControlError(lacking)
    return await _live(store, tenant, release.hash, by, at)


async def rollback(store: Store, tenant: str, *, by: str, at: datetime, to: str | None = None) -> str:
    """Go back to a release that was live: `to` (a hash or its first digits), or the one before this one. Gives its hash.

    Gates are not asked again: it has decided before, and going back must never wait.
    NotFound if there is none; Conflict if `to` was never live; StoreError if its files are damaged.
    """
    history = await _history(store, tenant)
    now = await store.live_release(tenant)
    if to is not None:
        target = (await release_named(store, tenant, to)).hash
        if target not in await _ever_live(store, tenant):
            raise Conflict(
                f"release {target[:12]} was never live",
                next="Let it live with `cxplane release`, which asks the gates.",
            )
    elif len(history) < 2:
        raise NotFound("there is no earlier release to go back to", next="List them with `cxplane releases`.")
    else:
        target = history[-2]
    if target == now:
        raise Conflict(f"release {target[:12]} is live already", next="List the others with `cxplane releases`.")
    files = await store.release_files(tenant, target)
    if files is None or content_hash(files) != target:
        raise StoreError(
            f"the files of release {target[:12]} are not as they were released", next="Roll back to another one."
        )
    load(files)
    await _live(store, tenant, target, by, at)
    return target


async def release_named(store: Store, tenant: str, name: str) -> ReleaseInfo:
    """A release by its hash or the first digits of it (6 at least). NotFound, or Conflict if several begin so."""
    known = {info.hash: info for info in await store.releases(tenant)}
    found = [info for hash, info in known.items() if hash.startswith(name.lower())] if len(name) >= 6 else []
    if not found:
        raise NotFound(
            f"there is no release {name!r}", next="List them with `cxplane releases`; name at least 6 digits."
        )
    if len(found) > 1:
        raise Conflict(f"{len(found)} releases begin with {name!r}", next="Name more digits.")
    return found[0]


async def _info(store: Store, tenant: str, hash: str) -> ReleaseInfo | None:
    return next((info for info in await store.releases(tenant) if info.hash == hash), None)


async def _live(store: Store, tenant: str, hash: str, by: str, at: datetime) -> str | None:
    previous = await store.live_release(tenant)
    if previous != hash:
        await _append(store, tenant, release_live(hash, previous=previous, at=at, actor=by))
    return previous


async def _lives(store: Store, tenant: str) -> list[str]:
    """Every time a release went live, oldest first."""
    return [str(entry.body["hash"]) for entry in await _entries_of(store, tenant, "release.live")]


async def _entries_of(store: Store, tenant: str, kind: str) -> list[Entry]:
    found: list[Entry] = []
    after = 0
    while page := await store.entries(tenant, after=after, kind=kind, limit=500):
        found += page
        after = page[-1].position
    return found


async def _ever_live(store: Store, tenant: str) -> set[str]:
    return set(await _lives(store, tenant))


async def _history(store: Store, tenant: str) -> list[str]:
    """The way to the live release: going back to an earlier one takes all after it off, so twice back is two back."""
    way: list[str] = []
    for hash in await _lives(store, tenant):
        if hash in way:
            del way[way.index(hash) + 1 :]
        else:
            way.append(hash)
    return way


async def _append(store: Store, tenant: str, entry: NewEntry) -> None:
    await store.append(Write(tenant=tenant, entries=(entry,)))
