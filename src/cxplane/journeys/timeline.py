"""What happened in a run, in the order of the record and in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cxplane.domain.entries import request_of
from cxplane.domain.journey import ERRORS, Journey, Step
from cxplane.domain.record import Entry
from cxplane.domain.run import RunStatus
from cxplane.journeys.words import about, listed, span, steps_by_name, time

Item = dict[str, Any]
_HOW: Mapping[str, str] = {
    "entered": "begins",
    "done": "done",
    "passed by": "passed by: its condition does not hold",
    "waits": "waits",
    "undone": "taken back",
    "retried": "tried again",
    "moved": "a person moved the run here",
    "skipped": "a person skipped it",
    "migrated": "goes on here in the new release",
    "not for it": "a signal came that it could not judge, and left",
    "suspended": "the run is suspended",
    "resumed": "the run goes on",
    "cancelled": "the run is being cancelled",
}
_TOLD: Mapping[str, str] = {
    "suspend": "suspend the run",
    "resume": "go on",
    "cancel": "cancel the run",
    "retry": "try again",
    "skip": "skip what is stuck",
    "move": "go on elsewhere",
    "migrate": "go on by the new release",
    "fail": "end the run as failed",
}
_TASK: Mapping[str, str] = {
    "approve": "say yes or no",
    "choose": "choose",
    "fill": "fill in a form",
    "do": "do the step by hand",
    "propose": "release a proposed call",
    "hand_over": "take over",
    "stuck": "free the run",
}
_ENDS: Mapping[str, str] = {
    RunStatus.DONE: "the run is done",
    RunStatus.FAILED: "the run failed",
    RunStatus.CANCELLED: "the run is cancelled",
    RunStatus.STUCK: "the run is stuck until a person frees it",
}
_OUTCOME: Mapping[str, str] = {
    "done": "was done",
    "failed": "was not done",
    "unknown": "may or may not have been done; it is being found out",
    "stuck": "may or may not have been done; a person finds out",
}
_VERDICT: Mapping[str, str] = {"allow": "allowed", "hold": "held for approval", "refuse": "refused"}


def timeline(
    journey: Journey | None, entries: Sequence[Entry], earlier: Mapping[str, Journey] | None = None
) -> list[Item]:
    """One item for each thing that happened: {at, position, what, text, actor, step?, how?, request?}.

    `entries`: of the run, and of the requests that it asked for, in any order. `what` is the kind of entry, `at` is
    ISO 8601. `journey` None: its definition is no longer known, and steps are told by name alone. `earlier`: release -> its definition, where the run came over from others.
    """
    return _Teller(journey, sorted(entries, key=lambda e: e.position), earlier or {}).items()


def words(journey: Journey | None, entries: Sequence[Entry]) -> list[str]:
    """The timeline as lines, each with how long after the beginning it was: "+2 hours  credit: waits"."""
    items = timeline(journey, entries)
    if not items:
        return []
    times = [datetime.fromisoformat(item["at"]) for item in items]
    after = ["start" if at <= times[0] else f"+{span(at - times[0])}" for at in times]
    after = ["+under a second" if said == "+no time" else said for said in after]
    wide = max(len(said) for said in after)
    return [f"{said:<{wide}}  {item['text']}" for said, item in zip(after, items, strict=True)]


class _Teller:
    def __init__(self, journey: Journey | None, entries: Sequence[Entry], earlier: Mapping[str, Journey]) -> None:
        self._steps: Mapping[str, Step] = steps_by_name(journey)
        self._earlier = {release: steps_by_name(one) for release, one in earlier.items()}
        self._entries = entries
        self._step_of = asked_by(entries)  # request or task -> step
        self._action_of = {e.body["id"]: e.body["action"] for e in entries if e.kind == "request"}
        self._status: str | None = None  # the last one that was told

    def items(self) -> list[Item]:
        told: list[Item] = []
        for entry in self._entries:
            if teller := _KINDS.get(entry.kind):
                told += teller(self, entry)
        if gone := next((e for e in self._entries if e.erased is not None), None):
            assert gone.erased is not None
            told.append(
                {
                    "at": gone.erased.at.isoformat(),
                    "position": self._entries[-1].position,
                    "what": "erased",
                    "text": _sentence(gone.erased.words),
                    "actor": gone.erased.by,
                }
            )
        return told

    def _item(self, entry: Entry, text: str, *, step: str | None = None, how: str | None = None) -> Item:
        request = request_of(entry)
        step = step or self._step_of.get(request or entry.body.get("task", ""))
        item = {
            "at": entry.at.isoformat(),
            "position": entry.position,
            "what": entry.kind,
            "step": step or None,
            "how": how,
            "text": f"{step}: {text}" if step else _sentence(text),
            "request": request,
            "actor": entry.actor,
        }
        return {name: value for name, value in item.items() if value is not None}

    # the run ----------------------------------------------------------------------------------------

    def started(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        key = f" for {body['key']}" if body.get("key") else ""
        parent = f", as part of run {body['parent']}" if body.get("parent") else ""
        yield self._item(
            entry, f"the journey {body['journey']} starts{key}, by {body['started_by']}{parent}", how="started"
        )

    def advanced(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        for event in _events(body.get("event")):
            yield self._item(entry, event, how="event")
        texts = (entry.private or {}).get("texts", {})
        for step, how, *error in body.get("went", ()):
            yield self._item(
                entry, self._went(entry, step, how, error[0] if error else None, texts.get(step)), step=step, how=how
            )
        status = str(body.get("status"))
        if status in _ENDS and status != self._status:
            why = f": {body['error']}" if body.get("error") else ""
            yield self._item(entry, _ENDS[status] + why, how=status)
        self._status = status

    def _went(self, entry: Entry, name: str, how: str, error: str | None, text: str | None) -> str:
        if how == "taken":
            return "this case holds"
        why = f" ({text})" if text else ""
        if how == "failed":
            return f"failed, {error or 'an error'}: {text or ERRORS.get(error or '', 'raised by the journey')}"
        said = _HOW.get(how, how)
        if how == "retried" and error:
            return f"{said} after {error}{why}"
        step = self._earlier.get(entry.release or "", self._steps).get(name)
        if how in ("waits", "entered") and step is not None:
            return f"{said} ({step.kind}: {about(step)})"
        return said + why

    def told(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        where = f" ({body['step']})" if body.get("step") else ""
        kept = ", without taking anything back" if body.get("compensate") is False else ""
        to = f", and goes on as run {body['switched_to']}" if body.get("switched_to") else ""
        text = f"told to {_TOLD.get(body['what'], body['what'])}{where}{kept}{to}, by {body['by']}{_comment(entry)}"
        yield self._item(entry, text, how=body["what"])

    # tasks ------------------------------------------------------------------------------------------

    def opened(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        who = body.get("person") or body.get("team") or "somebody"
        due = f", due {time(body['due'])}" if body.get("due") else ""
        text = f"{who} is asked to {_TASK.get(body['what'], body['what'])}{due}"
        yield self._item(entry, text, step=body.get("step"), how="asked")

    def moved(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        how = str(body["how"])
        said = {
            "reminded": "a reminder was sent",
            "escalated": f"nobody answered, so it went to {body.get('team', 'another team')}",
            "closed": "nobody needs to answer any more",
        }
        yield self._item(entry, said.get(how, how), step=body.get("step"), how=how)

    def answered(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        answer = _answer((entry.private or {}).get("answer", {}))
        if body["how"] == "defaulted":
            text = f"nobody answered in time, so the default counts{answer}"
        else:
            text = f"{body['by']} answers{answer}{_comment(entry)}"
        yield self._item(entry, text, how=body["how"])

    # requests ---------------------------------------------------------------------------------------

    def request(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        undoes = f", to take back {body['undoes']}" if body.get("undoes") else ""
        yield self._item(entry, f"{body['action']} is asked for by {body['caller']}{undoes}", how="asked")

    def decision(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        reasons = "; ".join(r["text"] for r in body.get("reasons", ()) if r.get("text"))
        verdict = _VERDICT.get(body["verdict"], body["verdict"])
        yield self._item(
            entry, f"{self._action(entry)} is {verdict}" + (f": {reasons}" if reasons else ""), how=verdict
        )

    def outcome(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        error = f": {body['error']}" if body.get("error") else ""
        status = body["status"]
        text = f"{self._action(entry)} {_OUTCOME.get(status, status)}{error}{_comment(entry)}"
        yield self._item(entry, text, how=status)

    def approval_opened(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        sets = [listed(s, "or") for s in body.get("approver_sets", ())]
        until = f" until {time(body['expires_at'])}" if body.get("expires_at") else ""
        text = f"{self._action(entry)} waits for the approval of {listed(sets) or 'a person'}{until}"
        yield self._item(entry, text, how="held")

    def approval_decided(self, entry: Entry) -> Iterator[Item]:
        body = entry.body
        status, by = body["status"], body.get("decided_by", entry.actor)
        text = (
            f"nobody approved {self._action(entry)} in time"
            if status == "expired"
            else f"{self._action(entry)} is {status} by {by}"
        )
        replaced = f"; {body['replaced_by']} stands in its place" if body.get("replaced_by") else ""
        yield self._item(entry, text + replaced + _comment(entry), how=status)

    def _action(self, entry: Entry) -> str:
        action: str = entry.body.get("action") or self._action_of.get(request_of(entry) or "", "the action")
        return action


_KINDS: Mapping[str, Callable[[_Teller, Entry], Iterator[Item]]] = {
    "run.started": _Teller.started,
    "run.advanced": _Teller.advanced,
    "run.told": _Teller.told,
    "task.opened": _Teller.opened,
    "task.moved": _Teller.moved,
    "task.answered": _Teller.answered,
    "request": _Teller.request,
    "decision": _Teller.decision,
    "outcome": _Teller.outcome,
    "approval.opened": _Teller.approval_opened,
    "approval.decided": _Teller.approval_decided,
}


def asked_by(entries: Sequence[Entry]) -> dict[str, str]:
    """Which step a request or task belongs to, as far as the record says so."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "task.opened":
            found[entry.body["task"]] = entry.body.get("step", "")
        state = (entry.private or {}).get("state") if entry.kind == "run.advanced" else None
        if not state:
            continue
        for token in state.get("tokens", ()):
            wait = token.get("wait") or {}
            if wait.get("request") and wait.get("kind", "call") == "call":
                found[wait["request"]] = token.get("at", "")
        found |= {did["request"]: did["step"] for did in state.get("did", ())}
    return found


def _events(event: Any) -> Iterator[str]:
    """What came from outside and has no entry of its own in the run's streams."""
    names = (
        [event.get("kind", "")] if isinstance(event, Mapping) else [event] if isinstance(event, str) else event or ()
    )
    for name in names:
        kind, _, what = str(name).partition(" ")
        if kind == "signal" and what:
            yield f"the signal {what} came"
        elif kind == "time":
            yield {"remind": "it is time for a reminder", "escalate": "it is time to ask another team"}.get(
                what, "the time that was waited for has come"
            )
        elif name == "journey ended":
            yield "a journey that was started from here has ended"


def _answer(answer: Mapping[str, Any]) -> str:
    if "approved" in answer:
        return ": yes" if answer["approved"] else ": no"
    if "choice" in answer:
        return f": {answer['choice']}"
    if isinstance(answer.get("values"), Mapping):
        return f": fills in {listed(sorted(answer['values']))}" if answer["values"] else ""
    return ": finished" if answer.get("done") else ""


def _comment(entry: Entry) -> str:
    comment = (entry.private or {}).get("comment")
    return f" (“{comment}”)" if comment else ""


def _sentence(text: str) -> str:
    """With a capital, unless it begins with the name of an action."""
    return text if "." in text.partition(" ")[0] else text[:1].upper() + text[1:]
