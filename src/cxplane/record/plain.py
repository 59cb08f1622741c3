"""An explanation in plain words, for a reviewer who knows the business and not the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxplane.domain.values import Money
from cxplane.record.sections import Line, Section, as_text, lasting, moment, section, value

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
_TIERS = {
    "allow": "yes",
    "deny": "no",
    "no_decision": "it could not be evaluated, so no",
    "error": "it failed, so no",
}


def plain(told: Mapping[str, Any]) -> str:
    """The text of `explain`'s structure, some 20 to 80 lines."""
    return as_text(sections(told))


def sections(told: Mapping[str, Any]) -> list[Section]:
    """The parts of an explanation, in the order in which things happened."""
    zone = told.get("zone", "UTC")
    shown: set[str] = set()
    decided = [_decided(n, d, told, shown) for n, d in enumerate(told["decisions"], 1)]
    parts: list[Section | None] = [
        _short(told, zone),
        _asked(told, zone),
        _candidates(told["candidates"]),
        *decided[:1],
        *(_approved(approval, zone) for approval in told["approvals"]),
        *decided[1:],
        _did(told, zone),
        _timed(told["time"]),
        _belongs(told.get("links", {})),
        section(f"What to do next: {told['next']}", ()),
    ]
    return [part for part in parts if part is not None]


def _short(told: Mapping[str, Any], zone: str) -> Section:
    """The answer first: how it ended, and by whose word."""
    lines = [f"Times are those of {zone}."]
    if told["decisions"]:
        last = told["decisions"][-1]
        telling = [r for r in last["reasons"] if r["effect"] == last["verdict"]] or last["reasons"]
        lines = [f"Because: {r['text']} ({_where(r)})" for r in telling] + lines
    title, outcome = _ENDS.get(told["stands"], told["stands"]), told["outcome"] or {}
    if outcome.get("confirmed_by"):
        title += f", confirmed by {_confirmed(outcome['confirmed_by'])}"
    return section(f"{title}.", lines, told["stands"])


def _asked(told: Mapping[str, Any], zone: str) -> Section:
    request = told["request"]
    whom = f" for customer {request['customer']}" if request.get("customer") else ""
    title = f"{request['by']} asked for {request['action']} (version {request.get('version', '?')}){whom}"
    lines: list[Line | str] = [
        f"at {moment(request['at'], zone)}, through {request.get('channel', 'api')}, as request {request['id']}"
    ]
    if (action := told.get("action", {})).get("summary"):
        lines.append(f"which is: {action['summary']} (system {action['system']}, owner {action['owner']})")
    if request.get("dry_run"):
        lines.append("as a dry run: nothing would be done")
    if request.get("conversation"):
        lines.append(f"in conversation {request['conversation']}")
    if request.get("purpose"):
        lines.append(f"for the purpose {request['purpose']}")
    if request.get("confidence") is not None:
        lines.append(f"with a stated confidence of {request['confidence']:g}")
    if request.get("roles"):
        lines.append(f"in the role of {', '.join(request['roles'])}")
    if request.get("said_reason"):
        lines.append(f"because, as it said: {value(request['said_reason'])}")
    if request.get("replaces"):
        lines.append(f"in place of request {request['replaces']}, as an approver changed it")
    if request.get("undoes"):
        lines.append(f"to take back request {request['undoes']}")
    if request.get("input") is None:
        lines.append(f"Input: {request.get('private', 'not shown, or erased')}")
    else:
        lines += [Line(value(given), name) for name, given in request["input"].items()]
    for name, given in request.get("recorded", {}).items():
        lines.append(f"recorded with it: {name} = {value(given)}")
    return section(title, lines)


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> Section | None:
    if not candidates:
        return None
    lines = [f"{c['action']}{_score(c)}: {c.get('why_not') or 'no reason given'}" for c in candidates]
    return section("What else was considered, and why not", lines)


def _decided(n: int, decision: Mapping[str, Any], told: Mapping[str, Any], shown: set[str]) -> Section:
    """`shown`: policies whose text stands further up already."""
    verdict, zone = decision["verdict"], told.get("zone", "UTC")
    who = _DETERMINED.get(decision["determined_by"], decision["determined_by"])
    again = "Judged again" if n > 1 else "Judged"
    title = f"{again} at {moment(decision['at'], zone)}: {verdict} (it {_VERDICTS[verdict]}), determined by {who}"
    lines: list[Line | str] = [f"under release {(decision.get('release') or '?')[:12]}"]
    if decision.get("approver"):
        lines.append(f"with the approval of {decision['approver']}")
    if decision.get("mode") not in (None, "act"):
        lines.append(f"mode of the action: {decision['mode']}")
    if decision["reasons"]:
        lines.append(Line("Reasons", head=True))
    for reason in decision["reasons"]:
        lines += _reason(reason, shown)
    if decision.get("tried"):
        lines.append(
            Line("Policies that could have spoken for it, and did not: what they ask for did not hold", head=True)
        )
    for policy in decision.get("tried", ()):
        lines += _reason({**policy, "effect": "permit"}, shown)
    if decision["facts"]:
        lines.append(Line("Facts", head=True))
        lines += [_fact(fact, zone) for fact in decision["facts"]]
    lines += _tiers(decision["tiers"])
    lines += _obliged(decision)
    lines += _budgets(decision, told.get("currency"), zone)
    return section(title, lines, verdict)


def _reason(reason: Mapping[str, Any], shown: set[str]) -> Iterator[Line]:
    yield Line(f"{reason['effect']}: {reason['text']} [{_where(reason)}]", deep=1)
    if reason.get("policy_text") and reason["policy_text"] not in shown:
        shown.add(reason["policy_text"])
        yield Line(reason["policy_text"], deep=2, code=True)


def _where(reason: Mapping[str, Any]) -> str:
    place = f", {reason['file']}:{reason['line']}" if reason.get("file") and reason.get("line") else ""
    owner = f", owner {reason['owner']}" if reason.get("owner") else ""
    if reason.get("policy"):
        return f"{reason['policy']}{place}{owner}"
    return f"{reason['code']} {reason['where']}{place}" if reason.get("where") else f"{reason['code']}"


def _fact(fact: Mapping[str, Any], zone: str) -> Line:
    source = "computed" if fact["source"] == "computed" else f"from {fact['source']}"
    if source == "computed" or source.startswith("from table "):
        when = ""
    else:
        age = f", {lasting(fact['age_s'])} old" if fact.get("age_s") else ""
        said = "" if str(fact["source"]).startswith("recorded") else "read "
        when = f", {said}{moment(fact['as_of'], zone)}{age}"
    told = value(fact["value"]) if "value" in fact else "(not shown, or erased)"
    return Line(f"{told} ({source}{when})", fact["name"], deep=1)


def _tiers(tiers: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    if tiers:
        yield Line("What policy was asked, and said", head=True)
    for tier in tiers:
        action = tier["action"]
        asked = "may it be asked for?" if action.endswith(":request") else "may it go ahead?"
        by = f", by {', '.join(tier['policies'])}" if tier.get("policies") else ", no policy speaks for it"
        errors = f"; errors: {'; '.join(tier['errors'])}" if tier.get("errors") else ""
        yield Line(f"{action}, {asked} {_TIERS.get(tier['outcome'], tier['outcome'])}{by}{errors}", deep=1)


def _obliged(decision: Mapping[str, Any]) -> Iterator[Line]:
    obligations = decision["obligations"]
    if obligations.get("require"):
        yield Line(f"It obliges to: {', '.join(obligations['require'])}")
    if obligations.get("approver_sets"):
        yield Line(f"It asks for the approval of: {_sets(obligations['approver_sets'])}")
    if obligations.get("expires_s"):
        yield Line(f"Who may approve has {lasting(obligations['expires_s'])} to do so")
    if obligations.get("cites"):
        yield Line(f"It cites: {', '.join(obligations['cites'])}")


def _budgets(decision: Mapping[str, Any], currency: str | None, zone: str) -> Iterator[Line]:
    def amount(limit: str, n: int) -> str:
        return Money(n, currency).text if limit == "money" and currency else str(n)

    if decision.get("money") is not None:
        yield Line(f"Money that counts against budgets: {amount('money', decision['money'])}")
    for one in decision.get("budgets", ()):
        of = f" for {one['scope']}" if one.get("scope") else ""
        yield Line(
            f"Budget {one['budget']}{of}, this {one['window']} (from {moment(one['since'], zone)}), owner {one['owner']}"
        )
        for limit, allowed in one["limits"].items():
            before, took = one["before"][limit], one["took"][limit]
            then = f"{amount(limit, took)} asked" if one.get("no_room") else f"{amount(limit, before + took)} after"
            said = f"{amount(limit, before)} used before, {then}, {amount(limit, allowed)} allowed"
            yield Line(f"{limit}: {said}", deep=1)


def _approved(approval: Mapping[str, Any], zone: str) -> Section:
    who = _sets(approval["approver_sets"]) or "a person"
    eyes = ", not the one who asked" if approval.get("four_eyes") else ""
    lines = []
    if approval.get("opened_at"):
        lines.append(f"asked at {moment(approval['opened_at'], zone)}")
    if approval.get("askable"):
        lines.append(f"who could decide it: {', '.join(approval['askable'])}")
    if approval.get("expires_at"):
        lines.append(
            f"by {moment(approval['expires_at'], zone)}; without an answer: {approval.get('default', 'refuse')}"
        )
    if approval["status"] == "open":
        lines.append("It is still open")
    else:
        by = approval.get("decided_by") or "?"
        after = f", after {lasting(approval['waited_s'])}" if approval.get("waited_s") is not None else ""
        lines.append(f"{approval['status']} by {by} at {moment(approval['decided_at'], zone)}{after}")
    if approval.get("comment"):
        lines.append(f"saying: {value(approval['comment'])}")
    if approval.get("replaced_by"):
        lines.append(f"replaced by request {approval['replaced_by']}")
    return section(f"Approval {approval['approval']}: {who} must decide{eyes}", lines, approval["status"])


def _did(told: Mapping[str, Any], zone: str) -> Section | None:
    outcome, doing = told["outcome"] or {}, told["doing"] or {}
    if not outcome and not doing:
        return None
    lines: list[Line | str] = []
    system = told.get("action", {}).get("system")
    if doing.get("intended_at"):
        lines.append(f"The intent was on record at {moment(doing['intended_at'], zone)}, before the call")
    for n, attempt in enumerate(doing.get("attempts", ()), 1):
        said = f" ({attempt['said']})" if attempt.get("said") else ""
        result = _RESULTS.get(attempt["result"], attempt["result"])
        lines.append(f"{n}. {moment(attempt['at'], zone)}, {lasting(attempt['took_ms'] / 1000)}: {result}{said}")
    if outcome.get("error"):
        lines.append(f"What is known: {outcome['error']}")
    if outcome.get("told_by") not in (None, "cxplane"):
        lines.append(f"{outcome['told_by']} settled it at {moment(outcome['at'], zone)}")
    if outcome.get("comment"):
        lines.append(f"saying: {value(outcome['comment'])}")
    if outcome.get("output"):
        lines.append(Line("The system's receipt", head=True))
        lines += [Line(value(given), name, deep=1) for name, given in outcome["output"].items()]
    return section(f"What was done in the system {system}" if system else "What was done", lines)


def _confirmed(by: str) -> str:
    if by == "reply":
        return "the system's reply"
    return f"a look at the system ({by.removeprefix('read ')})" if by.startswith("read ") else by


def _timed(time: Mapping[str, Any]) -> Section:
    words: Sequence[tuple[str, float, str]] = (
        ("facts_ms", 1000, "having the facts"),
        ("judging_ms", 1000, "judging them"),
        ("deciding_ms", 1000, "deciding, both together"),
        ("waiting_for_a_person_s", 1, "waiting for a person"),
        ("doing_s", 1, "doing"),
        ("calls_ms", 1000, "of it in calls to the system"),
    )
    lines = [f"{lasting(time[key] / by)} {what}" for key, by, what in words if key in time]
    return section(f"It took {lasting(time['total_s'])} in all", lines)


def _belongs(links: Mapping[str, Any]) -> Section | None:
    lines = []
    if links.get("run"):
        journey = f" of the journey {links['journey']}" if links.get("journey") else ""
        step = f", step {links['step']}" if links.get("step") else ""
        lines.append(f"the run {links['run']}{journey}{step} asked for it")
    if links.get("replaced_by"):
        lines.append(f"request {links['replaced_by']} stands in its place")
    if links.get("undone_by"):
        lines.append(f"request {links['undone_by']} took it back")
    return section("What it belongs to", lines) if lines else None


def _sets(sets: Sequence[Sequence[str]]) -> str:
    return " and ".join(" or ".join(roles) for roles in sets)


def _score(candidate: Mapping[str, Any]) -> str:
    return f" (score {candidate['score']:g})" if candidate.get("score") is not None else ""
