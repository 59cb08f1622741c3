"""An explanation in plain words, for a reviewer who knows the business and not the code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_LONGEST = 160  # characters of one value

_VERDICTS = {"allow": "may go ahead", "hold": "needs a person first", "refuse": "is not done"}
_DETERMINED = {"rule": "a built-in rule", "policy": "the operator's policy", "model": "a model", "person": "a person"}
_RESULTS = {
    "done": "the system said it is done",
    "retry": "not done, asking again was safe",
    "refused": "the system said no",
    "unknown": "no clear answer",
    "confirmed": "found: it is done",
    "not_done": "looked: it is not done",
    "unclear": "looked: could not tell",
}
_ENDS = {
    "done": "It was done",
    "failed": "It was not done",
    "unknown": "It is not known yet whether it was done",
    "stuck": "Nobody could find out whether it was done",
    "running": "It is under way",
    "held": "It waits for a person",
    "refused": "It was refused",
    "rejected": "A person rejected it",
    "expired": "Nobody decided in time, so it was not done",
    "replaced": "A person changed it; another request replaces it",
    "previewed": "It was a dry run; nothing was done",
}


def plain(told: Mapping[str, Any]) -> str:
    """The text of `explain`'s structure, some 15 to 60 lines."""
    request = told["request"]
    decided = [_decided(n, decision) for n, decision in enumerate(told["decisions"])]
    parts = [
        _asked(request),
        *decided[:1],
        *(_approved(approval) for approval in told["approvals"]),
        *decided[1:],
        _did(told),
        _timed(told["time"]),
        [f"What to do next: {told['next']}"],
    ]
    candidates = [f"  - {c['action']}{_score(c)}: {c.get('why_not') or 'no reason given'}" for c in told["candidates"]]
    if candidates:
        parts.insert(1, ["What else was considered, and why not:", *candidates])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _asked(request: Mapping[str, Any]) -> list[str]:
    whom = f" for customer {request['customer']}" if request.get("customer") else ""
    lines = [
        f"{request['by']} asked for {request['action']} (version {request.get('version', '?')}){whom}",
        f"  at {_moment(request['at'])}, through {request.get('channel', 'api')}, as request {request['id']}",
    ]
    if request.get("dry_run"):
        lines.append("  as a dry run: nothing would be done")
    if request.get("conversation"):
        lines.append(f"  in conversation {request['conversation']}")
    if request.get("confidence") is not None:
        lines.append(f"  with a stated confidence of {request['confidence']:g}")
    if request.get("roles"):
        lines.append(f"  in the role of {', '.join(request['roles'])}")
    if request.get("said_reason"):
        lines.append(f"  because, as it said: {_value(request['said_reason'])}")
    if request.get("replaces"):
        lines.append(f"  in place of request {request['replaces']}, as an approver changed it")
    if request.get("undoes"):
        lines.append(f"  to take back request {request['undoes']}")
    if request.get("input") is None:
        lines.append(f"  Input: {request.get('private', 'not shown, or erased')}")
    else:
        lines += [f"  {name} = {_value(value)}" for name, value in request["input"].items()]
    for name, value in request.get("recorded", {}).items():
        lines.append(f"  recorded with it: {name} = {_value(value)}")
    return lines


def _decided(n: int, decision: Mapping[str, Any]) -> list[str]:
    again = "Judged again" if n else "Judged"
    verdict = decision["verdict"]
    who = _DETERMINED.get(decision["determined_by"], decision["determined_by"])
    lines = [f"{again} at {_moment(decision['at'])}: {verdict} (it {_VERDICTS[verdict]}), determined by {who}"]
    lines.append(f"  under release {(decision.get('release') or '?')[:12]}, in {decision.get('took_ms', 0):g} ms")
    if decision.get("approver"):
        lines.append(f"  with the approval of {decision['approver']}")
    if decision.get("mode") not in (None, "act"):
        lines.append(f"  mode of the step: {decision['mode']}")
    if decision.get("money") is not None:
        lines.append(f"  money that counts against budgets: {decision['money']} (smallest units)")
    lines += (
        ["  Reasons:", *(f"    - {_reason(reason)}" for reason in decision["reasons"])] if decision["reasons"] else []
    )
    lines += ["  Facts:", *(f"    - {_fact(fact)}" for fact in decision["facts"])] if decision["facts"] else []
    lines += _obliged(decision["obligations"])
    for tier in decision["tiers"]:
        if tier.get("errors"):
            lines.append(f"  Policy errors on {tier['action']}: {'; '.join(tier['errors'])}")
    return lines


def _reason(reason: Mapping[str, Any]) -> str:
    where = f" [{reason['policy']}" if reason.get("policy") else ""
    if where:
        place = f", {reason['file']}:{reason['line']}" if reason.get("file") and reason.get("line") else ""
        where += f"{place}]"
    elif reason.get("where"):
        where = f" [{reason['code']} {reason['where']}]"
    else:
        where = f" [{reason['code']}]"
    return f"{reason['effect']}: {reason['text']}{where}"


def _fact(fact: Mapping[str, Any]) -> str:
    age = f", {fact['age_s']:g} s old" if fact.get("age_s") else ""
    value = _value(fact["value"]) if "value" in fact else "(not shown, or erased)"
    return f"{fact['name']} = {value} (from {fact['source']}{age})"


def _obliged(obligations: Mapping[str, Any]) -> Iterator[str]:
    if obligations.get("require"):
        yield f"  It obliges to: {', '.join(obligations['require'])}"
    if obligations.get("cites"):
        yield f"  It cites: {', '.join(obligations['cites'])}"


def _approved(approval: Mapping[str, Any]) -> list[str]:
    who = " and ".join(" or ".join(roles) for roles in approval["approver_sets"]) or "a person"
    eyes = ", not the one who asked" if approval.get("four_eyes") else ""
    lines = [f"Approval {approval['approval']}: {who} must decide{eyes}"]
    if approval.get("expires_at"):
        lines.append(f"  by {_moment(approval['expires_at'])}; without an answer: {approval.get('default', 'refuse')}")
    if approval["status"] == "open":
        lines.append("  It is still open")
    else:
        by = approval.get("decided_by") or "?"
        lines.append(f"  {approval['status']} by {by} at {_moment(approval['decided_at'])}")
    if approval.get("comment"):
        lines.append(f"  saying: {_value(approval['comment'])}")
    if approval.get("replaced_by"):
        lines.append(f"  replaced by request {approval['replaced_by']}")
    return lines


def _did(told: Mapping[str, Any]) -> list[str]:
    outcome, doing = told["outcome"], told["doing"]
    lines = [f"{_ENDS.get(told['stands'], told['stands'])}."]
    if outcome and outcome.get("confirmed_by"):
        lines[0] = f"{_ENDS.get(told['stands'], told['stands'])}, confirmed by {_confirmed(outcome['confirmed_by'])}."
    if outcome and outcome.get("error"):
        lines.append(f"  What is known: {outcome['error']}")
    if outcome and outcome.get("output"):
        lines += [f"  {name} = {_value(value)}" for name, value in outcome["output"].items()]
    for n, attempt in enumerate((doing or {}).get("attempts", ()), 1):
        said = f" ({attempt['said']})" if attempt.get("said") else ""
        result = _RESULTS.get(attempt["result"], attempt["result"])
        lines.append(f"  {n}. {_moment(attempt['at'])}, {attempt['took_ms']:g} ms: {result}{said}")
    return lines


def _confirmed(by: str) -> str:
    if by == "reply":
        return "the system's reply"
    return f"a look at the system ({by.removeprefix('read ')})" if by.startswith("read ") else by


def _timed(time: Mapping[str, Any]) -> list[str]:
    words: Sequence[tuple[str, str, str]] = (
        ("total_s", "s", "in all"),
        ("deciding_ms", "ms", "deciding"),
        ("waiting_for_a_person_s", "s", "waiting for a person"),
        ("doing_s", "s", "doing"),
        ("calls_ms", "ms", "of it in calls to the system"),
    )
    return ["It took " + ", ".join(f"{time[key]:g} {unit} {what}" for key, unit, what in words if key in time) + "."]


def _score(candidate: Mapping[str, Any]) -> str:
    return f" (score {candidate['score']:g})" if candidate.get("score") is not None else ""


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _moment(text: str) -> str:
    at = datetime.fromisoformat(text).astimezone(UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
