"""The reference pages of what a plane tells: errors, answers, metrics, entries and exports."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pages import SRC, head, page, rows

# errors ----------------------------------------------------------------------------------------------------


def errors() -> str:
    from cxplane.domain import errors as family
    from cxplane.edges.cli.app import exit_code
    from cxplane.edges.http.problems import TYPES, problem_of

    tree = inspect.cleandoc(family.__doc__ or "").split("\n\n")[1]
    lines = head("Errors", "`src/cxplane/domain/errors.py` and `src/cxplane/edges/http/problems.py`")
    lines += [
        "An error is a surprise. A refusal is none: it is an [answer](answers.md), on record and explained like a yes. "
        "Every error carries one sentence on what to do next, and never holds customer data.",
        "",
        "```text",
        inspect.cleandoc(tree),
        "```",
        "",
        "## The family",
        "",
    ]
    found = []
    for name, kind in vars(family).items():
        if inspect.isclass(kind) and issubclass(kind, family.CxplaneError) and kind is not family.CxplaneError:
            for label, example in _examples(name, kind):
                text = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
                found.append((f"`{label}`", problem_of(example).status, exit_code(example), text, example.next))
    lines += rows(("error", "HTTP", "exit code", "meaning", "what to do next (as a rule)"), found)
    lines += [
        "## HTTP",
        "",
        "Errors come as `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`, `next`, `request_id`, "
        "and `where` (a JSON pointer, or `?name` of a query parameter) where one is known.",
        "",
    ]
    lines += rows(
        ("type", "status", "title"), [(f"`urn:cxplane:problem:{t}`", s, title) for t, (s, title) in TYPES.items()]
    )
    return page(lines)


def _examples(name: str, kind: Any) -> list[tuple[str, Any]]:
    """One instance of each kind of an error, made from the types of its arguments."""
    from cxplane.domain.errors import FailureKind

    told: list[tuple[str, Any]] = []
    for failure in FailureKind if "FailureKind" in str(inspect.signature(kind)) else [None]:
        given: dict[str, Any] = {}
        for parameter in inspect.signature(kind).parameters.values():
            text = str(parameter.annotation)
            if parameter.default is not inspect.Parameter.empty:
                continue
            given[parameter.name] = (
                failure if "FailureKind" in text else 1.0 if "float" in text else () if "Sequence" in text else "…"
            )
        told.append((name if failure is None else f"{name} ({failure})", kind(**given)))
    return told


# answers ---------------------------------------------------------------------------------------------------

CODES = {
    "policy": "A policy of the control repo; `policy`, `file` and `line` say which.",
    "no_policy": "No policy permits it. Silence refuses.",
    "policy_error": "A policy failed, or the engine could not be asked.",
    "input": "The input breaks the contract; `where` is a JSON pointer.",
    "caller": "The caller may not ask for this at all.",
    "customer": "The customer is missing or not known.",
    "conversation": "The conversation is not known, or is with somebody else.",
    "fact": "A fact could not be had; `where` is its name.",
    "unavailable": "A fact could not be had because its system does not answer now; `where` is its name. "
    "Where nothing else refuses, ask again later, as a new request.",
    "scope": "The agent's data scope does not reach so far.",
    "consent": "The customer has not allowed the use of this data for this purpose.",
    "budget": "A budget has no room; `where` is its id.",
    "mode": "An AI may only propose this; or only a person may do it.",
    "confidence": "The stated confidence is below the threshold.",
    "key": "The business key cannot be made from the input.",
    "approver": "Who released it, or why somebody may not.",
    "action": "The live release has no such action.",
}


def answers() -> str:
    from cxplane.domain.outcome import Status

    decision = (SRC / "domain" / "decision.py").read_text(encoding="utf-8")
    outcome = (SRC / "domain" / "outcome.py").read_text(encoding="utf-8")
    listed = re.search(r"code: str  # ([a-z_ |]+)", decision)
    codes = [code.strip() for code in listed[1].split("|")] if listed else []
    if set(codes) != set(CODES):
        raise SystemExit(f"scripts/reference_plane.py: CODES and Reason.code differ: {sorted(set(codes) ^ set(CODES))}")
    lines = head("Answers", "`src/cxplane/domain/decision.py` and `outcome.py`")
    lines += [
        "Every request gets a decision with reasons. How it was asked does not matter: HTTP, command line or code.",
        "",
        "## Decisions",
        "",
        *rows(
            ("decision", "meaning"),
            [
                ("`allow`", "It may be carried out, and is, once."),
                ("`hold`", "It waits for a person. Nothing is done until then; it expires safely."),
                ("`refuse`", "It is not done. The reasons say why, `next` what would change it."),
            ],
        ),
        "## Where a request stands",
        "",
    ]
    meaning = {
        "done": "the system confirmed it",
        "held": "an approval waits for a person",
        "refused": "policy or a rule said no",
        "previewed": "a dry run: judged and shown, not done",
        "expired": "nobody decided in time, so it is not done",
        "rejected": "a person said no",
    }
    found = []
    for status in Status:
        said = re.search(rf'^    {status.name} = "{status.value}"  # (.+)$', outcome, re.M)
        text = said[1] if said else meaning.get(status.value, "")
        found.append((f"`{status.value}`", "yes" if status.final else "not yet", text))
    lines += rows(("status", "final", "meaning"), found)
    lines += [
        "## Reasons",
        "",
        "A reason is `{code, text, effect}`, with `policy`, `file`, `line` or `where` where they apply. `effect` is what this "
        "reason alone would lead to.",
        "",
        *rows(("code", "meaning"), [(f"`{code}`", CODES[code]) for code in codes]),
    ]
    return page(lines)


# metrics and entries ---------------------------------------------------------------------------------------


def metrics() -> str:
    from cxplane.adapters.telemetry import METRICS, PREFIX

    text = (
        "`GET /metrics`, in the Prometheus text format. Labels are few and bounded; customer data is never among them."
    )
    found = []
    for name, metric in METRICS.items():
        told = f"{PREFIX}{name}" + ("_total" if metric.kind == "counter" else "")
        found.append((f"`{told}`", metric.kind, ", ".join(metric.labels), metric.help))
    return page(
        head("Metrics", "`src/cxplane/adapters/telemetry.py`", text)
        + rows(("name", "kind", "labels", "meaning"), found)
    )


def entries() -> str:
    from cxplane.domain import entries as kinds

    kinds_text, _, rest = inspect.cleandoc(kinds.__doc__ or "").partition("Folding rules:")
    table = kinds_text.split("\n\n", 1)[1].rstrip()
    lines = head("Entries", "`src/cxplane/domain/entries.py` and `record.py`")
    lines += [
        "The record is a journal of entries; everything else (where a request stands, budgets, approvals, customers) is folded "
        "from them in the statement that appends. Read it with `cxplane entries` or `GET /v1/entries?after=0`: in order, without "
        "a gap, from any position.",
        "",
        "## An entry",
        "",
    ]
    source = (SRC / "domain" / "record.py").read_text(encoding="utf-8")
    body = re.search(r"class NewEntry\b.*?\n\n\n", source, re.S)
    assert body is not None, "src/cxplane/domain/record.py holds no NewEntry"
    found: list[tuple[object, ...]] = [
        ("`position`", "`int`", "its place; grows, never used twice"),
        ("`tenant`", "`str`", ""),
    ]
    for name, kind, text in re.findall(r"^    (\w+): ([^=#\n]+?)(?: = [^#\n]+?)?(?:  # (.+))?$", body[0], re.M):
        found.append((f"`{name}`", f"`{kind.strip()}`", text))
    lines += rows(("field", "type", "meaning"), found)
    lines += ["Personal data is in `private`, never in `body`.", "", "## Kinds", "", "```text", table, "```", ""]
    lines += ["## How state is folded", "", rest.strip(), ""]
    return page(lines)


def export_schema() -> str:
    from cxplane.record.tables import TABLES, VERSION

    lines = head("Tables of an export", "`src/cxplane/record/tables.py`")
    lines += [
        f"What `cxplane export-parquet` writes: a folder a table, a folder a month in it (`month=2026-03`). Version {VERSION} of "
        "the schema: columns may be added; what a column means and its type do not change. Times are in UTC. `schema.json` in the "
        "folder says the same for programs.",
        "",
    ]
    for table in TABLES:
        lines += [f"## {table.name}", "", table.text, ""]
        lines += rows(("column", "type", "meaning"), [(f"`{c.name}`", f"`{c.type}`", c.text) for c in table.columns])
        lines += [""] if lines[-1] else []
    return page(lines)
