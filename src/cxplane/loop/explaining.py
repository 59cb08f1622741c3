"""Why something ended as it did, whatever the id names: a request, its approval, a run, a task of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxplane.decide.budgets import reservations
from cxplane.domain.catalog import Action
from cxplane.domain.entries import grounds_from, request_from
from cxplane.domain.errors import ControlError, Forbidden, NotFound, StoreError
from cxplane.domain.people import Caller, CallerKind
from cxplane.domain.record import Entry, RequestRow
from cxplane.domain.values import JsonObject
from cxplane.journeys.timeline import asked_by
from cxplane.loop.access import sees_record
from cxplane.loop.live import Live, Releases
from cxplane.loop.replays import Replays
from cxplane.loop.runs import Journeys
from cxplane.people.approvals import may_see
from cxplane.ports.store import Store
from cxplane.record.about import About
from cxplane.record.explain import explain
from cxplane.record.plain import sections
from cxplane.record.run_story import run_sections
from cxplane.record.sections import Section, as_text

NAMED = 20  # persons that are named as those who could decide
SHOWN = 10  # policies that are shown where none spoke for it


@dataclass(frozen=True, slots=True)
class Explained:
    """`told` is for machines, `sections` are for people. `kind`: request | run."""

    id: str
    kind: str
    told: JsonObject
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        return as_text(self.sections)


class Explaining:
    def __init__(self, tenant: str, store: Store, releases: Releases, journeys: Journeys, replays: Replays) -> None:
        self._tenant, self._store, self._releases = tenant, store, releases
        self._journeys, self._replays = journeys, replays

    async def explain(self, caller: Caller, id: str) -> Explained:
        """NotFound, if nothing has that id; Forbidden, if it is somebody else's."""
        if (row := await self._store.request(self._tenant, id)) is not None:
            self._sees(caller, row)
            return await self._request(row)
        if (approval := await self._store.approval(self._tenant, id)) is not None:
            row = await self._store.request(self._tenant, approval.request)
            assert row is not None
            if not may_see(approval, caller):
                self._sees(caller, row)
            return await self._request(row)
        if (task := await self._store.runs.task(self._tenant, id)) is not None:
            await self._journeys.task(caller, id)  # may the caller see it?
            return await self._run(caller, task.run)
        if await self._store.runs.get(self._tenant, id) is not None:
            return await self._run(caller, id)
        raise NotFound(
            f"nothing on record has the id {id}",
            next="Give the id of a request, approval, run or task: `cxplane decisions` and `cxplane runs list` list them.",
        )

    async def request_of(self, caller: Caller, id: str) -> str:
        """The request that an id names: its own, or that of an approval."""
        approval = await self._store.approval(self._tenant, id)
        row = await self._store.request(self._tenant, approval.request if approval else id)
        if row is None:
            raise NotFound(
                f"no request {id}", next="`cxplane decisions` lists them; a run's are in `cxplane explain RUN`."
            )
        if approval is None or not may_see(approval, caller):
            self._sees(caller, row)
        return row.id

    def _sees(self, caller: Caller, row: RequestRow) -> None:
        if row.caller != caller.name and not sees_record(self._releases.need(), caller):
            raise Forbidden(
                "this request is somebody else's", next="A role under access.record in plane.yaml may see it."
            )

    # runs -----------------------------------------------------------------------------------------------

    async def _run(self, caller: Caller, id: str) -> Explained:
        view = await self._journeys.show(caller, id)
        items = await self._journeys.timeline(caller, id)
        requests = []
        for request in await self._store.runs.requests(self._tenant, id):
            row = await self._store.request(self._tenant, request)
            if row is not None:
                requests.append({"request": row.id, "action": row.action, "verdict": row.verdict, "stands": row.status})
        zone = (await self._live_of(view.run.release) or self._releases.need()).release.repo.plane.time_zone
        run = view.run
        told = {
            "run": {
                "id": run.id,
                "journey": run.journey,
                "release": run.release,
                "status": run.status,
                "started_by": run.started_by,
                "started_at": run.started_at.isoformat(),
                "customer": run.customer,
                "key": run.key,
                "error": run.error,
            },
            "timeline": items,
            "requests": requests,
            "zone": zone,
            "next": view.next,
        }
        return Explained(id, "run", told, tuple(run_sections(told)))

    # requests -------------------------------------------------------------------------------------------

    async def _request(self, row: RequestRow) -> Explained:
        entries = await self._store.stream(self._tenant, row.id)
        told = explain(entries, await self.about(row, entries))
        return Explained(row.id, "request", told, tuple(sections(told)))

    async def about(self, row: RequestRow, entries: Sequence[Entry]) -> About:
        """What the releases that decided say beside the entries of a request."""
        live = self._releases.need()
        policies: dict[tuple[str, str], JsonObject] = {}
        tried: dict[int, Sequence[JsonObject]] = {}
        budgets: dict[int, Sequence[JsonObject]] = {}
        askable: dict[str, Sequence[str]] = {}
        asked = next(e for e in entries if e.kind == "request")
        for entry in entries:
            found = await self._live_of(entry.release) if entry.kind in ("decision", "approval.opened") else None
            if found is None:
                continue
            live = found
            if entry.kind == "approval.opened":
                askable[entry.body["approval"]] = _persons(live, entry.body)
                continue
            meta = live.rulebook.policies.meta
            for policy in {r["policy"] for r in entry.body.get("reasons", ()) if r.get("policy") in meta}:
                policies[(entry.release or "", policy)] = {
                    "policy_text": meta[policy].text,
                    **({"owner": meta[policy].owner} if meta[policy].owner else {}),
                }
            tried[entry.position] = _tried(live, asked, entry)
            budgets[entry.position] = await self._budgets(live, asked, entry)
        action = live.rulebook.action(row.action)
        return About(
            zone=live.release.repo.plane.time_zone,
            currency=live.release.repo.plane.currency,
            policies=policies,
            tried=tried,
            budgets=budgets,
            askable=askable,
            action=_words(action) if action else {},
            links={"replaced_by": row.replaced_by, "undone_by": row.undone_by, **await self._step(row)},
        )

    async def _live_of(self, hash: str | None) -> Live | None:
        try:
            return await self._releases.at(hash) if hash else None
        except (StoreError, ControlError):
            return None

    async def _budgets(self, live: Live, asked: Entry, decided: Entry) -> list[JsonObject]:
        """The counters that an allowed write took from, or the one that had no room."""
        over = decided.body.get("over")
        if asked.body.get("dry_run") or (decided.body["verdict"] != "allow" and over is None):
            return []
        grounds, request = grounds_from(decided), request_from(asked)
        wanted = reservations(live.rulebook, request, grounds.money, grounds.at)
        if over is not None:
            wanted = tuple(one for one in wanted if one.budget == over["budget"])
        used = await self._replays.used(wanted, grounds, decided)
        by_id = {budget.id: budget for budget in live.release.repo.budgets}
        found: list[JsonObject] = []
        for one in wanted:
            stood = used.get((one.budget, one.scope, one.window))
            limits = {k: getattr(one, f"limit_{k}") for k in ("money", "count", "risk")}
            limits = {k: v for k, v in limits.items() if v is not None}
            before = {k: getattr(stood, k, 0) for k in limits}
            if over is not None and over["limit"] in before:
                before[over["limit"]] = over["used"]
            budget = by_id[one.budget]
            found.append(
                {
                    "budget": one.budget,
                    "owner": budget.owner,
                    "window": budget.window.value,
                    "since": one.window,
                    "scope": one.scope,
                    "limits": limits,
                    "before": before,
                    "took": {k: getattr(one, k) for k in limits},
                    "no_room": over is not None,
                }
            )
        return found

    async def _step(self, row: RequestRow) -> Mapping[str, Any]:
        if row.run is None:
            return {}
        run = await self._store.runs.get(self._tenant, row.run)
        steps = asked_by(await self._store.stream(self._tenant, row.run))
        return {"run": row.run, "journey": run[0].journey if run else None, "step": steps.get(row.id)}


def _words(action: Action) -> JsonObject:
    told = {"summary": action.summary, "system": action.system, "owner": action.owner}
    return {**told, "not_undone": action.undo.none} if action.undo and action.undo.none else told


def _tried(live: Live, asked: Entry, decided: Entry) -> list[JsonObject]:
    """Where no policy spoke for it: the permits for a caller like this one, else those for others, as they stood then."""
    if not any(reason.get("code") == "no_policy" for reason in decided.body.get("reasons", ())):
        return []
    caller = request_from(asked).caller
    permits = [p for p in live.rulebook.policies.policies_for(asked.body["action"]) if p.effect == "permit"]
    mine = [
        p for p in permits if (not p.roles or p.roles & caller.roles) and (not p.kinds or caller.kind.cedar in p.kinds)
    ]
    return [
        {"policy": p.id, "file": p.file, "line": p.line, "text": p.reason, "policy_text": p.text}
        for p in (mine or permits)[:SHOWN]
    ]


def _persons(live: Live, approval: JsonObject) -> list[str]:
    """Who could have decided it, by the release of then."""
    found = [
        caller.name
        for caller in live.release.repo.callers.values()
        if caller.kind is CallerKind.PERSON
        and all(caller.roles & set(roles) for roles in approval.get("approver_sets", ()))
        and not (approval.get("four_eyes") and caller.name == approval.get("proposed_by"))
    ]
    more = [f"and {len(found) - NAMED} others"] if len(found) > NAMED else []
    return [*sorted(found)[:NAMED], *more]
