"""Decisions made once more from the record: under their own release, where nothing may differ, or under another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cxplane.decide.again import (
    after_budget,
    compared,
    differences,
    end_of,
    fact_differences,
    other_release,
    same_release,
    shortage,
)
from cxplane.decide.budgets import reservations
from cxplane.decide.rulebook import Rulebook
from cxplane.domain.budget import Reservation
from cxplane.domain.decision import Allowed, Decision, Grounds
from cxplane.domain.entries import grounds_from, key_from, request_from
from cxplane.domain.errors import ControlError, NotFound, StoreError
from cxplane.domain.record import BudgetUse, Entry
from cxplane.domain.request import ActionRequest
from cxplane.domain.values import JsonObject
from cxplane.loop.live import Live, Releases
from cxplane.ports.store import Store
from cxplane.record.replayed import replay_sections
from cxplane.record.sections import Section, as_text

PAGE = 200
WORST = ("same", "unknown", "different", "impossible")


@dataclass(frozen=True, slots=True)
class Replayed:
    """`told` is for machines, `sections` are for people."""

    told: JsonObject

    @property
    def sections(self) -> tuple[Section, ...]:
        return tuple(replay_sections(self.told))

    @property
    def text(self) -> str:
        return as_text(self.sections)


class Replays:
    """`one` request at a time; nothing is read from a system, nothing is written."""

    def __init__(self, tenant: str, store: Store, releases: Releases) -> None:
        self._tenant, self._store, self._releases = tenant, store, releases

    async def one(self, id: str, other: Live | None = None) -> JsonObject:
        """Every decision on a request once more; `other`: under that release instead of its own. NotFound if there is no such request.

        `result`: same | different | unknown (the other release would look at what is not on record) | impossible (its
        release or its data is gone).
        """
        entries = await self._store.stream(self._tenant, id)
        asked = next((e for e in entries if e.kind == "request"), None)
        if asked is None:
            raise NotFound(f"no request {id}", next="`cxplane decisions` lists them.")
        made = [await self._decision(asked, e, entries, other) for e in entries if e.kind == "decision"]
        zone = (other or self._releases.need()).release.repo.plane.time_zone
        return {
            "request": id,
            "action": asked.body["action"],
            "caller": asked.body["caller"],
            "at": asked.at.isoformat(),
            "under": other.release.hash if other else None,
            "hypothetical": other is not None,
            "result": max((d["result"] for d in made), key=WORST.index, default="impossible"),
            "decisions": made,
            "zone": zone,
        }

    async def many(
        self, other: Live | None = None, *, most: int | None = None, **filters: Any
    ) -> AsyncIterator[JsonObject]:
        """Requests that were decided, newest first, each like `one`. `filters`: as for `Store.requests`."""
        cursor: str | None = None
        n = 0
        while most is None or n < most:
            rows, cursor = await self._store.requests(self._tenant, cursor=cursor, limit=PAGE, **filters)
            for row in rows:
                if row.verdict is not None and (most is None or n < most):
                    n += 1
                    yield await self.one(row.id, other)
            if cursor is None:
                return

    async def _decision(self, asked: Entry, decided: Entry, entries: Sequence[Entry], other: Live | None) -> JsonObject:
        told: dict[str, Any] = {
            "position": decided.position,
            "at": decided.at.isoformat(),
            "release": decided.release,
            "verdict": decided.body["verdict"],
        }
        if (why := lost(asked, decided)) is not None:
            return told | {"result": "impossible", "why": why}
        try:
            then = (await self._releases.at(decided.release or "")).rulebook
        except (StoreError, ControlError) as problem:
            return told | {"result": "impossible", "why": f"its release cannot be had: {problem}"}
        request, grounds = request_from(asked), grounds_from(decided)
        key = key_from((asked, decided)) if decided.body["verdict"] != "refuse" else None
        ended = decided.body if key is None else {**decided.body, "key": key}
        before = compared(grounds, ended, exact=other is None)
        if other is None:
            again = await same_release(then, request, grounds)
            now = compared(again.decision.grounds, end_of(again.decision), exact=True)
            found = [*differences(before, now), *fact_differences(grounds, again.facts)]
            return told | {"result": "different" if found else "same", "differences": found}
        guess = await other_release(then, other.rulebook, request, grounds)
        decision, budgets = await self._budgeted(then, other.rulebook, guess.decision, grounds, decided, entries)
        now = compared(decision.grounds, end_of(decision), exact=False)
        found = [*differences(before, now), *budgets]
        result = "unknown" if guess.unknown else "different" if found else "same"
        return told | {
            "result": result,
            "would_be": None if guess.unknown else now["verdict"],
            "differences": found if not guess.unknown else [*budgets],
            "unknown": list(guess.unknown),
        }

    # budgets ------------------------------------------------------------------------------------------

    async def _budgeted(
        self,
        then: Rulebook,
        other: Rulebook,
        decision: Decision,
        grounds: Grounds,
        decided: Entry,
        entries: Sequence[Entry],
    ) -> tuple[Decision, list[dict[str, Any]]]:
        """What the other release's budgets make of it, at what was used then; and where limits differ."""
        request, money = decision.request, decision.grounds.money
        lifted = grounds.approver is not None and any(
            e.kind == "decision" and "over" in e.body and e.position < decided.position for e in entries
        )
        wanted = reservations(other, request, money, grounds.at, force=lifted)
        told = _limits(reservations(then, request, grounds.money, grounds.at), wanted)
        if request.dry_run or not isinstance(decision, Allowed) or not wanted:
            return decision, told
        used = await self.used(wanted, grounds, decided)
        return after_budget(other, decision, shortage(wanted, used)), told

    async def used(
        self, wanted: Sequence[Reservation], grounds: Grounds, decided: Entry
    ) -> Mapping[tuple[str, str, str], BudgetUse]:
        """What stood on these counters when it was decided; from its own entry where that says so."""
        counters = [(r.budget, r.scope, r.window) for r in wanted]
        apart = abs((decided.at - grounds.at).total_seconds())
        since = None  # the plane's time is not that of the wall: every entry may count
        if apart < 60 and counters:
            since = min(datetime.fromisoformat(window) for _, _, window in counters) - timedelta(hours=1)
        found = await self._store.spent(self._tenant, counters, before=decided.position, since=since)
        return {(use.budget, use.scope, use.window): use for use in found}


def _limits(then: Sequence[Reservation], now: Sequence[Reservation]) -> list[dict[str, Any]]:
    """Budgets whose limits for this request are not the same in both."""

    def limits(all_: Sequence[Reservation]) -> dict[str, Any]:
        return {
            f"budget {r.budget}": {
                k: v
                for k, v in (("money", r.limit_money), ("count", r.limit_count), ("risk", r.limit_risk))
                if v is not None
            }
            for r in all_
        }

    return differences(limits(then), limits(now))


def lost(asked: Entry, decided: Entry) -> str | None:
    """Why it cannot be made once more; None if all is there."""
    erased = decided.erased or asked.erased
    words = erased.words if erased else "the personal data of this decision was erased or is not shown"
    request: ActionRequest = request_from(asked)
    try:
        if request.input_hash != asked.body.get("input_hash"):
            return words
    except (ValueError, TypeError):
        return words
    if decided.private is None or set(decided.body.get("facts", ())) - set(decided.private.get("facts", ())):
        return words
    return None
