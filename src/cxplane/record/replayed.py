"""A decision that was made once more, told in sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxplane.record.sections import Line, Section, moment, section, value

_SHORT = {
    "same": "The same",
    "different": "Not the same",
    "unknown": "It cannot be known",
    "impossible": "It cannot be made once more",
}
_NAMES = {
    "verdict": "the answer",
    "determined_by": "what determined it",
    "tiers": "what policy answered",
    "approver_sets": "whose approval it waits for",
    "expires_at": "until when a person may decide",
    "default": "what happens when nobody answers",
    "money": "the money that counts",
    "key": "the business key",
    "mode": "the mode of the action",
}


def replay_sections(told: Mapping[str, Any]) -> list[Section]:
    """`told`: what `Replays.one` gives."""
    zone = told["zone"]
    under = f"under release {told['under'][:12]}" if told["under"] else "under its own release, from the record alone"
    lines = [
        f"{told['caller']} asked for {told['action']} at {moment(told['at'], zone)}, as request {told['request']}",
    ]
    if told["result"] == "impossible":
        lines.append(
            "What the record needs for it is gone; what was decided stands as it was: `cxplane explain` tells it."
        )
    else:
        lines.append(
            f"Every decision on it was made once more {under}. Nothing was read from a system, nothing was done."
        )
    if told["hypothetical"]:
        lines.append("This is hypothetical: what that release would have said. What was decided stands as it was.")
    short = _SHORT[told["result"]]
    title = f"Hypothetical: {short[0].lower()}{short[1:]}." if told["hypothetical"] else f"{short}."
    parts = [section(title, lines, told["result"])]
    parts += [_decision(n, one, zone) for n, one in enumerate(told["decisions"], 1)]
    if not told["decisions"]:
        parts.append(section("Nothing was decided on it yet.", ()))
    return parts


def _decision(n: int, one: Mapping[str, Any], zone: str) -> Section:
    title = f"Decision {n}, {moment(one['at'], zone)}, release {(one['release'] or '?')[:12]}: {one['verdict']}"
    return section(title, _lines(one, zone), one["result"])


def _lines(one: Mapping[str, Any], zone: str) -> Iterator[Line]:
    if one["result"] == "impossible":
        yield Line(f"It cannot be made once more: {one['why']}")
        return
    if one.get("unknown"):
        yield Line("That release would also look at what the record does not hold, so its answer cannot be known:")
        for what in one["unknown"]:
            yield Line(f"- {what}", deep=1)
    elif one["result"] == "same":
        yield Line("The same answer, for the same reasons.")
    elif "would_be" in one:
        yield Line(f"It would be: {one['would_be']}")
    for difference in one["differences"]:
        yield from _difference(difference, zone)


def _difference(difference: Mapping[str, Any], zone: str) -> Iterator[Line]:
    name, then, now = difference["what"], difference["then"], difference["now"]
    if name == "reasons":
        gone, come = _apart(then or (), now or ())
        yield Line("reasons:")
        yield from (Line(f"no longer: {_reason(r)}", deep=1) for r in gone)
        yield from (Line(f"now: {_reason(r)}", deep=1) for r in come)
        if not gone and not come:
            yield Line("the same ones in another order", deep=1)
        return
    yield Line(f"{_NAMES.get(name, name)}: {_told(name, then, zone)} → {_told(name, now, zone)}")


def _obligation(kind: str, of: Any) -> str:
    if kind == "approver_sets":
        return f"approval of {' and '.join(' or '.join(roles) for roles in of)}"
    return f"{kind} {', '.join(of)}"


def _apart(then: Sequence[Any], now: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    return [one for one in then if one not in now], [one for one in now if one not in then]


def _reason(reason: Mapping[str, Any]) -> str:
    where = reason.get("policy") or " ".join(filter(None, (reason["code"], reason.get("where"))))
    return f"{reason['effect']}: {reason['text']} [{where}]"


def _told(name: str, given: Any, zone: str) -> str:
    if given is None or given == {}:
        return "nothing"
    if name == "expires_at":
        return moment(given, zone)
    if name == "approver_sets":
        return " and ".join(" or ".join(roles) for roles in given)
    if name == "obligations":
        return "; ".join(_obligation(kind, of) for kind, of in given.items() if kind not in ("expires_s", "default"))
    if name.startswith("budget "):
        return ", ".join(f"{limit} {allowed}" for limit, allowed in given.items())
    if name == "tiers":
        return "; ".join(
            f"{t['action']} {t['outcome']}" + (f" by {', '.join(t['policies'])}" if t["policies"] else "")
            for t in given
        )
    return value(given)
