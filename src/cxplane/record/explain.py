"""Why a request ended as it did: one structure for machines, one text for people, both from its entries.

What they name (policies, budgets, persons) is told in the words of the release that decided (`About`). Where personal data was erased, or is not
shown to the reader (`private` is None), names and sources stay and values are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cxplane.domain.decision import Reason, Verdict, for_now
from cxplane.domain.entries import is_intent, judged_at, key_from
from cxplane.domain.outcome import Status
from cxplane.domain.record import Entry
from cxplane.domain.values import JsonObject
from cxplane.record.about import About
from cxplane.record.plain import plain
from cxplane.record.sections import moment

__all__ = ["explain", "plain"]


def explain(entries: Sequence[Entry], about: About = About()) -> JsonObject:  # noqa: B008
    """The story of one request, from the entries of its stream (oldest first), ready for JSON.

    Keys: request, candidates, decisions (each with reasons, tried, facts, tiers, obligations, budgets), approvals, doing, outcome,
    stands, time, links, action, zone, currency, next. ValueError without a `request` entry.
    """
    asked = next((e for e in entries if e.kind == "request"), None)
    if asked is None:
        raise ValueError("these entries hold no request")
    decisions = [_decision(e, about) for e in entries if e.kind == "decision"]
    approvals = _approvals(entries, about)
    outcomes = [e for e in entries if e.kind == "outcome"]
    dry_run = bool(asked.body.get("dry_run")) and bool(decisions)
    stands = Status.PREVIEWED.value if dry_run else _stands(decisions, approvals, outcomes)
    told = {
        "request": _request(asked),
        "candidates": list((asked.private or {}).get("candidates", ())),
        "decisions": decisions,
        "approvals": approvals,
        "doing": _doing(entries),
        "outcome": _outcome(outcomes[-1]) if outcomes else None,
        "stands": stands,
        "time": _time(asked, entries),
        "links": {name: link for name, link in about.links.items() if link},
        "action": dict(about.action),
        "zone": about.zone,
        "currency": about.currency,
    }
    return {**told, "next": _next(stands, told)}


def _request(entry: Entry) -> dict[str, Any]:
    body, private = entry.body, entry.private
    kept = ("id", "action", "version", "customer", "conversation", "channel", "purpose", "confidence", "roles", "team")
    links = ("replaces", "undoes", "dry_run", "key", "input_hash")
    told = {name: body[name] for name in (*kept, *links) if body.get(name) is not None}
    told |= {"by": body["caller"], "at": entry.at.isoformat(), "position": entry.position}
    if private is None:
        return told | {"input": None, "private": entry.erased.words if entry.erased else "not shown, or erased"}
    told["input"] = dict(private.get("input", {}))
    if private.get("reason"):
        told["said_reason"] = private["reason"]
    if private.get("recorded"):
        told["recorded"] = dict(private["recorded"])
    return told


def _decision(entry: Entry, about: About) -> dict[str, Any]:
    body, values = entry.body, (entry.private or {}).get("facts", {})
    facts = []
    for name, fact in body.get("facts", {}).items():
        as_of = fact.get("as_of") or judged_at(entry).isoformat()
        told = {"name": name, "source": fact["source"], "as_of": as_of, "age_s": fact.get("age_s", 0.0)}
        facts.append(told | ({"value": values[name]} if name in values else {}))
    kept = (
        "verdict",
        "determined_by",
        "mode",
        "money",
        "approver",
        "took_ms",
        "facts_ms",
        "expires_at",
        "default",
        "over",
    )
    return {name: body[name] for name in kept if name in body} | {
        "at": entry.at.isoformat(),
        "position": entry.position,
        "release": entry.release,
        "reasons": [
            {**reason, **about.policies.get((entry.release or "", reason.get("policy", "")), {})}
            for reason in body.get("reasons", ())
        ],
        "tried": [dict(policy) for policy in about.tried.get(entry.position, ())],
        "facts": facts,
        "tiers": [dict(tier) for tier in body.get("tiers", ())],
        "obligations": dict(body.get("obligations", {})),
        "approver_sets": [list(roles) for roles in body.get("approver_sets", ())],
        "budgets": [dict(budget) for budget in about.budgets.get(entry.position, ())],
    }


def _approvals(entries: Sequence[Entry], about: About) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        body = entry.body
        if entry.kind == "approval.opened":
            found[body["approval"]] = {
                "approval": body["approval"],
                "opened_at": entry.at.isoformat(),
                "proposed_by": body.get("proposed_by"),
                "approver_sets": [list(roles) for roles in body.get("approver_sets", ())],
                "four_eyes": bool(body.get("four_eyes")),
                "expires_at": body.get("expires_at"),
                "default": body.get("default"),
                "status": "open",
                "askable": list(about.askable.get(body["approval"], ())),
            }
        elif entry.kind == "approval.decided":
            told = found.setdefault(body["approval"], {"approval": body["approval"], "approver_sets": []})
            told |= {"status": body["status"], "decided_by": body.get("decided_by"), "decided_at": entry.at.isoformat()}
            if told.get("opened_at"):
                told["waited_s"] = since(datetime.fromisoformat(told["opened_at"]), entry.at)
            if body.get("replaced_by"):
                told["replaced_by"] = body["replaced_by"]
            if comment := (entry.private or {}).get("comment"):
                told["comment"] = comment
    return list(found.values())


def _doing(entries: Sequence[Entry]) -> dict[str, Any] | None:
    intent = next(filter(is_intent, entries), None)
    outcomes = [e for e in entries if e.kind == "outcome"]
    attempts = [dict(attempt) for e in outcomes for attempt in e.body.get("attempts", ())]
    if intent is None and not outcomes:
        return None
    told: dict[str, Any] = {"attempts": attempts, "looks": max(0, len(outcomes) - 1)}
    if intent is not None:
        told |= {"intended_at": intent.at.isoformat(), "key": key_from(entries)}
    if outcomes and outcomes[-1].body.get("due"):
        told["next_look"] = outcomes[-1].body["due"]
    return told


def _outcome(entry: Entry) -> dict[str, Any]:
    kept = ("status", "confirmed_by", "error", "kind")
    told = {name: entry.body[name] for name in kept if entry.body.get(name) is not None}
    told |= {"at": entry.at.isoformat(), "told_by": entry.actor}
    if entry.private is not None and "output" in entry.private:
        told["output"] = dict(entry.private["output"])
    if (entry.private or {}).get("comment"):
        told["comment"] = (entry.private or {})["comment"]
    return told


def _stands(decisions: list[dict[str, Any]], approvals: list[dict[str, Any]], outcomes: Sequence[Entry]) -> str:
    if outcomes:
        return str(outcomes[-1].body["status"])
    ended = {"rejected": Status.REJECTED, "expired": Status.EXPIRED, "edited": Status.REPLACED}
    if approvals and approvals[-1]["status"] in ended:
        return ended[approvals[-1]["status"]].value
    if not decisions:
        return Status.RUNNING.value
    verdict = decisions[-1]["verdict"]
    return {"hold": Status.HELD, "refuse": Status.REFUSED}.get(verdict, Status.RUNNING).value


def _time(asked: Entry, entries: Sequence[Entry]) -> dict[str, Any]:
    """Seconds between the steps; waiting for a person is told apart from working."""
    told: dict[str, Any] = {"total_s": since(asked.at, entries[-1].at)}
    decided = [e for e in entries if e.kind == "decision"]
    if decided:
        deciding = sum(float(e.body.get("took_ms", 0.0)) for e in decided)
        told["deciding_ms"] = round(deciding, 2)
        if facts := sum(float(e.body.get("facts_ms", 0.0)) for e in decided):
            told |= {"facts_ms": round(facts, 2), "judging_ms": round(max(0.0, deciding - facts), 2)}
    opened = next((e for e in entries if e.kind == "approval.opened"), None)
    closed = next((e for e in entries if e.kind == "approval.decided"), None)
    if opened is not None and closed is not None:
        told["waiting_for_a_person_s"] = since(opened.at, closed.at)
    intent = next(filter(is_intent, entries), None)
    outcomes = [e for e in entries if e.kind == "outcome"]
    if intent is not None and outcomes:
        told["doing_s"] = since(intent.at, outcomes[-1].at)
    calls = [a for e in outcomes for a in e.body.get("attempts", ())]
    if calls:
        told["calls_ms"] = round(sum(float(a["took_ms"]) for a in calls), 2)
    return told


def since(start: datetime, end: datetime) -> float:
    """Seconds."""
    return round((end - start).total_seconds(), 3)


def _next(stands: str, told: Mapping[str, Any]) -> str:
    """What to do now, in one sentence."""
    match stands:
        case Status.DONE:
            never = told["action"].get("not_undone")
            return f"Nothing: it is done. {f'Nothing takes it back: {never}' if never else 'To take it back, ask for its undo.'}"
        case Status.FAILED if (told["outcome"] or {}).get("kind") == "retry":
            return "It was certainly not done. Ask again when the system answers; its key is free."
        case Status.FAILED:
            return "It was certainly not done. Change the request, or ask the owner of the system why it said no."
        case Status.UNKNOWN | Status.RUNNING:
            due = (told["doing"] or {}).get("next_look")
            return "Wait: cxplane is finding out" + (
                f", it looks again at {moment(due, told['zone'])}." if due else "."
            )
        case Status.STUCK:
            return "A person must look in the system and settle the request as done or not done."
        case Status.HELD:
            approval = next((a for a in told["approvals"] if a["status"] == "open"), None)
            who = _roles(approval["approver_sets"]) if approval else "a person"
            until = f" by {moment(approval['expires_at'], told['zone'])}" if approval and approval["expires_at"] else ""
            return f"Wait for {who} to decide{until}; without an answer it ends as: {(approval or {}).get('default', 'refuse')}."
        case Status.REFUSED:
            last = [r for d in told["decisions"][-1:] for r in d["reasons"]]
            if for_now(Reason(r["code"], r["text"], Verdict(r["effect"])) for r in last):
                return (
                    "Nothing was done. Ask again, as a new request, when the system that the fact comes from answers."
                )
            texts = [r["text"] for r in last if r["effect"] == "refuse"]
            return "Change what the reasons name, then ask again" + (f": {texts[0]}" if texts else ".")
        case Status.REJECTED | Status.EXPIRED:
            return "Ask anew if it is still wanted; what the approver said tells what to change."
        case Status.PREVIEWED:
            return "Nothing was done: this was a dry run. Ask without it to act."
        case Status.REPLACED:
            return f"See request {told['approvals'][-1].get('replaced_by', '')}, which replaces this one."
        case _:
            return "Look at the entries of the request."


def _roles(sets: Sequence[Sequence[str]]) -> str:
    return " and ".join(" or ".join(roles) for roles in sets) or "a person"
