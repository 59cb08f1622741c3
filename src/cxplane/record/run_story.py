"""The story of a run in sections: what happened when, and the requests in which it was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxplane.record.sections import Line, Section, moment, section

_ENDS = {
    "ready": "It is on its way",
    "waiting": "It waits",
    "stuck": "It is stuck until a person frees it",
    "suspended": "It is suspended",
    "cancelling": "What was done is being taken back",
    "done": "It reached its end",
    "failed": "It failed",
    "cancelled": "It was cancelled",
}


def run_sections(told: Mapping[str, Any]) -> list[Section]:
    """`told`: run, timeline, requests, zone, next."""
    run, zone = told["run"], told["zone"]
    whom = f" for customer {run['customer']}" if run.get("customer") else ""
    about = [
        f"Run {run['id']} of the journey {run['journey']}{whom}",
        f"started at {moment(run['started_at'], zone)} by {run['started_by']}",
        f"under release {run['release'][:12]}",
    ]
    if run.get("key"):
        about.append(f"for {run['key']}")
    if run.get("error"):
        about.append(f"Because: {run['error']}")
    happened = []
    for item in told["timeline"]:
        request = f" [{item['request']}]" if item.get("request") and item["what"] == "request" else ""
        happened.append(Line(f"{moment(item['at'], zone)}  {item['text']}{request}"))
    asked = [
        f"{one['request']}  {one['action']}: {one['verdict'] or 'not decided yet'}, {one['stands']}"
        for one in told["requests"]
    ]
    parts = [
        section(f"{_ENDS.get(run['status'], run['status'])}.", [*about, f"Times are those of {zone}."], run["status"]),
        section("What happened", happened),
    ]
    if asked:
        parts.append(section("What was decided on its way (explain each by its id)", asked))
    return [*parts, section(f"What to do next: {told['next']}", ())]
